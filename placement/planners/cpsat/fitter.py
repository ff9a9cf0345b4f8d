"""The exact fitter: greedy's guess where it cannot be bettered, else a programme that finds or refutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ortools.sat.python import cp_model

from placement.model import Demand, DemandId, NodeId, Objective
from placement.planners import rules
from placement.planners.admission import Fit
from placement.planners.base import Budget
from placement.planners.claims import asked
from placement.planners.cpsat.batches import Batch, Gang, unlike
from placement.planners.cpsat.constraints import Programme
from placement.planners.cpsat.objective import harms
from placement.planners.greedy import GreedyFitter, possible_victims
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Vector, add

MOST_VARIABLES = 20_000
"""Programmes above this size leave the other newcomers where they are; above it still, greedy's guess stands."""

MOST_REFUSALS = 20
"""How often an answer that breaks a rule which the programme only approximates is forbidden and asked for again."""

BUILD_S = 1e-5
"""Deterministic seconds charged per variable of a programme that is built."""

SOLVED = (cp_model.OPTIMAL, cp_model.FEASIBLE)


@dataclass(slots=True)
class Meter:
    """What is left of the budget, in the solver's deterministic seconds and in wall seconds."""

    budget: Budget
    deterministic_s: float = 0.0
    wall_s: float = 0.0
    n_solves: int = 0
    n_unproved: int = 0

    @property
    def spent(self) -> bool:
        return self.deterministic_s >= self.budget.deterministic_s or self.wall_s >= self.budget.wall_s

    def built(self, n_variables: int) -> None:
        """Count the building of a programme, which takes longer than many a solve."""
        self.deterministic_s += BUILD_S * n_variables

    def solve(self, model: cp_model.CpModel, share: float = 1.0, gap: float = 0.0) -> tuple[int, cp_model.CpSolver]:
        """Solve with at most a share of what is left, until the relative gap is no larger than ``gap``."""
        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.num_workers, parameters.random_seed = self.budget.workers, self.budget.seed
        parameters.max_deterministic_time = max(1e-3, share * (self.budget.deterministic_s - self.deterministic_s))
        parameters.relative_gap_limit = gap
        parameters.max_time_in_seconds = max(1e-2, self.budget.wall_s - self.wall_s)
        status = solver.solve(model)
        self.deterministic_s += solver.response_proto.deterministic_time
        self.wall_s += solver.wall_time
        self.n_solves += 1
        self.n_unproved += status not in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
        return int(status), solver


class ExactFitter:
    """Moves newcomers that have no place for good yet, and chooses victims by the least harm."""

    def __init__(self, meter: Meter) -> None:
        self.meter, self.guess = meter, GreedyFitter()

    def on_idle(self, state: State, demand: Demand, n: int) -> Iterator[Fit]:
        guess = next(self.guess.on_idle(state, demand, n), None)
        if guess is not None:
            yield guess
        elif self._worth(state, demand, n):
            yield from filter(None, [self._search(state, demand, n, [])])

    def by_displacing(self, state: State, demand: Demand, n: int) -> Iterator[Fit]:
        candidates = possible_victims(state, demand)
        if not candidates:
            return
        guess = next(self.guess.by_displacing(state, demand, n), None)
        by_laws = state.problem.policy.objective is not Objective.WEIGHTED
        best_there_is = by_laws and guess is not None and [victim for victim, _ in guess.victims] == candidates[:1]
        if not best_there_is and self._worth(state, demand, n, candidates):
            yield from filter(None, [self._search(state, demand, n, candidates)])
        yield from filter(None, [guess])

    def _worth(self, state: State, demand: Demand, n: int, candidates: Sequence[Victim] = ()) -> bool:
        """Return whether there is enough in all, so that only a search can tell."""
        if self.meter.spent:
            return False
        need, have = asked(demand, n), dict[str, int]()
        if demand.id in state.granted:
            add(need, asked(demand, len(state.granted[demand.id][1])), -1)
        for room in state.rooms.values():
            if room.open and any(bundle.selector.accepts(room.node) for bundle in demand.bundles[:n]):
                add(have, {name: max(0, amount) for name, amount in room.free.items()})
        for victim in unlike(candidates):
            add(have, victim.released)
        return all(amount <= have.get(name, 0) for name, amount in need.items())

    def _search(self, state: State, demand: Demand, n: int, candidates: Sequence[Victim]) -> Fit | None:
        """Solve for a fit with the least harm; None where there is none, or none was found in time."""
        batch = _batch(state, demand, n, candidates, others=True)
        if batch.size() > MOST_VARIABLES:
            batch = _batch(state, demand, n, candidates, others=False)
        if batch.size() > MOST_VARIABLES:
            return None
        more = asked(demand, n)
        if demand.id in state.granted:
            add(more, asked(demand, len(state.granted[demand.id][1])), -1)
        refused: list[list[tuple[DemandId, int, bool]]] = []
        while len(refused) < MOST_REFUSALS:
            programme = Programme(state, batch, (demand, more))
            self.meter.built(batch.size())
            for choice in refused:
                _forbid(programme, choice)
            solver = least_harm(programme, rules.preference(state, demand, batch.victims), self.meter)
            if solver is None:
                return None
            fit = _fit(programme, solver, state, demand, more)
            if fit is not None:
                return fit
            refused.append([(name, i, bool(solver.value(var))) for (name, i), var in programme.vars.drops.items()])
        return None


def least_harm(programme: Programme, ranked: Sequence[Victim], meter: Meter) -> cp_model.CpSolver | None:
    """Minimise the harms one after the other, each fixed before the next; return the last solver that answered."""
    model = programme.model
    if not ranked:
        status, solver = meter.solve(model, 0.5)
        return solver if status in SOLVED else None
    best: cp_model.CpSolver | None = None
    for aim in harms(programme, ranked):
        if best is not None and best.value(aim) == 0:
            model.add(aim <= 0)
            continue
        model.minimize(aim)
        status, solver = meter.solve(model, 0.5)
        if status not in SOLVED:
            break
        best = solver
        model.add(aim <= solver.value(aim))
        if meter.spent:
            break
    return best


def _batch(state: State, demand: Demand, n: int, candidates: Sequence[Victim], *, others: bool) -> Batch:
    """Return the demand, all newcomers that may still move, and the rooms without them."""
    movable = [d for d, _ in state.granted.values() if d.id != demand.id] if others else []
    rooms: dict[NodeId, Room] = {name: room.copy() for name, room in state.rooms.items()}
    for other in [*movable, *([demand] if demand.id in state.granted else [])]:
        for node, bundle in zip(state.granted[other.id][1], other.bundles, strict=False):
            rooms[node].take(bundle.resources, -1)
    gangs = [Gang(demand, n, n, closed=state.closed_to(demand))]
    for other in movable:
        has = len(state.granted[other.id][1])
        gangs.append(Gang(other, has, has, closed=state.closed_to(other)))
    return Batch(tuple(gangs), unlike(candidates), rooms)


def placements(programme: Programme, solver: cp_model.CpSolver) -> Mapping[DemandId, tuple[NodeId, ...]]:
    """Return each gang's nodes in the order of its bundles."""
    out: dict[DemandId, tuple[NodeId, ...]] = {}
    for gang in programme.batch.gangs:
        name, at = gang.demand.id, dict[int, NodeId]()
        for k, kind in enumerate(gang.kinds):
            wanted = list(kind.must) if solver.value(programme.vars.starts[name]) else []
            wanted += [i for i in kind.may if solver.value(programme.vars.gets[name, i])]
            for node in programme.batch.hosts(kind):
                for _ in range(solver.value(programme.vars.count[name, k, node])):
                    at[wanted.pop(0)] = node
        out[name] = tuple(at[i] for i in sorted(at))
    return out


def kept(programme: Programme, solver: cp_model.CpSolver) -> Mapping[DemandId, int]:
    """Return how many bundles each possible victim keeps."""
    return {
        victim.id: sum(not solver.value(programme.vars.drops[victim.id, i]) for i in range(len(victim.running.nodes)))
        for victim in programme.batch.victims
    }


def _fit(programme: Programme, solver: cp_model.CpSolver, state: State, demand: Demand, more: Vector) -> Fit | None:
    """Return the fit that the solver found, or None where a rule refuses its victims after all."""
    keeps = kept(programme, solver)
    chosen = [
        Victim(victim.running, keeps[victim.id])
        for victim in programme.batch.victims
        if keeps[victim.id] < len(victim.running.nodes)
    ]
    order = rules.displacement(state, demand, more, chosen)
    if order is None:
        return None
    nodes = placements(programme, solver)
    moved = {name: at for name, at in nodes.items() if name != demand.id and at != state.granted[name][1]}
    return Fit(nodes[demand.id], moved, order)


def _forbid(programme: Programme, choice: Sequence[tuple[DemandId, int, bool]]) -> None:
    """Forbid exactly this choice of who gives up what."""
    drops = programme.vars.drops
    programme.model.add_bool_or([drops[name, i].negated() if gone else drops[name, i] for name, i, gone in choice])
