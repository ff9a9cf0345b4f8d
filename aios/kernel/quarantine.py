"""Nodes on which attempts keep failing, while they do well elsewhere: nothing new starts there for a while.

A failure counts against a node only where there is a sign that it is the node's: the same workload has not failed on
any other node, and either it does well elsewhere, or it could run there and nothing has succeeded on this node lately
while work did on others.
Losses need no such second sign; those within moments of each other (a node that died under many) count once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aios.kernel.events import (
    AttemptEnded,
    Event,
    NodeChanged,
    NodeForgotten,
    NodeQuarantined,
    Outcome,
    QuarantineEnded,
)
from aios.kernel.replacing import replace
from aios.kernel.state import Attempt, Ended, State, Workload
from placement.model import NodeId, NodeState

WINDOW_S = 1_800.0
"""How far back failures count."""
FAILURES = 3
"""So many failures in the window ..."""
WORKLOADS = 2
"""... of so many workloads at least put a node in quarantine."""
FIRST_S = 600.0
"""The first quarantine; each further one is twice as long ..."""
LONGEST_S = 86_400.0
"""... up to this; a node that does well for as long after one begins anew."""
PART = 3
"""At most one node in so many is in quarantine."""
TOGETHER_S = 30.0
"""Losses no further apart than this are one."""
_KEPT = 32
_MANY_NODES = 256
_BAD = (Outcome.FAILED, Outcome.LOST)
_WELL = (Outcome.SUCCEEDED, Outcome.PREEMPTED)


def with_end(state: State, event: AttemptEnded) -> State:
    """Return the state with how an attempt ended, noted for the nodes that it was on."""
    workload = state.workloads.get(event.workload)
    attempt = workload.current if workload is not None else None
    if attempt is None or attempt.number != event.attempt or event.outcome not in (*_BAD, Outcome.SUCCEEDED):
        return state
    ended = Ended(event.at_s, event.workload, event.attempt, event.outcome)
    mishaps = state.mishaps
    if len(mishaps) > _MANY_NODES:
        for id, known in state.mishaps.items():
            if known[-1].at_s < event.at_s - WINDOW_S:
                mishaps = mishaps.delete(id)
    for id in _blamed(state, attempt, event.outcome):
        known = tuple(one for one in mishaps.get(id, ()) if one.at_s >= event.at_s - WINDOW_S)
        mishaps = mishaps.set(id, (*known, ended)[-_KEPT:])
    return replace(state, mishaps=mishaps)


def _blamed(state: State, attempt: Attempt, outcome: Outcome) -> tuple[NodeId, ...]:
    """Return the nodes of an attempt, or those of them that went away under it."""
    nodes = tuple(dict.fromkeys((*attempt.nodes, *attempt.actual)))
    down = tuple(id for id in nodes if id in state.nodes and state.nodes[id].state is NodeState.DOWN)
    return down if down and outcome is Outcome.LOST else tuple(dict.fromkeys(attempt.nodes))


def begun(state: State, event: NodeQuarantined) -> State:
    return replace(state, quarantines=state.quarantines.set(event.name, event))


def ended(state: State, event: QuarantineEnded) -> State:
    """Return the state in which a node is trusted again: what was held against it is forgotten, not how often."""
    if event.name not in state.quarantines:
        return state
    was = state.quarantines[event.name]
    mishaps = state.mishaps
    for id in _ids(state, event.name):
        mishaps = mishaps.delete(id) if id in mishaps else mishaps
    return replace(
        state,
        mishaps=mishaps,
        quarantines=state.quarantines.delete(event.name),
        distrusted=state.distrusted.set(event.name, replace(was, until_s=event.at_s)),
    )


def forgotten(state: State, event: NodeForgotten) -> State:
    """Return the state without what was held against a node, and without how often, where that is long ago."""
    name, mishaps, distrusted = name_of(state, event.node), state.mishaps, state.distrusted
    mishaps = mishaps.delete(event.node) if event.node in mishaps else mishaps
    if name in distrusted and event.at_s - distrusted[name].until_s > LONGEST_S:
        distrusted = distrusted.delete(name)
    return replace(state, mishaps=mishaps, distrusted=distrusted)


def name_of(state: State, id: NodeId) -> str:
    return state.node_names.get(id) or id


def shut(state: State, id: NodeId) -> bool:
    """Return whether nothing new starts on a node because it is in quarantine."""
    return bool(state.quarantines) and name_of(state, id) in state.quarantines


def facts(state: State, events: Iterable[Event], now_s: float) -> Iterator[NodeQuarantined | QuarantineEnded]:
    """Return which quarantines begin or end now, after these events of the turn."""
    for name in sorted(state.quarantines):
        if state.quarantines[name].until_s <= now_s:
            yield QuarantineEnded(now_s, name)
    up = [id for id, node in state.nodes.items() if node.state is not NodeState.DOWN] if state.mishaps else []
    for id in _suspects(state, events):
        if state.nodes[id].state is NodeState.DOWN or shut(state, id):
            continue
        n_shut = sum(shut(state, other) for other in up) + 1
        reason = _reason(state, id, now_s)
        if reason and n_shut * PART <= len(up):
            yield _quarantined(state, id, reason, now_s)
            return  # what others seem to have done may have been this one's


def _suspects(state: State, events: Iterable[Event]) -> list[NodeId]:
    """Return the nodes about which something new is known, those with the most failures first."""
    found: dict[NodeId, None] = {}
    if not state.mishaps:
        return []
    for event in events:
        if isinstance(event, AttemptEnded) and event.workload in state.workloads:
            for attempt in state.workloads[event.workload].attempts:
                found.update(dict.fromkeys(id for id in attempt.nodes if id in state.mishaps))
        elif isinstance(event, NodeChanged) and event.node.state is NodeState.READY:
            found[event.node.id] = None
    known = [id for id in found if id in state.nodes and any(other in state.mishaps for other in _same(state, id))]
    return sorted(known, key=lambda id: (-sum(one.outcome in _BAD for one in _history(state, id)), id))


def _same(state: State, id: NodeId) -> tuple[NodeId, ...]:
    """Return a node's ids, earlier lives included; where several nodes that are up share a name, only its own."""
    ids = _ids(state, name_of(state, id))
    up = [other for other in ids if other in state.nodes and state.nodes[other].state is not NodeState.DOWN]
    return (id,) if len(up) > 1 else ids


def _ids(state: State, name: str) -> tuple[NodeId, ...]:
    return tuple(id for id in state.nodes if name_of(state, id) == name)


def _history(state: State, id: NodeId) -> list[Ended]:
    return [one for other in _same(state, id) for one in state.mishaps.get(other, ())]


def _reason(state: State, id: NodeId, now_s: float) -> str:
    """Return why a node is not to be trusted, empty where there is no reason."""
    history = [one for one in _history(state, id) if one.at_s >= now_s - WINDOW_S]
    suspicious = not any(one.outcome is Outcome.SUCCEEDED for one in history) and _others_succeed(state, id, now_s)
    against = [one for one in history if one.outcome in _BAD and _counts(state, id, one, suspicious)]
    workloads = sorted({one.workload for one in against})
    n = _incidents(against)
    if n < FAILURES or len(workloads) < WORKLOADS:
        return ""
    shown = ", ".join(f"{one.workload} attempt {one.attempt} {one.outcome.value}" for one in against[-4:])
    how = "while work goes well on other nodes" if suspicious else "and go well elsewhere"
    return f"{n} attempts of {len(workloads)} workloads failed there within 30 min, {how}: {shown}"


def _incidents(against: list[Ended]) -> int:
    """Return how many failures there were, losses at nearly the same moment counted once."""
    lost = sorted(one.at_s for one in against if one.outcome is Outcome.LOST)
    n_lost = sum(i == 0 or at_s - lost[i - 1] > TOGETHER_S for i, at_s in enumerate(lost))
    return n_lost + sum(one.outcome is Outcome.FAILED for one in against)


def _counts(state: State, id: NodeId, one: Ended, suspicious: bool) -> bool:
    """Return whether a failure speaks against the node rather than against the work."""
    workload = state.workloads.get(one.workload)
    if workload is None:
        return False
    elsewhere = list(_elsewhere(state, workload, id))
    if any(attempt.outcome in _BAD for attempt in elsewhere):
        return False
    well = any(attempt.outcome in _WELL or _runs(attempt) for attempt in elsewhere)
    return one.outcome is Outcome.LOST or well or (suspicious and _could_run_elsewhere(state, workload, id))


def _could_run_elsewhere(state: State, workload: Workload, id: NodeId) -> bool:
    """Return whether another node could hold a bundle: what has no choice says nothing about the one it has."""
    here, bundle = _same(state, id), workload.work.demand.bundles[0]
    others = (node for other, node in state.nodes.items() if other not in here and node.state is not NodeState.DOWN)
    return any(bundle.selector.accepts(node) and bundle.resources.fits_in(node.resources) for node in others)


def _elsewhere(state: State, workload: Workload, id: NodeId) -> Iterator[Attempt]:
    here = _same(state, id)
    for attempt in workload.attempts:
        if not set(here).intersection(attempt.nodes):
            yield attempt


def _runs(attempt: Attempt) -> bool:
    return attempt.started_s is not None and attempt.ended_s is None and attempt.deadline_s is None


def _others_succeed(state: State, id: NodeId, now_s: float) -> bool:
    here = _same(state, id)
    return any(
        one.outcome is Outcome.SUCCEEDED and one.at_s >= now_s - WINDOW_S
        for other, known in state.mishaps.items()
        if other not in here
        for one in known
    )


def _quarantined(state: State, id: NodeId, reason: str, now_s: float) -> NodeQuarantined:
    name = name_of(state, id)
    before = state.distrusted.get(name)
    times = 1 if before is None or now_s - before.until_s > LONGEST_S else before.times + 1
    length_s = min(FIRST_S * 2.0 ** min(times - 1, 30), LONGEST_S)
    return NodeQuarantined(now_s, id, name, reason, now_s + length_s, times)
