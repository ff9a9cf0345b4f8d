"""What a programme aims at: the least harm first (law 7), or the best places, or a bound on all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from placement.model import MILLI, DemandId, NodeId, Objective, Topology
from placement.planners.cpsat.batches import Gang
from placement.planners.cpsat.constraints import Programme
from placement.planners.cpsat.variables import Linear
from placement.planners.fitting import speed_on
from placement.planners.state import GPU, Victim
from placement.qualities import most_performance
from placement.value import Values
from placement.weights import ADMITTED, HARM, HETEROGENEITY, INTERFERENCE, LOCALITY, MOVED, NODES, PERFORMANCE

SCALE = 1000
"""Objective units per unit of a term's weighted value: coefficients are integers."""

SCARCITY = 0.5 * HETEROGENEITY.weight
"""What a bundle's sought-after GPU costs in weighted value: a tie-break among places that the score holds equal."""

EXACT_RANKS = 40
"""Up to so many victims the tie-break is exactly lexicographic (powers of two); beyond, the sum of ranks."""


def harms(programme: Programme, ranked: Sequence[Victim]) -> list[Linear]:
    """Return what to minimise, one after the other: per priority from the highest, who stops and who shrinks.

    Where value is the aim, what is lost comes first. The last ones prefer, among equals, those who come first in
    ``ranked``, and give up the fewest bundles.
    """
    variables, out = programme.vars, list[Linear]()
    if programme.state.problem.policy.objective is Objective.WEIGHTED:
        out.append(lost(programme, ranked))
    for priority in sorted({v.running.demand.priority for v in ranked}, reverse=True):
        level = [v for v in ranked if v.running.demand.priority == priority]
        shrinks = sum(variables.drops[v.id, len(v.running.nodes) - 1] for v in level)
        stops = sum(variables.stops[v.id] for v in level)
        out.append((len(level) + 1) * stops + shrinks)
    weights = [2**i if len(ranked) <= EXACT_RANKS else i + 1 for i in range(len(ranked))]
    last = [variables.drops[v.id, len(v.running.nodes) - 1] for v in ranked]
    out.append(sum(weight * var for weight, var in zip(weights, last, strict=True)))
    out.append(sum(variables.drops[v.id, i] for v in ranked for i in range(len(v.running.nodes))))
    return out


def lost(programme: Programme, ranked: Sequence[Victim]) -> Linear:
    """Return what victims lose, in objective units: bundles go from the last on, each at what it costs on top."""
    values, terms = Values(programme.state.problem), list[Linear]()
    for victim in ranked:
        costs = [round(SCALE * values.cost(victim.running, n)) for n in range(len(victim.running.nodes))]
        for i, (cost, rest) in enumerate(zip(costs, [*costs[1:], 0], strict=True)):
            terms.append((cost - rest) * programme.vars.drops[victim.id, i])
    return sum(terms)


def _rate(weight: float, n: int = 1) -> int:
    return round(SCALE * weight / n)


def performance(programme: Programme, but: Collection[DemandId] = ()) -> Linear:
    """Return the bundles that start (``but`` those of some), each times its speed, in objective units."""
    rooms, terms = programme.batch.rooms, []
    gangs = {gang.demand.id: gang.demand for gang in programme.batch.gangs}
    for (name, _, node), var in programme.vars.count.items():
        if name in but:
            continue
        terms.append(_rate(PERFORMANCE.weight * speed_on(gangs[name], rooms[node].node)) * var)
    return sum(terms)


def locality(programme: Programme) -> Linear:
    """Return how many preferred topologies hold, in objective units; creates their indicators."""
    return _rate(LOCALITY.weight) * sum(
        _preference(programme, gang, topology)
        for gang in programme.batch.gangs
        for topology in gang.demand.topologies
        if not topology.required
    )


def _preference(programme: Programme, gang: Gang, topology: Topology) -> Linear:
    model = programme.model
    holds = model.new_bool_var(f"{gang.demand.id} has its wish: {topology.kind} {topology.key}")
    model.add_implication(holds, programme.vars.starts[gang.demand.id])
    if topology.kind == "pack":
        programme.together(gang, topology, holds)
    elif topology.skew is None:
        programme.apart(gang, topology, holds)
    else:
        programme.balanced(gang, topology, holds)
    return holds


def fragmentation(programme: Programme) -> Linear:
    """Return minus the nodes on which gangs stand, in objective units; creates their indicators."""
    used: dict[NodeId, list[Linear]] = {}
    for (_, _, node), var in programme.vars.count.items():
        used.setdefault(node, []).append(var)
    out = []
    for node, counts in used.items():
        stands = programme.model.new_bool_var(f"{node} takes new work")
        for var in counts:
            programme.model.add(var == 0).only_enforce_if(~stands)
        out.append(stands)
    return -_rate(NODES.weight) * sum(out)


def surroundings(programme: Programme) -> Linear:
    """Return what places are worth by what is around them, in objective units: inputs near, GPUs and neighbours spared.

    Neighbours are those that run already; what new work does to one another is left to the score.
    """
    gangs = {gang.demand.id: gang for gang in programme.batch.gangs}
    kinds = {name: gang.kinds for name, gang in gangs.items()}
    residents = _residents(programme)
    terms: list[Linear] = []
    for (name, k, node), var in programme.vars.count.items():
        demand, asked = gangs[name].demand, kinds[name][k].resources
        rate = _rate(LOCALITY.weight, gangs[name].most) if node in demand.near else 0
        has = programme.batch.rooms[node].node.resources
        if has.get(GPU) and not asked.get(GPU):
            part = max((amount / has.get(n) for n, amount in asked.items() if has.get(n)), default=0.0)
            rate -= _rate(HETEROGENEITY.weight * part * has.get(GPU) / MILLI)
        if asked.get(GPU):
            rate -= _rate(SCARCITY * programme.batch.rooms[node].price * asked.get(GPU) / MILLI)
        rate -= _rate(INTERFERENCE.weight * _lost(programme, demand.profile, residents.get(node, ())))
        if rate:
            terms.append(rate * var)
    return sum(terms)


def _residents(programme: Programme) -> dict[NodeId, set[str]]:
    """Return the profiles of what runs on each node; of none where the policy knows no interference."""
    out: dict[NodeId, set[str]] = {}
    if programme.state.problem.policy.interference:
        for running in programme.state.alive.values():
            for node in running.nodes if running.demand.profile else ():
                out.setdefault(node, set()).add(running.demand.profile)
    return out


def _lost(programme: Programme, profile: str, beside: Iterable[str]) -> float:
    """Return the throughput that a bundle and each neighbour lose to one another."""
    factors = {(one, other): factor for one, other, factor in programme.state.problem.policy.interference}
    pairs = [pair for other in sorted(beside) if profile for pair in ((profile, other), (other, profile))]
    return sum(1.0 - factors.get(pair, 1.0) for pair in pairs)


def admitted(starts: Iterable[Linear], n_pending: int) -> Linear:
    """Return the fraction of pending work that starts, in objective units (rounded up)."""
    return (_rate(ADMITTED.weight, max(1, n_pending)) + 1) * sum(starts)


def moved(moves: Mapping[Victim, Linear]) -> Linear:
    """Return what is not lost of work that starts again elsewhere, in objective units, less the price of moving."""
    return sum(_rate((HARM.weight - MOVED.weight) * len(v.running.nodes)) * starts for v, starts in moves.items())


def beyond(programme: Programme, starts: Mapping[DemandId, Linear]) -> Linear:
    """Return the most that other forms and throughput by size add to those that start, in objective units.

    ``performance`` counts the bundles of a form, each times its speed, which proves no bound on these.
    """
    demands = {demand.id: demand for demand in programme.state.problem.pending}
    return sum(
        (_rate(PERFORMANCE.weight * most_performance(demands[name])) + 1) * start for name, start in starts.items()
    )


def wishes(programme: Programme) -> Linear:
    """Return the most that preferred topologies can bring: each that starts has its wish, in objective units."""
    starts = programme.vars.starts
    hoping = [g.demand.id for g in programme.batch.gangs for t in g.demand.topologies if not t.required]
    return _rate(LOCALITY.weight) * sum(starts[name] for name in hoping)


def harm(programme: Programme) -> Linear:
    """Return minus the bundles of running work that go, in objective units."""
    victims = programme.batch.victims
    drops = [programme.vars.drops[v.id, i] for v in victims for i in range(len(v.running.nodes))]
    return -_rate(HARM.weight) * sum(drops)
