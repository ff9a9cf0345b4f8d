"""The cluster as people see it: status, nodes, tenants, the current plan, and why a workload is where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aios
from aios.api.present import (
    artefacts_of,
    by_its_error,
    demand_text,
    message_of,
    names_of,
    next_of,
    ran_s,
    split_error,
    with_names,
    with_status,
)
from aios.kernel.concurrency import paused_by
from aios.kernel.events import Limits, PlanAdopted
from aios.kernel.limits import duration
from aios.kernel.quarantine import name_of, shut
from aios.kernel.queue import added, placed, policy_in_force, unmet
from aios.kernel.state import Attempt, State, Status, Workload, waited_s
from aios.rules import policy_text
from aios.tenants import amounts_text, with_default
from aios.views import ExplainView, NodeView, PlanView, ReservationView, RulesView, ShareView, StatusView, TenantView
from placement.model import NodeId, NodeState, Resources, total

_MOST_NODES = 10


def status_view(state: State, now_s: float, info: Mapping[str, Any]) -> StatusView:
    ready = [n for n in state.nodes.values() if n.state is NodeState.READY and not shut(state, n.id)]
    return StatusView(
        version=aios.__version__,
        epoch=state.epoch,
        state_version=state.version,
        now_s=now_s,
        nodes_ready=len(ready),
        nodes_total=sum(node.state is not NodeState.DOWN for node in state.nodes.values()),
        resources=amounts_text(total(node.resources for node in ready)) or {},
        used=amounts_text(total(used_by_node(state).values())) or {},
        workloads=_by_status(state),
        tenants=len(with_default(state.tenants)),
        plan=plan_view(state),
        quarantined={name: state.quarantines[name].reason for name in sorted(state.quarantines)},
        paused=tuple(sorted(state.paused)),
        info={str(key): value for key, value in info.items()},
    )


def _by_status(state: State) -> dict[str, int]:
    counts = Counter(w.status.value for table in (state.workloads, state.retired) for w in table.values())
    return dict(sorted(counts.items()))


def used_by_node(state: State) -> dict[NodeId, Resources]:
    """Return what AIOS has granted on each node."""
    holding = [(w, w.current) for w in (state.workloads[id] for id in state.live)]
    return added(placed(w.held(attempt), attempt.nodes) for w, attempt in holding if attempt is not None)


def node_views(state: State) -> tuple[NodeView, ...]:
    used = used_by_node(state)
    tenants_of: dict[NodeId, list[str]] = {}
    for id in state.live:
        if (attempt := state.workloads[id].current) is not None:
            for node_id in dict.fromkeys(attempt.nodes):
                tenants_of.setdefault(node_id, []).append(id)
    views = [
        NodeView(
            id=node.id,
            name=state.node_names.get(node.id) or node.id,
            state="quarantined" if shut(state, node.id) and node.state is NodeState.READY else node.state.value,
            labels=dict(node.labels),
            resources=amounts_text(node.resources) or {},
            used=amounts_text(used.get(node.id, Resources())) or {},
            workloads=tuple(tenants_of.get(node.id, ())),
            note=_quarantine(state, node.id),
        )
        for node in state.nodes.values()
    ]
    return tuple(sorted(views, key=lambda view: view.name))


def _quarantine(state: State, id: NodeId) -> str:
    """Return until when nothing new starts on a node and why, empty where it is trusted."""
    if not shut(state, id):
        return ""
    one = state.quarantines[name_of(state, id)]
    until = datetime.fromtimestamp(one.until_s, UTC).strftime("%H:%M:%SZ")
    again = f" ({one.times} times in a row)" if one.times > 1 else ""
    return f"in quarantine until {until}{again}: {one.reason}; aios node release {one.name}"


def rules_view(state: State, now_s: float) -> RulesView:
    """Return the policy in force and the reservations, the next first."""
    reservations = sorted(state.reservations.values(), key=lambda one: (one.starts_s, one.id))
    return RulesView(
        policy_text(policy_in_force(state)),
        tuple(
            ReservationView(
                one.id,
                names_of(state, one.nodes),
                one.starts_s,
                one.ends_s,
                one.tenants,
                one.starts_s <= now_s < one.ends_s,
            )
            for one in reservations
        ),
    )


def tenant_views(state: State) -> tuple[TenantView, ...]:
    shares = {name: (entitled, used) for name, entitled, used in (state.plan.shares if state.plan else ())}
    live = [state.workloads[id] for id in state.live]
    views = []
    for tenant in with_default(state.tenants).values():
        own = [w for w in live if w.work.tenant == tenant.id]
        holding = [w.held(a).resources(len(a.nodes)) for w in own if (a := w.current) is not None]
        entitled, used = shares.get(tenant.id, (None, None))
        limits = state.limits.get(tenant.id, Limits(tenant.id))
        paused = paused_by(state, tenant.id)
        views.append(
            TenantView(
                name=tenant.id,
                parent=tenant.parent,
                weight=tenant.weight,
                quota=amounts_text(tenant.quota),
                borrow_limit=amounts_text(tenant.borrow_limit),
                lend_limit=amounts_text(tenant.lend_limit),
                limit=amounts_text(tenant.limit),
                used=amounts_text(total(holding)) or {},
                entitled_share=entitled,
                used_share=used,
                running=sum(w.status.active for w in own),
                waiting=sum(not w.status.active for w in own),
                paused=paused is not None,
                paused_by=state.paused[paused] if paused is not None else "",
                max_running=limits.max_running,
                max_pending=limits.max_pending,
                max_running_per_user=limits.max_running_per_user,
                max_pending_per_user=limits.max_pending_per_user,
                time_limit_s=limits.time_limit_s,
            )
        )
    return tuple(sorted(views, key=lambda view: view.name))


def plan_view(state: State) -> PlanView:
    """Return the plan that was adopted last, with who runs and who waits now."""
    plan = state.plan
    live = [state.workloads[id] for id in state.live]
    running = {str(w.id): names_of(state, a.nodes) for w in live if (a := w.current) is not None}
    waiting = {str(w.id): message_of(state, w, 0.0) for w in live if w.current is None}
    yields = {str(w.id): _yielding(state, w, a) for w in live if (a := w.current) is not None and a.preempt_cause}
    if plan is None:
        return PlanView(running=running, waiting=waiting, yields=yields)
    return PlanView(
        plan_id=plan.plan_id,
        at_s=plan.at_s,
        planner=plan.planner,
        status=plan.status,
        objective=plan.objective,
        bound=plan.bound,
        gap=plan.gap,
        wall_s=plan.wall_s,
        terms=dict(plan.terms),
        fallbacks=plan.fallbacks,
        refused=plan.refused,
        shares=tuple(ShareView(*share) for share in plan.shares),
        running=running,
        waiting=waiting,
        yields=yields,
    )


def _yielding(state: State, workload: Workload, attempt: Attempt) -> str:
    """Return why running work makes room, for whom, and where it goes on if it is moved or resized."""
    whom = f" for {', '.join(attempt.preempted_for)}" if attempt.preempted_for else ""
    kept = state.waits.get(workload.id)
    after = f", goes on on {_places(state, kept.nodes)}" if kept is not None and kept.nodes else ""
    return f"{attempt.preempt_cause}{whom}{after}"


def explain_view(state: State, workload: Workload, now_s: float) -> ExplainView:
    """Return why a workload waits, or why it runs where it does, and what to do next."""
    return ExplainView(
        id=workload.id,
        name=workload.work.name,
        status=workload.status.value,
        reason=workload.reason,
        message=_sentence(state, workload, now_s),
        evidence=tuple(_evidence(state, workload, now_s)),
        would_run_if=tuple(with_names(state, text) for text in workload.would_run_if),
        next=_advice(state, workload),
    )


def _sentence(state: State, workload: Workload, now_s: float) -> str:
    message = message_of(state, workload, now_s)
    attempt, current = workload.attempt, workload.current
    if current is not None and workload.status is not Status.STOPPING:
        verb = "starts" if workload.status is Status.STARTING else "runs"
        why = with_names(state, current.why) or f"plan {current.plan_id}"
        return f"{verb} on {_places(state, current.nodes)}, where {why} put it"
    if workload.reused is not None:
        return message
    if workload.status is Status.SUCCEEDED and attempt is not None:
        where = _places(state, attempt.actual or attempt.nodes)
        return f"ran {ran_s(workload, now_s):.1f} s on {where}, after {waited_s(workload, now_s):.1f} s of waiting"
    if workload.status is Status.FAILED and attempt is not None:
        message = split_error(attempt.error)[0] or message if by_its_error(workload) else message
        code = "" if workload.exit_code is None else f" (exit code {workload.exit_code})"
        return f"failed on {_places(state, attempt.nodes)} after {ran_s(workload, now_s):.1f} s{code}: {message}"
    if workload.status is Status.STOPPED:
        ran = f"after {ran_s(workload, now_s):.1f} s of running" if attempt is not None else "before it had started"
        return f"was stopped {ran}: {message}"
    return message or f"is {workload.status.value}"


def _places(state: State, nodes: Sequence[NodeId]) -> str:
    """Return where bundles are: ``a-1, a-2 (2 bundles)``."""
    counts = Counter(names_of(state, nodes))
    return ", ".join(f"{name} ({n} bundles)" if n > 1 else name for name, n in counts.items())


def _evidence(state: State, workload: Workload, now_s: float) -> list[str]:
    lines = [f"asks for {demand_text(workload.work.demand)}; priority {workload.work.priority}"]
    if not workload.status.over:
        lines.append(_choice(state, workload))
    if workload.status in (Status.QUEUED, Status.PREEMPTED):
        lines.append(f"has waited {waited_s(workload, now_s):.1f} s")
        lines += [f"needs {with_status(state, id)}" for id in unmet(state, workload)]
    waits = state.waits.get(workload.id)
    if waits is not None and waits.nodes:
        lines.append(f"{_places(state, waits.nodes)} kept for it until those who run there have yielded")
    if workload.late:
        lines.append(workload.late)
    if workload.work.time_limit_s is not None:
        used = f"has run {duration(ran_s(workload, now_s))}"
        lines.append(f"{used} of a time limit of {duration(workload.work.time_limit_s)}")
    if workload.status in (Status.QUEUED, Status.PREEMPTED) and state.quarantines:
        lines.append(f"nothing new starts on {', '.join(sorted(state.quarantines))}: in quarantine (aios node list)")
    if workload.reused is not None:
        lines.append(f"reused from {workload.reused}: it did not run itself")
    if workload.step:
        lines.append(f"progress is saved up to step {workload.step}")
    for attempt in workload.attempts:
        lines += _attempt_lines(state, attempt)
    if workload.status.over:
        made = [f"{a.type}://{a.name}{f'@{a.version}' if a.version else ''}" for a in artefacts_of(state, workload)]
        return lines + ([f"made {', '.join(made)}"] if made else [])
    return lines + _tenant_lines(state, workload) + _plan_lines(state.plan)


def _choice(state: State, workload: Workload) -> str:
    """Return which nodes could hold a bundle when they are empty: what the planner has to choose from."""
    bundles = set(workload.work.demand.bundles)
    ready = [node for node in state.nodes.values() if node.state is NodeState.READY]
    fit = [
        state.node_names.get(node.id) or node.id
        for node in ready
        if any(b.selector.accepts(node) and b.resources.fits_in(node.resources) for b in bundles)
    ]
    if not fit:
        return f"none of the {len(ready)} nodes that are ready has what a bundle asks for"
    which = ", ".join(sorted(fit)[:_MOST_NODES]) + (", ..." if len(fit) > _MOST_NODES else "")
    return f"{len(fit)} of {len(ready)} nodes have what a bundle asks for: {which}"


def _attempt_lines(state: State, attempt: Attempt) -> list[str]:
    how = f", ended {attempt.outcome.value}" if attempt.outcome else ""
    began = f", went on from step {attempt.resumed_step}" if attempt.resumed_step else ""
    why = f" by {with_names(state, attempt.why)}" if attempt.why else ""
    lines = [f"attempt {attempt.number}: put on {_places(state, attempt.nodes)}{why}{began}{how}"]
    if attempt.fell_back:
        lines.append(f"attempt {attempt.number} could not use the latest checkpoint: {attempt.fell_back}")
    planned, actual = names_of(state, attempt.nodes), names_of(state, attempt.actual)
    if actual and sorted(actual) != sorted(planned):
        lines.append(f"attempt {attempt.number} really ran on {', '.join(actual)}, against the plan")
    if attempt.preempted_for:
        whom = ", ".join(attempt.preempted_for)
        lines.append(f"attempt {attempt.number} yielded to {whom} ({attempt.preempt_cause})")
    return lines


def _tenant_lines(state: State, workload: Workload) -> list[str]:
    view = next((v for v in tenant_views(state) if v.name == workload.work.tenant), None)
    if view is None:
        return []
    line = f"tenant {view.name}: weight {view.weight:g}, holds {_amounts(view.used)}"
    if view.quota is not None:
        line += f", quota {_amounts(view.quota)}"
    if view.entitled_share is not None and view.used_share is not None:
        line += f"; entitled to {view.entitled_share:.0%} of the cluster, uses {view.used_share:.0%}"
    return [line]


def _amounts(amounts: Mapping[str, str]) -> str:
    return ", ".join(f"{amount} {name}" for name, amount in amounts.items()) or "nothing"


def _plan_lines(plan: PlanAdopted | None) -> list[str]:
    if plan is None:
        return ["no plan was made yet"]
    return [f"plan {plan.plan_id} by {plan.planner}: {plan.status}, gap {plan.gap:.1%}, {plan.wall_s * 1000:.0f} ms"]


def _advice(state: State, workload: Workload) -> str:
    needs = unmet(state, workload)
    if workload.status is Status.QUEUED and needs:
        return f"aios explain {needs[0]}"
    if workload.status in (Status.QUEUED, Status.PREEMPTED):
        return "aios plan"
    return next_of(workload)
