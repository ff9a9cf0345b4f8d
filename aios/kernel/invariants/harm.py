"""What must hold of how work is treated: who is told to end has its grace, and what is not its fault does not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aios.kernel.concurrency import paused_by
from aios.kernel.events import (
    CheckpointSaved,
    Event,
    Finished,
    NodeChanged,
    Outcome,
    PreemptionOrdered,
    Requeued,
    StopRequested,
    SuspendRequested,
)
from aios.kernel.evolve import evolve
from aios.kernel.queue import kept, live
from aios.kernel.state import Attempt, State, Workload
from placement.model import NodeState

BY_THE_PLAN = ("priority", "reclaim", "fairness", "migration", "time_slice")
"""Causes for which work yields with all of its grace."""
OF_ITS_OWN = ("UserCodeError", "RetriesExhausted")
"""Reasons that blame the user's code."""
OF_A_LOSS = ("NodeLost", "LostTooOften")


def harm(before: State, events: Sequence[Event]) -> tuple[str, ...]:
    """Return where the events of a turn do more harm to work than they may."""
    found: list[str] = []
    state = before
    for event in events:
        for rule in RULES:
            found.extend(rule(state, event))
        after = evolve(event, state)
        found.extend(grace_is_not_lengthened(state, after, event))
        state = after
    return tuple(found)


def neglect(state: State) -> tuple[str, ...]:
    """Return what was not told what it should have been by the end of a turn."""
    found = []
    for workload in live(state):
        attempt = workload.current
        if attempt is None:
            found.extend(_kept_in_vain(state, workload))
        if attempt is None or attempt.deadline_s is not None:
            continue
        if workload.stop_requested_s is not None or workload.suspended_s is not None:
            found.append(f"I4: {workload.id} was told not to run, and its attempt {attempt.number} was not told to end")
        may_go = workload.work.demand.preemptible or attempt.started_s is None
        nodes = [id for id in attempt.nodes if id in state.nodes]
        leaving = [id for id in nodes if state.nodes[id].state is NodeState.DRAINING]
        if may_go and leaving:
            found.append(f"I13: {workload.id} stays on {leaving[0]}, which is drained")
        if attempt.resizing_to is None and kept(state, workload.id):
            found.append(f"I1: {workload.id} runs, and nodes are kept for it besides")
    return tuple(found)


def _kept_in_vain(state: State, workload: Workload) -> list[str]:
    """I1: nodes are kept only for who may start, and only where something may."""
    nodes = kept(state, workload.id)
    if not nodes:
        return []
    found = []
    if workload.suspended_s is not None or paused_by(state, workload.work.tenant) is not None:
        found.append(f"I1: nodes are kept for {workload.id}, which may not start")
    unready = [id for id in nodes if id not in state.nodes or state.nodes[id].state is not NodeState.READY]
    found.extend(f"I1: node {id} is kept for {workload.id} and is not ready" for id in unready[:1])
    return found


def drained_nodes_stay_drained(state: State, event: Event) -> list[str]:
    """I1: a node that was drained by hand is not used again before somebody says so."""
    if not isinstance(event, NodeChanged) or event.node.state is not NodeState.READY:
        return []
    id = event.node.id
    return [f"I1: node {id} is in use again, and was drained by hand"] if id in state.drains else []


def grace_is_given(state: State, event: Event) -> list[str]:
    """I13: who yields to others has all of its grace to save its progress."""
    if not isinstance(event, PreemptionOrdered) or event.cause not in BY_THE_PLAN:
        return []
    victim = state.workloads.get(event.workload)
    if victim is None or event.deadline_s >= event.at_s + victim.work.grace_s - 1e-6:
        return []
    return [f"I13: {victim.id} yields within {event.deadline_s - event.at_s:g} s of {victim.work.grace_s:g} s grace"]


def grace_is_not_lengthened(before: State, after: State, event: Event) -> list[str]:
    """I13: who was told to end by a moment is never given more time: others wait for its place."""
    id = getattr(event, "workload", None)
    was = before.workloads.get(id) if id is not None else None
    is_ = after.workloads.get(id) if id is not None else None
    if was is None or is_ is None or was.current is None or is_.current is None:
        return []
    old_s, new_s = was.current.deadline_s, is_.current.deadline_s
    longer = old_s is not None and (new_s is None or new_s > old_s)
    return [f"I13: {id} was to end by {old_s}, and now by {new_s}"] if longer else []


def what_was_told_to_end_is_no_failure(state: State, event: Event) -> list[str]:
    """I13: how an attempt ends that was told to end counts neither against its code nor as a loss."""
    ended = _just_ended(state, event)
    if ended is None or ended[1].deadline_s is None:
        return []
    why, attempt = getattr(event, "why", "") or getattr(event, "reason", ""), ended[1]
    down = any(id in state.nodes and state.nodes[id].state is NodeState.DOWN for id in attempt.nodes + attempt.actual)
    if why in OF_ITS_OWN or (why in OF_A_LOSS and not down):
        return [f"I13: {ended[0].id} was told to end, and that counts as {why}"]
    return []


def only_failures_use_up_retries(state: State, event: Event) -> list[str]:
    """I6: work ends for its failures only after more of them than it may have; losses and preemptions are none."""
    ended = _just_ended(state, event)
    if ended is None or not isinstance(event, Finished) or event.reason not in OF_ITS_OWN:
        return []
    workload = ended[0]
    n_failed = sum(attempt.outcome is Outcome.FAILED for attempt in workload.attempts)
    hopeless = event.reason == "UserCodeError" and n_failed > 0  # there are failures that no further attempt would mend
    if hopeless or n_failed > workload.work.max_retries:
        return []
    return [f"I6: {workload.id} is given up after {n_failed} failures of {workload.work.max_retries} retries"]


def who_failed_waits(state: State, event: Event) -> list[str]:
    """I4: after a failure of its own code work is tried again later, and later each time, up to five minutes."""
    ended = _just_ended(state, event)
    if ended is None or not isinstance(event, Requeued) or event.why != "UserCodeError":
        return []
    n_failed = sum(attempt.outcome is Outcome.FAILED for attempt in ended[0].attempts)
    least_s = min(2.0 ** min(n_failed - 1, 30), 300.0)
    if event.not_before_s >= event.at_s + least_s - 1e-6:
        return []
    return [f"I4: {ended[0].id} failed {n_failed} times and waits {event.not_before_s - event.at_s:g} s"]


def asked_once(state: State, event: Event) -> list[str]:
    """I14: what has been asked for, or saved, is not recorded again."""
    if not isinstance(event, StopRequested | SuspendRequested | CheckpointSaved):
        return []
    workload = state.workloads.get(event.workload)
    if workload is None:
        return []
    again = (
        (isinstance(event, StopRequested) and workload.stop_requested_s is not None)
        or (isinstance(event, SuspendRequested) and workload.suspended_s is not None)
        or (isinstance(event, CheckpointSaved) and (event.uri, event.step) == (workload.checkpoint, workload.step))
    )
    return [f"I14: {type(event).__name__} of {workload.id} is recorded again"] if again else []


def _just_ended(state: State, event: Event) -> tuple[Workload, Attempt] | None:
    """Return the workload whose attempt has just ended, where an event says what follows from that."""
    if not isinstance(event, Requeued | Finished):
        return None
    workload = state.workloads.get(event.workload)
    attempt = workload.attempt if workload is not None else None
    if workload is None or attempt is None or attempt.ended_s is None or not workload.status.active:
        return None
    return workload, attempt


RULES: tuple[Callable[[State, Event], list[str]], ...] = (
    drained_nodes_stay_drained,
    grace_is_given,
    what_was_told_to_end_is_no_failure,
    only_failures_use_up_retries,
    who_failed_waits,
    asked_once,
)
