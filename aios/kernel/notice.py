"""Differences between what is observed and what is believed become facts.

Only the word of an attempt that the state still holds open, under its fence, counts. What is absent proves something
only where the cluster answered completely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from aios.kernel.events import (
    AttemptEnded,
    AttemptReady,
    AttemptResized,
    AttemptStarted,
    CheckpointSaved,
    Finished,
    NodeChanged,
    Outcome,
    PlacementDiffered,
    Published,
    Requeued,
    ResumedFrom,
    WorkloadId,
)
from aios.kernel.evolve import Fold
from aios.kernel.inputs import SCHEMES, built_on, names, next_version
from aios.kernel.limits import START_S
from aios.kernel.ports import Observed, ObservedAttempt, Phase
from aios.kernel.retry import after_end
from aios.kernel.state import Attempt, Status, Workload
from placement.model import Node, NodeId, NodeState

PUBLISH_CONFLICT = "PublishConflict"
"""The reason of work that goes on from a version that another published while it ran."""

Key = tuple[WorkloadId, int, int]
"""Workload, attempt, fence."""


def notice(fold: Fold, now_s: float, observed: Observed) -> None:
    """Record what has changed outside."""
    notice_nodes(fold, now_s, observed)
    seen = by_key(observed)
    for id in fold.state.live:
        workload = fold.state.workloads[id]
        attempt = workload.current
        if attempt is not None:
            notice_attempt(fold, now_s, workload, attempt, seen.get((id, attempt.number, attempt.fence)), observed)


def by_key(observed: Observed) -> Mapping[Key, ObservedAttempt]:
    return {(seen.workload, seen.attempt, seen.fence): seen for seen in observed.attempts}


def notice_nodes(fold: Fold, now_s: float, observed: Observed) -> None:
    """Record nodes that joined, changed or left."""
    present = {seen.node.id: seen for seen in observed.nodes}
    for id in sorted(present):
        seen = present[id]
        if id in fold.state.drains and seen.node.state is NodeState.READY:
            seen = replace(seen, node=replace(seen.node, state=NodeState.DRAINING))
        if fold.state.nodes.get(id) != seen.node or (seen.name and fold.state.node_names.get(id) != seen.name):
            fold.record(NodeChanged(now_s, seen.node, seen.name))
    if observed.complete:
        for id in sorted(fold.state.nodes):
            node = fold.state.nodes[id]
            if id not in present and node.state is not NodeState.DOWN:
                fold.record(NodeChanged(now_s, replace(node, state=NodeState.DOWN), fold.state.node_names.get(id, "")))


def notice_attempt(
    fold: Fold, now_s: float, workload: Workload, attempt: Attempt, seen: ObservedAttempt | None, observed: Observed
) -> None:
    """Record what is new about an open attempt; None: it was not seen."""
    lost_node = _lost_node(attempt, fold.state.nodes)
    if seen is not None:
        _progress(fold, now_s, workload, attempt, seen)
        if seen.phase is Phase.ENDED:
            _ended(fold, now_s, attempt, seen, lost_node)
            return
    if lost_node is not None:
        lost = f"node {fold.state.node_names.get(lost_node) or lost_node} went away"
        _end(fold, AttemptEnded(now_s, workload.id, attempt.number, Outcome.LOST, error=lost))
    elif seen is None and observed.complete and attempt.deadline_s is not None:
        _end(fold, AttemptEnded(now_s, workload.id, attempt.number, _asked_for(workload, attempt)))
    elif seen is None and observed.complete and attempt.started_s is not None:
        gone = "its supervisor went away"
        _end(fold, AttemptEnded(now_s, workload.id, attempt.number, Outcome.LOST, error=gone))
    elif observed.complete and now_s >= starts_by_s(fold.state.workloads[workload.id].attempts[-1]):
        slow = f"it did not start within {START_S:g} s"
        _end(fold, AttemptEnded(now_s, workload.id, attempt.number, Outcome.LOST, error=slow))


def starts_by_s(attempt: Attempt) -> float:
    """Return when an attempt that does not run yet is given up."""
    waits = attempt.started_s is None and attempt.deadline_s is None
    return attempt.granted_s + START_S if waits else float("inf")


def differs(planned: tuple[NodeId, ...], actual: tuple[NodeId, ...]) -> bool:
    """Return whether a worker runs where none was planned; fewer workers than bundles are no difference."""
    if len(actual) <= len(planned):
        return bool(Counter(actual) - Counter(planned))
    return not set(actual) <= set(planned)


def _lost_node(attempt: Attempt, nodes: Mapping[NodeId, Node]) -> NodeId | None:
    """Return a node that is down under an attempt; a worker may be on a node that holds no work, such as the head."""
    down = [id for id in attempt.nodes if (node := nodes.get(id)) is not None and node.state is NodeState.DOWN]
    if attempt.actual != attempt.nodes:
        down += [id for id in attempt.actual if (node := nodes.get(id)) is not None and node.state is NodeState.DOWN]
    return min(down, default=None)


def _progress(fold: Fold, now_s: float, workload: Workload, attempt: Attempt, seen: ObservedAttempt) -> None:
    id, number = workload.id, attempt.number
    if seen.resumed is not None and not attempt.fell_back:
        fold.record(ResumedFrom(now_s, id, number, seen.resumed, seen.resumed_step, seen.resumed_why))
        workload = fold.state.workloads[id]
    if seen.checkpoint and (seen.step > workload.step or not workload.checkpoint):
        fold.record(CheckpointSaved(now_s, id, number, seen.checkpoint, max(seen.step, workload.step)))
    runs = seen.phase in (Phase.RUNNING, Phase.READY) or (seen.phase is Phase.STOPPING and seen.nodes)
    news = set(seen.nodes) - set(attempt.actual)
    if runs and (attempt.started_s is None or news):
        fold.record(AttemptStarted(now_s, id, number, seen.nodes))
    if news and differs(attempt.nodes, seen.nodes) and not differs(attempt.nodes, attempt.actual):
        fold.record(PlacementDiffered(now_s, id, number, attempt.nodes, seen.nodes))
    to = attempt.resizing_to
    if to is not None and (seen.size or attempt.first_size) == to and seen.phase is not Phase.ENDED:
        fold.record(AttemptResized(now_s, id, number, attempt.nodes[:to]))
    if seen.phase is Phase.READY and attempt.ready_s is None:
        fold.record(AttemptReady(now_s, id, number, seen.artefacts))
        _publish(fold, now_s, id, number, seen)


def _ended(fold: Fold, now_s: float, attempt: Attempt, seen: ObservedAttempt, lost_node: NodeId | None) -> None:
    workload = fold.state.workloads[seen.workload]
    outcome = seen.outcome or Outcome.LOST
    if outcome is not Outcome.SUCCEEDED:
        if attempt.deadline_s is not None:
            outcome = _asked_for(workload, attempt)  # it was told to end: how it did so is no failure
        elif lost_node is not None:
            outcome = Outcome.LOST
    id, number = workload.id, attempt.number
    how = (seen.nodes, seen.error, seen.exit_code, seen.artefacts, seen.metrics)
    if outcome is Outcome.SUCCEEDED and (late := [a for a in seen.artefacts if not built_on(fold.state, a)]):
        error = (
            f"{late[0].type}://{late[0].name} was built on {late[0].origin or 'nothing'}, which is not the newest now"
        )
        _end(fold, AttemptEnded(now_s, id, number, Outcome.LOST, seen.nodes, error), why=PUBLISH_CONFLICT)
        return
    _end(fold, AttemptEnded(now_s, id, number, outcome, *how), seen)


def _asked_for(workload: Workload, attempt: Attempt) -> Outcome:
    if workload.stop_requested_s is not None:
        return Outcome.STOPPED
    return Outcome.OUT_OF_TIME if workload.ending else Outcome.PREEMPTED


def _end(fold: Fold, ended: AttemptEnded, seen: ObservedAttempt | None = None, why: str = "") -> None:
    """Record an end and what follows from it; ``why`` is the reason of waiting again where it is a special one."""
    fold.record(ended)
    follows = after_end(fold.state.workloads[ended.workload], ended.at_s)
    if isinstance(follows, Finished) and follows.status == Status.SUCCEEDED.value and seen is not None:
        _publish(fold, ended.at_s, ended.workload, ended.attempt, seen)
    fold.record(replace(follows, why=why) if why and isinstance(follows, Requeued) else follows)


def _publish(fold: Fold, now_s: float, id: WorkloadId, number: int, seen: ObservedAttempt) -> None:
    """Record a version for each dataset and model that this attempt made and that has none yet."""
    for artefact in seen.artefacts:
        before = fold.state.versions.get(f"{artefact.type}://{artefact.name}", ())
        if artefact.type not in SCHEMES or any((v.workload, v.attempt) == (id, number) for v in before):
            continue
        lineage = names(fold.state, fold.state.workloads[id])
        fold.record(Published(now_s, artefact, next_version(fold.state, artefact), id, number, lineage))
