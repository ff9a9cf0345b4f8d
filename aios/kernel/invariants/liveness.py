"""What must come to pass within a time, while a control plane lives and sees its cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aios.kernel.events import WorkloadId
from aios.kernel.limits import START_S, due_s
from aios.kernel.ports import ObservedAttempt, Phase
from aios.kernel.quarantine import shut
from aios.kernel.queue import is_pending, live
from aios.kernel.retry import LONGEST_DELAY_S
from aios.kernel.state import State, Status, Workload
from placement.model import Node, NodeState

GANG_S = 10.0
"""I10: how long a part of a gang may run after another part is lost."""
CANCEL_S = 10.0
"""L7: how long what was stopped may hold anything after it is over."""
LEAK_S = 30.0
"""L3: the same for all else that is over."""
IDLE_S = 12.0
"""L6: how long a cluster may stand idle beside work that could run."""
LATE_S = 10.0
"""L5: how long after its grace, or the time to start, an attempt may still be open."""
REST_S = 60.0


def stuck(state: State, now_s: float) -> list[str]:
    """L5: nothing stays between two states: what starts has started, what ends has ended."""
    found = []
    for workload in live(state):
        attempt = workload.current
        if attempt is None:
            continue
        by_s = attempt.granted_s + START_S if attempt.started_s is None else None
        by_s = attempt.deadline_s if attempt.deadline_s is not None else by_s
        if by_s is not None and now_s > by_s + LATE_S:
            found.append(f"L5: {workload.id} is {workload.status.value} {now_s - by_s:g} s after it should not be")
    return found


def left_behind(state: State, now_s: float, seen: Iterable[ObservedAttempt]) -> list[str]:
    """L3, L7: what is over, or was replaced, holds nothing for long: 10 s where it was stopped, else 30 s."""
    found = []
    for one in seen:
        workload = state.workloads.get(one.workload)
        if one.phase is Phase.ENDED or workload is None or one.attempt > len(workload.attempts):
            continue
        ended_s = workload.attempts[one.attempt - 1].ended_s
        stopped = workload.status is Status.STOPPED
        if ended_s is not None and now_s > ended_s + (CANCEL_S if stopped else LEAK_S):
            law = "L7" if stopped else "L3"
            found.append(
                f"{law}: attempt {one.attempt} of {one.workload} is {one.phase.value}, {now_s - ended_s:g} s late"
            )
    return found


def maimed(parts: Mapping[tuple[WorkloadId, int], float], now_s: float) -> list[str]:
    """I10: a gang that lost a member at a time runs on for no longer than ten seconds."""
    return [
        f"I10: attempt {number} of {id} has run {now_s - since_s:g} s without a member"
        for (id, number), since_s in sorted(parts.items())
        if now_s > since_s + GANG_S
    ]


def idle_beside_work(state: State, now_s: float, idle_s: float = 0.0) -> list[str]:
    """L6: where nothing runs, since a time, work that would fit on an empty node does not wait."""
    if any(workload.current is not None for workload in live(state)):
        return []
    ready = [node for node in state.nodes.values() if node.state is NodeState.READY and not shut(state, node.id)]
    found = []
    for workload in live(state):
        since_s = max(workload.queued_s, workload.not_before_s, idle_s)
        if now_s > since_s + IDLE_S and is_pending(state, workload, now_s) and _fits_alone(workload, ready):
            found.append(f"L6: {workload.id} waits {now_s - since_s:g} s beside a cluster that is idle")
    return found


def _fits_alone(workload: Workload, ready: Iterable[Node]) -> bool:
    bundles = workload.work.demand.bundles
    return any(
        all(bundle.selector.accepts(node) for bundle in bundles)
        and workload.work.demand.resources(len(bundles)).fits_in(node.resources)
        for node in ready
    )


def bound_s(state: State, now_s: float) -> float:
    """L2: when all that is open now must be over, if nothing more goes wrong and no more work comes.

    All of it one after another, twice, with a start, a grace and a longest back-off each; services excepted.
    """
    work_s = 0.0
    for workload in live(state):
        if not workload.work.service:
            work_s += (workload.work.estimate_s or REST_S) + workload.work.grace_s + REST_S
    later = [moment for w in live(state) for moment in (w.not_before_s, *due_s(state, w))]
    later_s = min(max([now_s, *later]), now_s + LONGEST_DELAY_S)
    return max([later_s, *(one.until_s for one in state.quarantines.values())]) + 2 * work_s + START_S + REST_S
