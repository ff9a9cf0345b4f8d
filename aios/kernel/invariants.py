"""What must hold after every turn, whatever went wrong outside; asserted in simulation, logged in production."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from aios.kernel.events import AttemptEnded, Event, Finished, Outcome, Published, WorkloadId
from aios.kernel.evolve import evolve
from aios.kernel.queue import added, live, placed
from aios.kernel.state import TRANSITIONS, State, Status, Workload
from placement.model import NodeState


def violations(state: State, among: Iterable[WorkloadId] | None = None) -> tuple[str, ...]:
    """Return what is wrong with a state, as sentences; ``among`` limits the look at workloads to these."""
    found = [*no_node_is_overfilled(state), *live_are_those_not_over(state), *fences_are_unique(state)]
    ids = state.workloads if among is None else {id for id in among if id in state.workloads}
    alive = frozenset(state.live)
    for id in sorted(ids):
        found.extend(workload_is_whole(state.workloads[id], alive))
    return tuple(found)


def turn_violations(before: State, events: Sequence[Event]) -> tuple[str, ...]:
    """Return what is wrong with a step from one state to the next, event by event."""
    found: list[str] = []
    state = before
    for event in events:
        after = evolve(event, state)
        found.extend(nothing_vanishes(state, after))
        found.extend(nothing_falls(state, after))
        found.extend(recorded_once(state, event))
        id: WorkloadId = getattr(event, "workload", WorkloadId(""))
        if id in state.workloads:
            found.extend(allowed(state.workloads[id], after.workloads[id]))
        state = after
    return tuple(found)


def no_node_is_overfilled(state: State) -> list[str]:
    """I1: what open attempts hold on a node is within its size."""
    held = added(placed(w.held(w.current), w.current.nodes) for w in live(state) if w.current is not None)
    found = []
    for id in sorted(held):
        node = state.nodes.get(id)
        if node is not None and node.state is not NodeState.DOWN and not held[id].fits_in(node.resources):
            found.append(f"I1: node {id} holds {held[id]} of {node.resources}")
    return found


def live_are_those_not_over(state: State) -> list[str]:
    """I3: everything accepted is either over or lives on, and its name leads to it."""
    found = [f"I3: {id} lives and is over" for id in state.live if state.workloads[id].status.over]
    if len(set(state.live)) != len(state.live):
        found.append("I3: a workload lives twice")
    found.extend(f"I3: {id} waits and is over" for id in sorted(state.waits) if state.workloads[id].status.over)
    return found


def fences_are_unique(state: State) -> list[str]:
    """I7: among live work no two attempts have the same fence, and none is above the highest given."""
    fences = [attempt.fence for workload in live(state) for attempt in workload.attempts]
    found = [] if len(set(fences)) == len(fences) else ["I7: two attempts have the same fence"]
    if fences and max(fences) > state.fence:
        found.append(f"I7: fence {max(fences)} was never given (highest: {state.fence})")
    return found


def workload_is_whole(workload: Workload, alive: frozenset[WorkloadId]) -> list[str]:
    """I3, I6, I7, I9, I10 for one workload."""
    id, attempts, current = workload.id, workload.attempts, workload.current
    found = []
    if not workload.status.over and id not in alive:
        found.append(f"I3: {id} is not over and does not live")
    if workload.status.over != (workload.finished_s is not None):
        found.append(f"I3: {id} is {workload.status.value} and finished at {workload.finished_s}")
    if workload.status.active != (current is not None):
        found.append(f"I7: {id} is {workload.status.value} with {'an' if current else 'no'} open attempt")
    if any(attempt.ended_s is None for attempt in attempts[:-1]):
        found.append(f"I7: {id} has two open attempts")
    if [a.number for a in attempts] != list(range(1, len(attempts) + 1)):
        found.append(f"I7: attempts of {id} are not numbered from 1")
    if any(a.fence >= b.fence for a, b in pairwise(attempts)):
        found.append(f"I7: fences of {id} do not rise")
    n_done = sum(attempt.outcome is Outcome.SUCCEEDED for attempt in attempts)
    done = workload.status is Status.SUCCEEDED and workload.reused is None
    if n_done != done and not (workload.work.service and n_done <= 1):
        found.append(f"I6: {id} is {workload.status.value} with {n_done} completions")
    steps = [attempt.resumed_step for attempt in attempts]
    fell = any(b < a and not one.fell_back for a, b, one in zip(steps, steps[1:], attempts[1:], strict=False))
    if fell or (steps and steps[-1] > workload.step):
        found.append(f"I9: {id} went back: began at steps {steps}, saved {workload.step}")
    forms = ((attempt, workload.held(attempt)) for attempt in attempts)
    if any(not form.min_bundles <= len(attempt.nodes) <= len(form.bundles) for attempt, form in forms):
        found.append(f"I10: an attempt of {id} is a part of its gang")
    return found


def allowed(before: Workload, after: Workload) -> list[str]:
    """I4: a status follows another only as the table says."""
    if before.status is after.status or after.status in TRANSITIONS[before.status]:
        return []
    return [f"I4: {after.id} went from {before.status.value} to {after.status.value}"]


def nothing_vanishes(before: State, after: State) -> list[str]:
    """I3: what was accepted stays known."""
    if len(after.workloads) >= len(before.workloads):
        return []
    return [f"I3: {id} vanished" for id in sorted(before.workloads) if id not in after.workloads]


def nothing_falls(before: State, after: State) -> list[str]:
    """I4: counters only rise."""
    return [
        f"I4: {what} fell"
        for what in ("version", "epoch", "fence", "plan_id")
        if getattr(after, what) < getattr(before, what)
    ]


def recorded_once(state: State, event: Event) -> list[str]:
    """I6: an end, and each version, is recorded once, and of the attempt that is open."""
    if isinstance(event, Finished) and state.workloads[event.workload].status.over:
        return [f"I6: {event.workload} finished twice"]
    if isinstance(event, AttemptEnded):
        current = state.workloads[event.workload].current
        if current is None or current.number != event.attempt:
            return [f"I8: an end of attempt {event.attempt} of {event.workload}, which is not open, was taken"]
    if isinstance(event, Published):
        versions = state.versions.get(f"{event.artefact.type}://{event.artefact.name}", ())
        if event.version != len(versions) + 1:
            return [f"I6: version {event.version} of {event.artefact.name} follows {len(versions)}"]
    return []
