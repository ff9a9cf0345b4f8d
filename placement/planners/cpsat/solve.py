"""The exact planner: admission by the laws with proofs, one programme for all places, a bound on the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ortools.sat.python import cp_model

from placement.check import violations
from placement.model import DemandId, Grant, NodeId, Plan, Problem, SolveStats
from placement.planners.admission import Outcome, admit
from placement.planners.base import Budget
from placement.planners.cpsat import objective
from placement.planners.cpsat.batches import Batch, Gang
from placement.planners.cpsat.constraints import Programme
from placement.planners.cpsat.fitter import MOST_VARIABLES, SOLVED, ExactFitter, Meter, placements
from placement.planners.proposal import plan_from
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Tree
from placement.score import most_there_can_be, score
from placement.weights import LOCALITY

GOOD_ENOUGH = 1e-4
"""Relative gap at which places and the bound are not improved further."""


class CpSat:
    """Each decision of the laws is proved; what the laws leave open is optimised for the whole cluster at once."""

    name = "cpsat"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        tree, meter = Tree(problem), Meter(budget)
        outcome = admit(problem, tree, ExactFitter(meter))
        plan = plan_from(problem, tree, outcome)
        better = with_best_places(problem, outcome, plan, meter)
        if better is not None and not violations(problem, better):
            plan = better
        return replace(plan, stats=_stats(problem, tree, plan, meter))


def with_best_places(problem: Problem, outcome: Outcome, plan: Plan, meter: Meter) -> Plan | None:
    """Return the plan with all new work placed anew, jointly: the fastest nodes, then preferences, then few nodes.

    Who starts, with how many bundles, and who yields stay as decided.
    """
    gangs = tuple(Gang(d, len(at), len(at)) for d, at in outcome.state.granted.values())
    batch = Batch(gangs, (), _rooms_without_newcomers(outcome.state))
    if not gangs or meter.spent or batch.size() > MOST_VARIABLES or not _matters(batch):
        return None
    programme = Programme(outcome.state, batch)
    aim = objective.performance(programme) + objective.locality(programme) + objective.fragmentation(programme)
    programme.model.maximize(aim)
    _hint(programme, {name: at for name, (_, at) in outcome.state.granted.items()})
    status, solver = meter.solve(programme.model, 0.2, GOOD_ENOUGH)
    if status not in SOLVED:
        return None
    nodes = placements(programme, solver)
    better = replace(plan, grants=tuple(Grant(grant.demand, nodes[grant.demand]) for grant in plan.grants))
    return better if score(problem, better) > score(problem, plan) else None


def _matters(batch: Batch) -> bool:
    """Return whether there is anything to choose: more than one node."""
    return sum(room.open for room in batch.rooms.values()) > 1


def _rooms_without_newcomers(state: State) -> Mapping[NodeId, Room]:
    rooms = {name: room.copy() for name, room in state.rooms.items()}
    for demand, nodes in state.granted.values():
        for node, bundle in zip(nodes, demand.bundles, strict=False):
            rooms[node].take(bundle.resources, -1)
    return rooms


def _hint(programme: Programme, nodes: Mapping[DemandId, tuple[NodeId, ...]]) -> None:
    for gang in programme.batch.gangs:
        at = nodes[gang.demand.id]
        for k, kind in enumerate(gang.kinds):
            here = [at[i] for i in (*kind.must, *kind.may)]
            for node in programme.batch.hosts(kind):
                programme.model.add_hint(programme.vars.count[gang.demand.id, k, node], here.count(node))


def _stats(problem: Problem, tree: Tree, plan: Plan, meter: Meter) -> SolveStats:
    """Return what the answer proves; ``optimal`` where no plan at all can have a larger objective."""
    value = score(problem, plan).total
    bound = max(value, upper_bound(problem, tree, meter))
    gap = (bound - value) / abs(bound) if bound else 0.0
    status = "optimal" if gap <= 1e-6 else "feasible"
    return SolveStats(planner=CpSat.name, status=status, objective=value, bound=bound, gap=gap)


def upper_bound(problem: Problem, tree: Tree, meter: Meter) -> float:
    """Return a proven bound on any plan's objective: the programme of the whole cluster without the order.

    Everything pending may start, whatever is preemptible may yield for anyone, and limits are left out.
    """
    state = State(problem, tree)
    preferred = sum(d.topology is not None and not d.topology.required for d in problem.pending)
    victims = tuple(Victim(running) for running in problem.running if running.demand.preemptible and running.nodes)
    gangs = tuple(Gang(d, d.min_bundles, len(d.bundles), optional=True) for d in problem.pending)
    batch = Batch(gangs, victims, state.rooms)
    most = most_there_can_be(problem)
    if meter.spent or batch.size() > MOST_VARIABLES:
        return most
    programme = Programme(state, batch)
    aim = objective.admitted(programme, len(problem.pending)) + objective.performance(programme)
    programme.model.maximize(aim + objective.harm(programme))
    status, solver = meter.solve(programme.model, 0.2, GOOD_ENOUGH)
    if status not in (*SOLVED, cp_model.UNKNOWN):
        return most
    proven: float = solver.best_objective_bound / objective.SCALE
    return min(most, proven + preferred * LOCALITY.weight)

