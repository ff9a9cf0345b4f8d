"""The place that a blocked gang keeps: when it could start, and who may pass it without delaying it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from placement.model import Demand, DemandId, NodeId, Running
from placement.planners import rules
from placement.planners.fitting import Rooms, place
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Vector, summed

UNKNOWN = float("inf")

MOST_MOMENTS = 20
"""How many moments are tried for a claim behind others before it goes without one."""

Start = tuple[float, float, int]
"""When enough has ended: the time; infinite where a runtime is unknown, and then since when it runs.

Newcomers of unknown runtime come after all that runs already, in the order in which they were granted.
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A blocked demand and when it can start.

    ``ahead`` are the claims that come before it and stand at that moment too; ``passed`` is who has passed it that it
    could displace then.
    """

    demand: Demand
    start: Start
    ahead: tuple[Claim, ...] = ()
    passed: frozenset[DemandId] = frozenset()

    def holds_at(self, start: Start) -> bool:
        """Return whether the demand, once started, is still there at a later moment."""
        runtime = self.demand.runtime_s
        ended = runtime is not None and self.start[0] + runtime <= start[0] != UNKNOWN
        return self.start <= start and not ended


def asked(demand: Demand, n: int | None = None) -> Vector:
    """Return the amounts of a demand's first ``n`` bundles (its minimum by default)."""
    return summed(b.resources for b in demand.bundles[: demand.min_bundles if n is None else n])


def startable(state: State, demand: Demand) -> tuple[NodeId, ...] | None:
    """Return nodes for the demand's minimum on what is idle in ``state`` and allowed to it, or None."""
    more = asked(demand)
    if state.tree.refusal(demand.tenant, state.use_with(demand.tenant, more), more) is not None:
        return None
    return place(state.rooms, state.tree.capacity, demand, demand.min_bundles, closed=state.closed_to(demand))


def ends(state: State, endless: str | None = None) -> list[tuple[Start, Running]]:
    """Return what holds nodes in the order in which it is expected to end; ``endless`` is treated as unknown."""
    now = state.problem.now_s
    held = [(running, running.started_s, 0) for running in state.alive.values()]
    for i, (demand, nodes) in enumerate(state.granted.values(), 1):
        held.append((Running(demand, nodes, started_s=now), UNKNOWN, i))
    out: list[tuple[Start, Running]] = []
    for running, since, turn in held:
        runtime = running.demand.runtime_s
        if runtime is not None and running.demand.id != endless:
            out.append(((max(now, running.started_s + runtime), 0.0, 0), running))
        else:
            out.append(((UNKNOWN, since, turn), running))
    out.sort(key=lambda pair: pair[0])
    return out


def after(state: State, ended: Iterable[Running]) -> State:
    """Return the state once these have ended."""
    then = state.copy()
    for running in ended:
        then.hold(running.demand, running.nodes, -1)
        then.alive.pop(running.demand.id, None)
        then.granted.pop(running.demand.id, None)
    return then


def claim(
    state: State, demand: Demand, ahead: tuple[Claim, ...] = (), passed: frozenset[DemandId] = frozenset()
) -> Claim | None:
    """Return the demand's claim behind those ahead; None where its moment cannot be foreseen."""
    order = ends(state)
    leaves = {(c.start[0] + c.demand.runtime_s, 0.0, 0) for c in ahead if c.demand.runtime_s and c.start[0] != UNKNOWN}
    opens = {(r.ends_s, 0.0, 0) for r in state.problem.reservations if r.ends_s > state.problem.now_s}
    moments = sorted({start for start, _ in order} | leaves | opens)

    def possible(i: int, behind: tuple[Claim, ...]) -> bool:
        return startable(moment(state, Claim(demand, moments[i], behind, passed), order), demand) is not None

    low, high = 0, len(moments) - 1
    if high < 0 or not possible(high, ()):
        return None
    while low < high and not opens:  # reservations come and go, so a later moment may be worse
        middle = (low + high) // 2
        low, high = (low, middle) if possible(middle, ()) else (middle + 1, high)
    for i in range(low, min(len(moments), low + (len(moments) if opens else MOST_MOMENTS))):
        if not (ahead or opens) or possible(i, ahead):
            return Claim(demand, moments[i], ahead, passed)
    return None


def moment(state: State, held: Claim, order: Sequence[tuple[Start, Running]] | None = None) -> State:
    """Return what ``state`` will be when the claim's time has come: what has ended by then is gone, and so are the
    passers that it can displace; the claims ahead have their places.
    """
    order = ends(state) if order is None else order
    then = after(state, [r for start, r in order if start <= held.start or r.demand.id in held.passed])
    then.at_s = max(then.at_s, held.start[0])
    for other in held.ahead:
        nodes = startable(then, other.demand) if other.holds_at(held.start) else None
        if nodes is not None:
            then.hold(other.demand, nodes)
    return then


def could_displace(held: Claim, then: State, passer: Demand, nodes: tuple[NodeId, ...]) -> bool:
    """Return whether the waiting one could displace the passer when its moment has come."""
    waiting = held.demand
    running = Running(passer, nodes, started_s=max(then.problem.now_s, waiting.submitted_s + 1e-6))
    later = then.copy()
    later.revoke(passer.id)
    later.alive[passer.id] = running
    later.hold(passer, nodes)
    victim = Victim(running)
    if not rules.might_displace(later, waiting, victim):
        return False
    return rules.displacement(later, waiting, asked(waiting), [victim]) is not None


def delays(held: Claim, granted: State, passer: Demand) -> bool:
    """Return whether the waiting one can no longer start at its moment, now that the passer has its place."""
    foreseen = granted.problem.policy.backfill and held.start[0] != UNKNOWN
    order = ends(granted, None if foreseen else passer.id)
    return startable(moment(granted, held, order), held.demand) is None


def leave_room(state: State, held: Claim) -> Rooms:
    """Return the rooms of ``state`` less what the claim's own placement will need of them."""
    later = moment(state, held)
    nodes = startable(later, held.demand)
    rooms = dict(state.rooms)
    if nodes is None:
        return rooms
    later.hold(held.demand, nodes)
    for node, room in rooms.items():
        left = later.rooms[node]
        free = {name: min(amount, left.free.get(name, 0)) for name, amount in room.free.items()}
        if free != room.free:
            rooms[node] = Room(room.node, free, room.gpu, list(room.fractions), room.open, room.price)
    return rooms
