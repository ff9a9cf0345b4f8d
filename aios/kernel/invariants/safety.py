"""What must hold of every state, whatever went wrong outside; asserted in simulation, logged in production."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from aios.kernel.events import Outcome, WorkloadId
from aios.kernel.queue import added, live, placed
from aios.kernel.records import status_of
from aios.kernel.state import State, Status, Workload
from placement.model import NodeState


def violations(state: State, among: Iterable[WorkloadId] | None = None) -> tuple[str, ...]:
    """Return what is wrong with a state, as sentences; ``among`` limits the look at workloads to these."""
    found = [*no_node_is_overfilled(state), *live_are_those_not_over(state), *fences_are_unique(state)]
    if among is None:
        found.extend(keys_lead_to_work(state))
        found.extend(names_lead_to_work(state))
    ids = state.workloads if among is None else {id for id in among if id in state.workloads}
    alive = frozenset(state.live)
    for id in sorted(ids):
        found.extend(workload_is_whole(state.workloads[id], alive))
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


def keys_lead_to_work(state: State) -> list[str]:
    """I2: what a client's key stands for is known, and no workload is asked for by two keys."""
    found = []
    of: dict[WorkloadId, str] = {}
    for key in sorted(state.keys):
        for id in state.keys[key]:
            if status_of(state, id) is None:
                found.append(f"I2: key {key!r} stands for {id}, which is not known")
            if id in of:
                found.append(f"I2: {id} is what keys {of[id]!r} and {key!r} stand for")
            of[id] = key
    return found


def names_lead_to_work(state: State) -> list[str]:
    """I3: what a name stands for is known, and is in the state or was retired, not both."""
    found = [f"I3: name {name!r} stands for {id}, unknown" for name, id in state.names.items() if not _known(state, id)]
    found.extend(f"I3: {id} was retired and is in the state" for id in state.workloads if id in state.retired)
    return sorted(found)


def _known(state: State, id: WorkloadId) -> bool:
    return status_of(state, id) is not None


def live_are_those_not_over(state: State) -> list[str]:
    """I3: everything accepted lives on, is over or was retired, one of them at a time, and its name leads to it."""
    found = [f"I3: {id} lives and is over" for id in state.live if state.workloads[id].status.over]
    if len(set(state.live)) != len(state.live):
        found.append("I3: a workload lives twice")
    found.extend(f"I3: {id} waits and is over" for id in sorted(state.waits) if state.workloads[id].status.over)
    found.extend(f"I3: {id} lives and was retired" for id in state.live if id in state.retired)
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
