"""What moves without a planner: asked stops, failed needs, leaving nodes, and kept nodes that are free now."""

from __future__ import annotations

from collections.abc import Mapping

from aios.kernel import limits, quarantine
from aios.kernel.concurrency import PAUSED, Held, held_back
from aios.kernel.events import Finished, PreemptionOrdered, ReservationEnded, ResizeOrdered, Waits, WorkloadId
from aios.kernel.evolve import Fold
from aios.kernel.inputs import is_versioned, may_be_missing, resolve
from aios.kernel.ports import Observed
from aios.kernel.queue import kept, kept_demand, kept_nodes_of, unmet, yielding
from aios.kernel.records import status_of
from aios.kernel.resizing import LATE_S, shrinks
from aios.kernel.room import Room
from aios.kernel.state import DEADLINE_MISSED, DEPENDENCY_PENDING, TIME_LIMIT, Attempt, State, Status, Workload
from placement.model import NodeId, NodeState

PATIENCE_S = 60.0
"""How long nodes are kept at least: what the leaving held may seem to be in use by others for a moment."""


def progress(fold: Fold, now_s: float, observed: Observed) -> None:
    """Settle all that waits as far as is known, and grant what was kept."""
    for name in sorted(fold.state.reservations):
        if fold.state.reservations[name].ends_s <= now_s:
            fold.record(ReservationEnded(now_s, name, "its time is over"))
    for change in list(quarantine.facts(fold.state, fold.events, now_s)):
        fold.record(change)
    held = held_back(fold.state)
    leaving = {seen.node.id: seen.leaves_in_s for seen in observed.nodes if seen.leaves_in_s is not None}
    for id in fold.state.live:  # what is needed stands before what needs it
        for fact in limits.facts(fold.state, fold.state.workloads[id], now_s):
            fold.record(fact)
        workload = fold.state.workloads[id]
        if workload.current is None:
            _settle(fold, now_s, workload, held.get(id))
        else:
            _leave_draining(fold, now_s, workload, workload.current, leaving)
            _hurry(fold, now_s, id)
    _grant_kept(fold, now_s, observed)


def _settle(fold: Fold, now_s: float, workload: Workload, held: Held | None) -> None:
    state, id = fold.state, workload.id
    if workload.stop_requested_s is not None:
        fold.record(Finished(now_s, id, Status.STOPPED.value, "StoppedByUser", workload.message))
        return
    if why := _out_of_time(workload):
        fold.record(Finished(now_s, id, Status.FAILED.value, *why))
        return
    needs = unmet(state, workload)
    dead = [(need, how) for need in needs if (how := status_of(state, need)) is None or how.over]
    if dead:
        need, how = dead[0]
        message = f"it needs {need}, which is {'unknown' if how is None else how.value}"
        fold.record(Finished(now_s, id, Status.FAILED.value, "DependencyFailed", message))
    elif workload.suspended_s is not None:
        return
    elif needs:
        fold.wait(Waits(now_s, id, DEPENDENCY_PENDING, f"waits for {', '.join(needs)}"))
    elif missing := _missing_input(state, workload):
        message = f"input {missing} does not exist: nothing it needs has made it"
        fold.record(Finished(now_s, id, Status.FAILED.value, "MissingInput", message))
    elif workload.not_before_s > now_s:
        number = len(workload.attempts) + 1
        detail = f"{workload.message}; attempt {number} not before t={workload.not_before_s:g}"
        if id not in state.waits:
            fold.wait(Waits(now_s, id, "BackingOff", detail))
    elif held is not None and (held.reason == PAUSED or not kept(state, id)):
        fold.wait(Waits(now_s, id, held.reason, held.detail))


def _out_of_time(workload: Workload) -> tuple[str, str] | None:
    """Return why waiting work is over: its time is used up, or its deadline has passed and ends it."""
    if message := limits.over_by(workload):
        return TIME_LIMIT, message
    if workload.overdue and workload.work.on_deadline == "stop":
        return DEADLINE_MISSED, limits.past_deadline(workload)
    return None


def _leave_draining(
    fold: Fold, now_s: float, workload: Workload, attempt: Attempt, leaving: Mapping[NodeId, float]
) -> None:
    """Have an attempt save its progress and go on elsewhere before its node goes.

    What may not be preempted stays as long as the node does; unless it has not started, for there it never will.
    """
    nodes = [fold.state.nodes.get(id) for id in attempt.nodes]
    may_go = workload.work.demand.preemptible or attempt.started_s is None
    if may_go and attempt.deadline_s is None and any(n is not None and n.state is NodeState.DRAINING for n in nodes):
        asked = [grace_s for id in attempt.nodes if (grace_s := fold.state.drains.get(id)) is not None]
        grace_s = min(asked, default=workload.work.grace_s)
        grace_s = min([grace_s, *(leaving[id] for id in attempt.nodes if id in leaving)])  # Ray waits for nobody
        fold.record(PreemptionOrdered(now_s, workload.id, attempt.number, "node", (), now_s + grace_s))


def _hurry(fold: Fold, now_s: float, id: WorkloadId) -> None:
    """Settle a change of size in place that does not come: smaller by a restart, or no larger after all."""
    workload = fold.state.workloads[id]
    attempt = workload.current
    if attempt is None or attempt.resize_by_s is None or attempt.deadline_s is not None:
        return
    if shrinks(attempt) and now_s >= attempt.resize_by_s + LATE_S:
        nodes, whom = attempt.nodes[: attempt.resizing_to], attempt.preempted_for
        fold.record(PreemptionOrdered(now_s, id, attempt.number, "resize", whom, now_s + workload.work.grace_s))
        detail = f"it did not get smaller in time: it starts anew with {len(nodes)} bundles"
        fold.wait(Waits(now_s, id, fold.state.workloads[id].reason, detail, (), nodes, attempt.plan_id, attempt.form))
    elif not shrinks(attempt) and now_s >= attempt.resize_by_s:
        nodes = attempt.nodes[: attempt.resized_from]
        fold.record(ResizeOrdered(now_s, id, attempt.number, nodes, "late", (), 0, now_s + workload.work.grace_s))


def _missing_input(state: State, workload: Workload) -> str | None:
    for role, reference in workload.work.inputs:
        if is_versioned(reference) and not may_be_missing(role) and resolve(state, workload, reference) is None:
            return reference
    return None


def _grant_kept(fold: Fold, now_s: float, observed: Observed) -> None:
    """Grant kept nodes once those who yield are gone; give them up where they can no longer be had."""
    all_kept = kept_nodes_of(fold.state)
    waiting = [id for id in fold.state.live if id in all_kept] if all_kept else []
    if not waiting:
        return
    room, leaving = Room(fold.state, observed), yielding(fold.state)
    for id in waiting:
        waits = fold.state.waits[id]
        workload = fold.state.workloads[id]
        demand = kept_demand(fold.state, workload)
        nodes_ready = all(
            node in fold.state.nodes
            and fold.state.nodes[node].state is NodeState.READY
            and not quarantine.shut(fold.state, node)
            for node in waits.nodes
        )
        if not nodes_ready:
            fold.wait(Waits(now_s, id, "WaitingForPlan", "the nodes kept for it are no longer ready"))
        elif workload.current is not None or id in leaving:
            continue
        elif room.fits_now(demand, waits.nodes):
            room.take(demand, waits.nodes)
            why = f"plan {waits.plan_id}: those who yielded are gone"
            fold.grant(now_s, id, waits.nodes, waits.plan_id, why, waits.form)
        elif now_s >= waits.at_s + PATIENCE_S and not room.will_fit(demand, waits.nodes):
            fold.wait(Waits(now_s, id, "WaitingForPlan", "the nodes kept for it were filled by others"))
