"""The difference between what is wanted and what is observed, as actions: no difference, no action."""

from __future__ import annotations

from dataclasses import replace

from aios.kernel.actions import Action, Forget, Kill, Launch, Resize, Stop
from aios.kernel.events import WorkloadId
from aios.kernel.inputs import bases, resolved
from aios.kernel.ports import Observed, ObservedAttempt, Phase
from aios.kernel.queue import live
from aios.kernel.state import Attempt, State, Workload


def reconcile(state: State, now_s: float, observed: Observed) -> tuple[Action, ...]:
    """Return what to do, what frees room first."""
    wanted: dict[tuple[WorkloadId, int, int], Workload] = {}
    for workload in live(state):
        attempt = workload.current
        if attempt is not None:
            wanted[workload.id, attempt.number, attempt.fence] = workload
    seen = {(one.workload, one.attempt, one.fence): one for one in observed.attempts}
    actions: list[Action] = []
    for key in sorted(seen):
        if key not in wanted:
            actions.extend(_sweep(seen[key]))
    for key, workload in wanted.items():
        attempt = workload.current
        assert attempt is not None, f"{workload.id}: an open attempt is wanted"
        actions.extend(_further(state, now_s, workload, attempt, seen.get(key)))
    return tuple(sorted(actions, key=lambda action: isinstance(action, Launch)))


def _sweep(seen: ObservedAttempt) -> list[Action]:
    """Remove what nobody waits for: recorded as ended, of an old fence, or unknown."""
    forget = Forget(seen.workload, seen.attempt)
    return [forget] if seen.phase is Phase.ENDED else [Kill(seen.workload, seen.attempt), forget]


def _further(
    state: State, now_s: float, workload: Workload, attempt: Attempt, seen: ObservedAttempt | None
) -> list[Action]:
    """Bring one open attempt nearer to what is wanted of it."""
    if attempt.deadline_s is None and attempt.resizing_to is not None and seen is not None:
        return _resize(now_s, workload, attempt, seen)
    if attempt.deadline_s is None:
        return [_launch(state, workload, attempt)] if seen is None and attempt.started_s is None else []
    if seen is None or seen.phase is Phase.ENDED:
        return []
    if now_s >= attempt.deadline_s:
        return [Kill(workload.id, attempt.number)]
    if seen.phase is Phase.STOPPING:
        return []
    why = "stop" if workload.stop_requested_s is not None else "preempt"
    return [Stop(workload.id, attempt.number, why, attempt.deadline_s - now_s)]


def _resize(now_s: float, workload: Workload, attempt: Attempt, seen: ObservedAttempt) -> list[Action]:
    if seen.phase is Phase.ENDED or (seen.size or attempt.first_size) == attempt.resizing_to:
        return []
    grace_s = max(0.0, (attempt.resize_by_s or now_s) - now_s)
    return [Resize(workload.id, attempt.number, attempt.fence, attempt.nodes[: attempt.resizing_to], grace_s)]


def _launch(state: State, workload: Workload, attempt: Attempt) -> Launch:
    return Launch(
        replace(workload.work, demand=workload.held(attempt)) if attempt.form else workload.work,
        attempt.number,
        attempt.fence,
        attempt.nodes,
        resolved(state, workload),
        workload.checkpoint,
        workload.step,
        workload.before_checkpoint,
        workload.before_step,
        bases(state, workload),
    )
