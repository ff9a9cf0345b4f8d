"""Room for one gang by moving others: the cheapest set of moves, as a programme, or else by clearing nodes.

The programme knows the gang, which has to start, and each movable workload twice: as a victim that gives its nodes
back, and as a gang that starts again with the same bundles exactly where the victim goes. So capacity, devices,
selectors and topologies are the rules that hold for all new work, and "all moved work has a place" is one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ortools.sat.python import cp_model

from placement.model import Demand, DemandId, NodeId, Running
from placement.planners.base import Budget
from placement.planners.claims import asked
from placement.planners.cpsat.batches import Batch, Gang
from placement.planners.cpsat.constraints import Programme
from placement.planners.cpsat.fitter import MOST_VARIABLES, SOLVED, Meter, placements
from placement.planners.fitting import place, rooms_without, speed_on
from placement.planners.movable import cost_s, restarted
from placement.planners.region import region
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Vector, add

MOST_SINGLES = 32
SHARE = 0.25
"""The part of what is left of the time that one gang may take."""


@dataclass(frozen=True, slots=True)
class Relocation:
    """Nodes for the gang's bundles, and the new nodes of what moves for it."""

    nodes: tuple[NodeId, ...]
    moved: Mapping[DemandId, tuple[NodeId, ...]] = field(default_factory=dict)


class Relocator:
    """Finds relocations within one budget for all of them."""

    def __init__(self, budget: Budget) -> None:
        self.meter = Meter(budget)

    def find(self, state: State, candidates: Sequence[Running], demand: Demand, n: int) -> Relocation | None:
        """Return the cheapest moves found that let the first ``n`` bundles start; None where there are none."""
        if not candidates or not _enough_idle(state, demand, n):
            return None
        near = region(state, candidates, demand, n)
        if not near.victims:
            return None
        found, refuted = self._solved(state, near.victims, near.rooms, demand, n)
        if found is None and not (refuted and near.complete):
            found = _by_clearing(state, near.victims, demand, n)
        return None if found is None else _sparing(state, found, demand)

    def _solved(
        self, state: State, victims: Sequence[Running], rooms: Mapping[NodeId, Room], demand: Demand, n: int
    ) -> tuple[Relocation | None, bool]:
        """Return what the programme finds, and whether it proved that there is nothing."""
        rigid = {run.demand.id: _rigid(run) for run in victims}
        gangs = [Gang(demand, n, n, closed=state.closed_to(demand))]
        gangs += [
            Gang(run.demand, len(run.nodes), len(run.nodes), optional=True, closed=closed_to_moved(state, run))
            for run in rigid.values()
        ]
        batch = Batch(tuple(gangs), tuple(Victim(run) for run in rigid.values()), rooms)
        if self.meter.spent or batch.size() > MOST_VARIABLES:
            return None, False
        self.meter.built(batch.size())
        programme = Programme(state, batch)
        self._who_leaves_starts_again(programme, rigid)
        self._nobody_gets_slower(programme, rigid)
        price = {name: round(cost_s(run, state.problem.now_s)) for name, run in rigid.items()}
        programme.model.minimize(
            sum((1000 * price[name] + len(run.nodes)) * programme.vars.stops[name] for name, run in rigid.items())
        )
        status, solver = self.meter.solve(programme.model, SHARE)
        if status not in SOLVED:
            return None, status == cp_model.INFEASIBLE
        nodes = placements(programme, solver)
        moved = {name: _keeping(rigid[name], nodes[name]) for name in rigid if solver.value(programme.vars.stops[name])}
        return Relocation(nodes[demand.id], moved), False

    @staticmethod
    def _who_leaves_starts_again(programme: Programme, rigid: Iterable[DemandId]) -> None:
        """What gives its nodes back has all its bundles elsewhere."""
        for name in rigid:
            programme.model.add(programme.vars.starts[name] == programme.vars.stops[name])

    @staticmethod
    def _nobody_gets_slower(programme: Programme, rigid: Mapping[DemandId, Running]) -> None:
        """What moves does not go to slower accelerators than it has."""
        rooms = programme.batch.rooms
        for name, run in rigid.items():
            if run.demand.speed:
                least = min(
                    (speed_on(run.demand, rooms[node].node) for node in run.nodes if node in rooms), default=0.0
                )
                for (gang, _, node), var in programme.vars.count.items():
                    if gang == name and speed_on(run.demand, rooms[node].node) < least:
                        programme.model.add(var == 0)


def closed_to_moved(state: State, run: Running) -> frozenset[NodeId]:
    """Return the nodes that reservations close to work that moves: it ends later by what it does again."""
    return state.closed_to(restarted(run, state.problem.now_s).demand)


def _rigid(run: Running) -> Running:
    """Return the work as a gang of the size that it has."""
    n = len(run.nodes)
    return replace(run, demand=replace(run.demand, bundles=run.demand.bundles[:n], min_bundles=n))


def _keeping(run: Running, nodes: Sequence[NodeId]) -> tuple[NodeId, ...]:
    """Return the new nodes, like bundles swapped so that as many as can stay where they were."""
    out, pools = list(nodes), dict[object, list[NodeId]]()
    for bundle, node in zip(run.demand.bundles, nodes, strict=True):
        pools.setdefault(bundle, []).append(node)
    stays = [False] * len(out)
    for i, (bundle, old) in enumerate(zip(run.demand.bundles, run.nodes, strict=True)):
        if old in pools[bundle]:
            pools[bundle].remove(old)
            out[i], stays[i] = old, True
    for i, bundle in enumerate(run.demand.bundles):
        if not stays[i]:
            out[i] = pools[bundle].pop(0)
    return tuple(out)


def _enough_idle(state: State, demand: Demand, n: int) -> bool:
    """Return whether enough is idle in all: moving makes no room, it only gathers it."""
    have: Vector = {}
    for room in state.rooms.values():
        if room.open:
            add(have, {name: max(0, amount) for name, amount in room.free.items()})
    return all(amount <= have.get(name, 0) for name, amount in asked(demand, n).items())


def _by_clearing(state: State, victims: Sequence[Running], demand: Demand, n: int) -> Relocation | None:
    """Clear one victim, or one after the other until the gang fits, and put each of them elsewhere."""
    for run in victims[:MOST_SINGLES]:
        found = _placed(state, [run], demand, n)
        if found is not None:
            return found
    chosen: list[Running] = []
    for run in victims:
        chosen.append(run)
        found = _placed(state, chosen, demand, n)
        if found is not None:
            break
    else:
        return None
    for run in sorted(chosen, key=lambda run: cost_s(run, state.problem.now_s), reverse=True):
        fewer = [other for other in chosen if other is not run]
        better = _placed(state, fewer, demand, n)
        if better is not None:
            chosen, found = fewer, better
    return found


def _placed(state: State, chosen: Sequence[Running], demand: Demand, n: int) -> Relocation | None:
    capacity = state.tree.capacity
    rooms = dict(rooms_without(state, [Victim(run) for run in chosen]))
    nodes = place(rooms, capacity, demand, n, closed=state.closed_to(demand))
    if nodes is None:
        return None
    _take(rooms, demand, nodes)
    moved = {}
    for run in sorted(map(_rigid, chosen), key=lambda run: len(run.nodes), reverse=True):
        open_to = rooms
        if run.demand.speed:
            open_to = {name: room for name, room in rooms.items() if not _slower(state, run, room)}
        at = place(open_to, capacity, run.demand, len(run.nodes), closed=closed_to_moved(state, run))
        if at is None:
            return None
        _take(rooms, run.demand, at)
        moved[run.demand.id] = _keeping(run, at)
    return Relocation(nodes, moved)


def _slower(state: State, run: Running, room: Room) -> bool:
    least = min(
        (speed_on(run.demand, state.rooms[node].node) for node in run.nodes if node in state.rooms), default=0.0
    )
    return speed_on(run.demand, room.node) < least


def _sparing(state: State, found: Relocation, demand: Demand) -> Relocation:
    """Leave in place whatever can stay there with all else as found, for an unproven answer may move too much."""
    for name in sorted(found.moved, key=lambda name: -cost_s(state.alive[name], state.problem.now_s)):
        fewer = {other: nodes for other, nodes in found.moved.items() if other != name}
        rooms = dict(rooms_without(state, [Victim(_rigid(state.alive[other])) for other in fewer]))
        _take(rooms, demand, found.nodes)
        for other, nodes in fewer.items():
            _take(rooms, state.alive[other].demand, nodes)
        if fewer and all(room.sound() for room in rooms.values()):
            found = Relocation(found.nodes, fewer)
    return found


def _take(rooms: dict[NodeId, Room], demand: Demand, nodes: Sequence[NodeId]) -> None:
    for bundle, node in zip(demand.bundles, nodes, strict=False):
        rooms[node] = rooms[node].copy()
        rooms[node].take(bundle.resources)
