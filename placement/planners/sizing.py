"""Which nodes to add at least cost so that waiting gangs start: a covering programme, exact or with like nodes counted.

The exact programme is the one for new work (``cpsat.constraints``) on the nodes there are and on every node that may
be added, with a variable for each of these that says whether it is bought. Where that grows too large, like nodes are
counted instead of placed one by one: what it then answers is a lower bound on the cost, and the caller tries it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from placement.model import Bundle, Demand, DemandId, Node, NodeId, TenantId
from placement.planners.cpsat.batches import Batch, Gang
from placement.planners.cpsat.constraints import Programme
from placement.planners.cpsat.fitter import MOST_VARIABLES, SOLVED, Meter
from placement.planners.state import GPU, Room, State
from placement.planners.tree import Vector, add

MOST_CLASSES = 4
"""Priorities that are served one after the other where not all can be; those below are served together."""
_UNIT = 1000
"""Costs are counted in thousandths."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A type of node: one of its nodes as the sample, its cost, and how many more there may be."""

    sample: Node
    cost: float
    most: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """How many of each offer to take, who then starts, and the proven least cost of serving as many."""

    bought: tuple[int, ...]
    starts: frozenset[DemandId]
    bound: float


def cheapest(
    state: State, wanted: Sequence[Demand], offers: Sequence[Offer], budget: float | None, meter: Meter
) -> Sizing | None:
    """Return the cheapest offers with which the most valuable of the wanted gangs start beside what runs.

    As many as possible of the highest priority start, the first in the queue before others, then of the next; only then
    the cost counts. None where no answer was found in time.
    """
    if not wanted or not offers:
        return Sizing((0,) * len(offers), frozenset(), 0.0)
    numbers = [_enough(offer, wanted) for offer in offers]
    fresh = {_name(t, i): _room(_name(t, i), offer) for t, offer in enumerate(offers) for i in range(numbers[t])}
    gangs = tuple(
        Gang(demand, demand.min_bundles, demand.min_bundles, optional=True, closed=state.closed_to(demand))
        for demand in wanted
    )
    batch = Batch(gangs, (), {**state.rooms, **fresh})
    if batch.size() > MOST_VARIABLES:
        return _Counted(state, wanted, offers, numbers).solved(budget, meter)
    meter.built(batch.size())
    programme = Programme(state, batch)
    bought = [[programme.model.new_bool_var(f"buy {_name(t, i)}") for i in range(n)] for t, n in enumerate(numbers)]
    _only_on_what_is_bought(programme, bought)
    aim = _Aim(programme.model, programme.vars.starts, [sum(each) for each in bought], offers)
    _limits_hold(programme.model, state, wanted, programme.vars.starts)
    return aim.solved(wanted, budget, meter)


def _name(offer: int, i: int) -> NodeId:
    return NodeId(f"+{offer}+{i}")


def _room(name: NodeId, offer: Offer) -> Room:
    node = offer.sample
    fresh = Node(name, node.resources, node.labels)
    return Room(fresh, dict(node.resources.items()), node.resources.get(GPU), open=True)


def _enough(offer: Offer, wanted: Iterable[Demand]) -> int:
    """Return how many of these nodes all wanted gangs could use at most."""
    room, n = _room(NodeId("+"), offer), 0
    slots: dict[Bundle, int] = {}
    for demand in wanted:
        counts: dict[Bundle, int] = {}
        for bundle in demand.bundles[: demand.min_bundles]:
            counts[bundle] = counts.get(bundle, 0) + 1
        for bundle, count in counts.items():
            if bundle not in slots:
                accepted = bundle.selector.accepts(room.node)
                slots[bundle] = room.how_many(bundle.resources, 1_000) if accepted else 0
            each = min(slots[bundle], 1) if _apart(demand) else slots[bundle]
            n += -(-count // each) if each else 0
    return min(n, offer.most)


def _apart(demand: Demand) -> bool:
    return any(topology.kind == "spread" for topology in demand.topologies)


def _only_on_what_is_bought(programme: Programme, bought: Sequence[Sequence[cp_model.IntVar]]) -> None:
    """New nodes hold something only where they are bought, the first of a type first."""
    model, buys = programme.model, {_name(t, i): var for t, each in enumerate(bought) for i, var in enumerate(each)}
    for (_, _, node), count in programme.vars.count.items():
        if node in buys:
            model.add(count == 0).only_enforce_if(~buys[node])
    for each in bought:
        for earlier, later in itertools.pairwise(each):
            model.add_implication(later, earlier)


def _limits_hold(
    model: cp_model.CpModel, state: State, wanted: Sequence[Demand], starts: Mapping[DemandId, cp_model.IntVar]
) -> None:
    """Together, what starts stays within the limits of its tenants."""
    asked: dict[TenantId, list[tuple[Demand, Vector]]] = {}
    for demand in wanted:
        more = dict(demand.resources(demand.min_bundles).items())
        for tenant in state.tree.paths[demand.tenant]:
            asked.setdefault(tenant, []).append((demand, more))
    for tenant, demands in asked.items():
        facts, quota, use = state.tree.tenants[tenant], state.tree.quota[tenant], state.use[tenant]
        limits = [(name, most) for name, most in facts.limit or ()]
        limits += [(name, most + quota.get(name, 0)) for name, most in facts.borrow_limit or ()]
        for name, most in limits:
            parts = [more[name] * starts[demand.id] for demand, more in demands if more.get(name)]
            if parts and most - use.get(name, 0) < 2**60:
                model.add(sum(parts) <= max(0, most - use.get(name, 0)))


class _Aim:
    """Serve by priority, then pay the least."""

    def __init__(
        self,
        model: cp_model.CpModel,
        starts: Mapping[DemandId, cp_model.IntVar],
        numbers: Sequence[cp_model.LinearExprT],
        offers: Sequence[Offer],
    ) -> None:
        self.model, self.starts, self.numbers = model, starts, list(numbers)
        self.price = sum(round(_UNIT * offer.cost) * n for offer, n in zip(offers, self.numbers, strict=True))

    def solved(self, wanted: Sequence[Demand], budget: float | None, meter: Meter) -> Sizing | None:
        if budget is not None:
            self.model.add(self.price <= round(_UNIT * budget))
        for members in _classes(wanted):
            # As many as possible, and among as many the first in the queue.
            n = len(members)
            served = sum((n * n + n - i) * self.starts[demand.id] for i, demand in enumerate(members))
            self.model.maximize(served)
            status, solver = meter.solve(self.model, 0.4)
            if status not in SOLVED:
                return None
            self.model.add(served >= round(solver.objective_value))
        self.model.minimize(self.price + sum(self.numbers))
        status, solver = meter.solve(self.model, 0.8)
        if status not in SOLVED:
            return None
        bought = tuple(solver.value(n) for n in self.numbers)
        names = frozenset(name for name, var in self.starts.items() if solver.value(var))
        bound = (solver.best_objective_bound - sum(bought)) / _UNIT
        return Sizing(bought, names, max(0.0, round(bound, 3)))


def _classes(wanted: Sequence[Demand]) -> list[list[Demand]]:
    ranks = sorted({demand.priority for demand in wanted}, reverse=True)
    heads = ranks[: MOST_CLASSES - 1] if len(ranks) > MOST_CLASSES else ranks
    out = [[demand for demand in wanted if demand.priority == rank] for rank in heads]
    rest = [demand for demand in wanted if demand.priority not in heads]
    return [*out, rest] if rest else out


class _Counted:
    """The programme with like nodes counted: nodes of a type hold in all what so many of them have."""

    def __init__(self, state: State, wanted: Sequence[Demand], offers: Sequence[Offer], numbers: Sequence[int]) -> None:
        self.state, self.wanted, self.offers = state, wanted, offers
        self.model = cp_model.CpModel()
        self.starts = {demand.id: self.model.new_bool_var(f"starts {demand.id}") for demand in wanted}
        self.buys = [self.model.new_int_var(0, most, f"buy of {t}") for t, most in enumerate(numbers)]
        self.needed: dict[Bundle, list[cp_model.LinearExprT]] = {}
        for demand in wanted:
            counts: dict[Bundle, int] = {}
            for bundle in demand.bundles[: demand.min_bundles]:
                counts[bundle] = counts.get(bundle, 0) + 1
            for bundle, n in counts.items():
                self.needed.setdefault(bundle, []).append(n * self.starts[demand.id])
        self._cover()

    def solved(self, budget: float | None, meter: Meter) -> Sizing | None:
        _limits_hold(self.model, self.state, self.wanted, self.starts)
        return _Aim(self.model, self.starts, self.buys, self.offers).solved(self.wanted, budget, meter)

    def _cover(self) -> None:
        """Every bundle that is needed stands on an idle place or on a new node."""
        rooms = [room for room in self.state.rooms.values() if room.open]
        idle: Vector = {}
        for room in rooms:
            add(idle, {name: max(0, amount) for name, amount in room.free.items()})
        most = sum(demand.min_bundles for demand in self.wanted)
        here: dict[Bundle, cp_model.IntVar] = {}
        there: list[dict[Bundle, cp_model.IntVar]] = [{} for _ in self.offers]
        for b, (bundle, needed) in enumerate(self.needed.items()):
            places = sum(r.how_many(bundle.resources, most) for r in rooms if bundle.selector.accepts(r.node))
            here[bundle] = self.model.new_int_var(0, min(places, most), f"bundles {b} on idle places")
            for t, offer in enumerate(self.offers):
                room = _room(NodeId("+"), offer)
                slots = room.how_many(bundle.resources, most) if bundle.selector.accepts(room.node) else 0
                there[t][bundle] = self.model.new_int_var(0, most if slots else 0, f"bundles {b} on {t}")
                if slots:
                    self.model.add(there[t][bundle] <= slots * self.buys[t])
            self.model.add(here[bundle] + sum(each[bundle] for each in there) >= sum(needed))
        self._holds(here, idle, 1)
        for t, offer in enumerate(self.offers):
            self._holds(there[t], dict(offer.sample.resources.items()), self.buys[t])

    def _holds(
        self, counts: Mapping[Bundle, cp_model.IntVar], has: Mapping[str, int], times: cp_model.LinearExprT
    ) -> None:
        for name in sorted({name for bundle in counts for name in bundle.resources}):
            unit = 2**20 if has.get(name, 0) > 2**34 else 1
            taken = sum((bundle.resources.get(name) // unit) * var for bundle, var in counts.items())
            self.model.add(taken <= -(-has.get(name, 0) // unit) * times)
