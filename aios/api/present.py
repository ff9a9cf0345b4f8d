"""Workloads as people see them: the fold's types into views."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aios.kernel.events import Artefact, Published, WorkloadId
from aios.kernel.queue import unmet
from aios.kernel.records import status_of
from aios.kernel.retry import n_failed
from aios.kernel.state import Attempt, State, Status, Tombstone, Workload, waited_s
from aios.views import ArtefactView, AttemptView, PlanView, WorkloadView
from placement.model import Demand, NodeId, Plan, Topology

_SHORT = 16
_SAYS_MORE = ("TimeLimit", "DeadlineMissed", "LostTooOften", "AttemptsExhausted")
"""Reasons whose sentence says more than the last attempt's error."""


def demand_text(demand: Demand) -> str:
    """Return what a gang asks for in one line: ``2 x (1 CPU, 1 GPU) on zone=a``."""
    return "; or ".join(_form_text(demand.form(n)) for n in range(1 + len(demand.alternatives)))


def _form_text(demand: Demand) -> str:
    parts = []
    for bundle, n in Counter(demand.bundles).items():
        where = f" on {bundle.selector}" if bundle.selector.requirements else ""
        parts.append(f"{f'{n} x ({bundle.resources})' if n > 1 else bundle.resources}{where}")
    text = " + ".join(parts)
    if demand.min_bundles < len(demand.bundles):
        text += f", at least {demand.min_bundles} of {len(demand.bundles)}"
    for topology in demand.topologies:
        text += f", {'' if topology.required else 'if possible '}{_level_text(topology)}"
    return text


def _level_text(topology: Topology) -> str:
    if topology.kind == "pack":
        each = f"each {topology.slice} bundles " if topology.slice else ""
        return f"{each}together on one {topology.key}"
    return f"each on another {topology.key}" if topology.skew is None else f"evenly over {topology.key}"


def solved(plan: Plan) -> PlanView:
    """Return how a plan was reached, without whom it concerns."""
    stats = plan.stats
    return PlanView(
        planner=stats.planner,
        status=stats.status,
        objective=stats.objective,
        bound=stats.bound,
        gap=stats.gap,
        wall_s=stats.wall_s,
        terms=dict(stats.terms),
        fallbacks=stats.fallbacks,
    )


def names_of(state: State, nodes: Iterable[NodeId]) -> tuple[str, ...]:
    return tuple(state.node_names.get(node) or node for node in nodes)


def workload_view(state: State, workload: Workload, now_s: float) -> WorkloadView:
    work, attempt = workload.work, workload.attempt
    waits = state.waits.get(workload.id)
    planned = attempt.nodes if attempt else ()
    if waits is not None and waits.nodes:
        planned = waits.nodes
    error, detail = split_error(attempt.error if attempt else "")
    artefacts = artefacts_of(state, workload)
    url = next((a.meta.get("url") or a.uri for a in reversed(artefacts) if a.type == "endpoint"), None)
    return WorkloadView(
        id=workload.id,
        name=work.name,
        kind=work.kind,
        tenant=work.tenant,
        priority=work.priority,
        status=workload.status.value,
        reason=workload.reason,
        message=message_of(state, workload, now_s),
        next=next_of(workload, url),
        would_run_if=tuple(with_names(state, text) for text in workload.would_run_if),
        pipeline=work.pipeline,
        needs=tuple(work.needs),
        service=work.service,
        ready=answers(workload),
        over=workload.status.over,
        demand=demand_text(work.demand),
        planned_nodes=names_of(state, planned),
        actual_nodes=names_of(state, attempt.actual if attempt else ()),
        attempts=tuple(attempt_view(state, a) for a in workload.attempts),
        submitted_s=workload.submitted_s,
        finished_s=workload.finished_s,
        waited_s=round(waited_s(workload, now_s), 3),
        ran_s=round(ran_s(workload, now_s), 3),
        exit_code=workload.exit_code,
        error=error if by_its_error(workload) else "",
        detail=detail if by_its_error(workload) else "",
        metrics=_object(attempt.metrics) if attempt else {},
        artefacts=artefacts,
        url=url,
        checkpoint=workload.checkpoint,
        checkpoint_step=workload.step,
        user=work.user,
        time_limit_s=work.time_limit_s,
        deadline_s=work.demand.deadline_s,
        late=workload.late,
        n_failed=n_failed(workload),
        n_lost=workload.failures - n_failed(workload),
        max_retries=work.max_retries,
        max_attempts=work.max_attempts,
        reused_from=workload.reused or "",
    )


def retired_view(one: Tombstone) -> WorkloadView:
    """Return a workload by its short record: in a list, where nobody waits for the log."""
    return WorkloadView(
        id=one.id,
        name=one.name,
        kind=one.kind,
        tenant=one.tenant,
        priority=one.priority,
        status=one.status.value,
        reason=one.reason,
        next=f"aios describe {one.id}",
        pipeline=one.pipeline,
        needs=tuple(one.needs),
        service=one.service,
        over=True,
        attempts=tuple(
            AttemptView(nth, detail=f"in the log: aios describe {one.id}") for nth in range(1, one.n_attempts + 1)
        ),
        submitted_s=one.submitted_s,
        finished_s=one.finished_s,
        waited_s=round(one.waited_s, 3),
        ran_s=round(one.ran_s, 3),
        exit_code=one.exit_code,
        user=one.user,
        reused_from=one.reused or "",
    )


def by_its_error(workload: Workload) -> bool:
    """Return whether a workload failed by its last attempt's error, and not for a reason that says more."""
    return workload.status is Status.FAILED and workload.reason not in _SAYS_MORE


def answers(workload: Workload) -> bool:
    """Return whether a service answers, and nobody has asked it to end."""
    return workload.ready and workload.status is Status.RUNNING and workload.stop_requested_s is None


def attempt_view(state: State, attempt: Attempt) -> AttemptView:
    error, detail = split_error(attempt.error)
    return AttemptView(
        number=attempt.number,
        planned_nodes=names_of(state, attempt.nodes),
        actual_nodes=names_of(state, attempt.actual),
        outcome=attempt.outcome.value if attempt.outcome else None,
        granted_s=attempt.granted_s,
        started_s=attempt.started_s,
        ended_s=attempt.ended_s,
        exit_code=attempt.exit_code,
        error=error,
        detail=detail,
        metrics=_object(attempt.metrics),
        resumed_step=attempt.resumed_step,
        why=with_names(state, attempt.why),
        plan_id=attempt.plan_id,
        preempted_for=tuple(attempt.preempted_for),
        preempt_cause=attempt.preempt_cause,
        fell_back=attempt.fell_back,
    )


def ran_s(workload: Workload, now_s: float) -> float:
    current = workload.current
    running = current is not None and current.started_s is not None and not workload.status.over
    return workload.ran_s + (max(0.0, now_s - (current.started_s or now_s)) if running and current else 0.0)


def message_of(state: State, workload: Workload, now_s: float) -> str:
    """Return the sentence: the kernel's own, or what follows from the state."""
    if workload.status is Status.QUEUED and (needs := unmet(state, workload)):
        return f"waits for {', '.join(with_status(state, id) for id in needs)}"
    if workload.status is Status.FAILED:
        return split_error(workload.message)[0]
    return with_names(state, workload.message)


def with_status(state: State, id: WorkloadId) -> str:
    """Return a workload with what became of it so far: ``digits-1f3a (RUNNING)``."""
    status = status_of(state, id)
    return id if status is None else f"{id} ({status.value})"


def with_names(state: State, text: str) -> str:
    """Return a text with nodes by the names that people know; only long ids are looked for, a short one is a word."""
    for id, name in state.node_names.items():
        if name and len(id) > _SHORT and id in text:
            text = text.replace(id, name)
    return text


def next_of(workload: Workload, url: str | None = None) -> str:
    """Return the next useful command."""
    id = workload.id
    match workload.status:
        case Status.QUEUED | Status.PREEMPTED | Status.PAUSED:
            return f"aios explain {id}"
        case Status.RUNNING if answers(workload) and url:
            return f"curl {url}"
        case Status.STARTING | Status.RUNNING:
            return f"aios logs -f {id}"
        case Status.STOPPING:
            return f"aios wait {id}"
        case Status.FAILED:
            return f"aios logs {id}" if workload.attempts else f"aios explain {id}"
        case _:
            return f"aios describe {id}"


def split_error(error: str) -> tuple[str, str]:
    """Return the user's own error, and the frames behind it."""
    head, _, rest = error.strip().partition("\n\n")
    if not rest and "\nTraceback (most recent call last)" in head:
        head, _, rest = head.partition("\nTraceback")
        rest = "Traceback" + rest
    return head.strip(), rest.strip()


def fingerprint(workloads: Iterable[Workload]) -> str:
    """Return a short text that changes when anything about the workloads does that a follower shows."""
    parts = [(w.id, w.status.value, w.reason, w.message, len(w.attempts), answers(w), w.step) for w in workloads]
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def published_view(published: Published) -> ArtefactView:
    return artefact_view(
        published.artefact,
        version=published.version,
        workload=published.workload,
        attempt=published.attempt,
        at_s=published.at_s,
        inputs=published.inputs,
    )


def artefact_view(artefact: Artefact, **more: Any) -> ArtefactView:
    return ArtefactView(
        type=artefact.type,
        name=artefact.name,
        uri=artefact.uri,
        digest=artefact.digest,
        meta=_object(artefact.meta),
        **more,
    )


def artefacts_of(state: State, workload: Workload) -> tuple[ArtefactView, ...]:
    """Return what a workload made: published versions with their numbers, and the rest."""
    keys = {f"{a.type}://{a.name}" for a in workload.artefacts}
    keys.update(reference.partition("@")[0] for _, reference in workload.work.outputs)
    makers = (workload.id, workload.reused)
    versions = [p for key in sorted(keys) for p in state.versions.get(key, ()) if p.workload in makers]
    published = {p.artefact.uri for p in versions}
    rest = [artefact_view(a, workload=workload.id) for a in workload.artefacts if a.uri not in published]
    return (*map(published_view, versions), *rest)


def _object(text: str) -> dict[str, Any]:
    """Return a JSON object from an engine, its non-finite numbers as text."""
    try:
        value = json.loads(text or "{}", parse_constant=str)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
