"""The place that a blocked gang keeps: when it could start, and who may pass it without delaying it."""

from __future__ import annotations

from dataclasses import dataclass

from placement.model import Demand, NodeId, Running
from placement.planners import rules
from placement.planners.fitting import Rooms, place
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Vector, summed

UNKNOWN = float("inf")

Start = tuple[float, float, int]
"""When enough has ended: the time (infinite where a runtime is unknown), then the place among the unknown ones."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A blocked demand, when it can start if nothing passes it, and the state at that moment."""

    demand: Demand
    start: Start
    then: State


def asked(demand: Demand, n: int | None = None) -> Vector:
    """Return the amounts of a demand's first ``n`` bundles (its minimum by default)."""
    return summed(b.resources for b in demand.bundles[: demand.min_bundles if n is None else n])


def startable(state: State, demand: Demand) -> tuple[NodeId, ...] | None:
    """Return nodes for the demand's minimum on what is idle in ``state`` and allowed to it, or None."""
    more = asked(demand)
    if state.tree.refusal(demand.tenant, state.use_with(demand.tenant, more), more) is not None:
        return None
    return place(state.rooms, state.tree.capacity, demand, demand.min_bundles)


def ends(state: State, endless: str | None = None) -> list[tuple[Start, Running]]:
    """Return what holds nodes in the order in which it is expected to end; ``endless`` is treated as unknown."""
    now = state.problem.now_s
    held = list(state.alive.values())
    held += [Running(demand, nodes, started_s=now) for demand, nodes in state.granted.values()]
    out: list[tuple[Start, Running]] = []
    for i, running in enumerate(held):
        runtime = running.demand.runtime_s
        known = runtime is not None and running.demand.id != endless
        end = max(now, running.started_s + (runtime or 0.0)) if known else UNKNOWN
        out.append(((end, 0.0 if known else running.started_s, 0 if known else i), running))
    out.sort(key=lambda pair: pair[0])
    return out


def after(state: State, ended: list[tuple[Start, Running]]) -> State:
    """Return the state once these have ended."""
    then = state.copy()
    for _, running in ended:
        then.hold(running.demand, running.nodes, -1)
        then.alive.pop(running.demand.id, None)
        then.granted.pop(running.demand.id, None)
    return then


def claim(state: State, demand: Demand, endless: str | None = None) -> Claim | None:
    """Return the demand's claim; None where it could not start even if all else ended."""
    order = ends(state, endless)
    moments = sorted({start for start, _ in order})

    def at(i: int) -> State:
        return after(state, [pair for pair in order if pair[0] <= moments[i]])

    low, high = 0, len(moments) - 1
    if high < 0 or startable(at(high), demand) is None:
        return None
    while low < high:
        middle = (low + high) // 2
        if startable(at(middle), demand) is None:
            low = middle + 1
        else:
            high = middle
    return Claim(demand, moments[low], at(low))


def could_displace(held: Claim, passer: Demand, nodes: tuple[NodeId, ...], now_s: float) -> bool:
    """Return whether the waiting one could displace the passer when its moment has come."""
    then, waiting = held.then.copy(), held.demand
    running = Running(passer, nodes, started_s=max(now_s, waiting.submitted_s + 1e-6))
    then.revoke(passer.id)
    then.alive[passer.id] = running
    then.hold(passer, nodes)
    victim = Victim(running)
    if not rules.might_displace(then, waiting, victim):
        return False
    return rules.displacement(then, waiting, asked(waiting), [victim]) is not None


def delays(held: Claim, after_grant: State, passer: Demand) -> bool:
    """Return whether the waiting one starts later now that the passer has been granted its place."""
    foreseen = after_grant.problem.policy.backfill and held.start[0] != UNKNOWN
    new = claim(after_grant, held.demand, None if foreseen else passer.id)
    return new is None or new.start[:2] > held.start[:2]


def leave_room(state: State, held: Claim) -> Rooms:
    """Return the rooms of ``state`` less what the claim's own placement will need of them."""
    nodes = startable(held.then, held.demand)
    rooms = dict(state.rooms)
    if nodes is None:
        return rooms
    later = held.then.copy()
    later.hold(held.demand, nodes)
    for node, room in rooms.items():
        left = later.rooms[node]
        free = {name: min(amount, left.free.get(name, 0)) for name, amount in room.free.items()}
        if free != room.free:
            rooms[node] = Room(room.node, free, room.gpu, list(room.fractions), room.open)
    return rooms
