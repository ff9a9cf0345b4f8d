"""The exact planner: admission by the laws with proofs, one programme for all places, a bound on the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ortools.sat.python import cp_model

from placement.check import violations
from placement.model import (
    Cause,
    Demand,
    DemandId,
    NodeId,
    Plan,
    Preemption,
    Problem,
    Resize,
    Running,
    SolveStats,
    TenantId,
)
from placement.planners import rules
from placement.planners.base import Budget
from placement.planners.cpsat import objective
from placement.planners.cpsat.batches import Batch, Gang
from placement.planners.cpsat.constraints import Programme
from placement.planners.cpsat.fitter import MOST_VARIABLES, SOLVED, ExactFitter, Meter, kept, least_harm, placements
from placement.planners.greedy import GreedyFitter, decided
from placement.planners.movable import movable
from placement.planners.state import State, Victim
from placement.planners.tree import Tree, add
from placement.score import most_there_can_be, near_inputs, score

GOOD_ENOUGH = 1e-4
"""Relative gap at which places and the bound are not improved further."""


class CpSat:
    """Each decision of the laws is proved; what the laws leave open is optimised for the whole cluster at once."""

    name = "cpsat"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        tree, meter = Tree(problem), Meter(budget)
        rough, exact = decided(problem, GreedyFitter()), decided(problem, ExactFitter(meter))
        # Decisions that are each the best can leave less room than greedy's by chance: then greedy's stand.
        rough_is_better = score(problem, rough[0]).service > score(problem, exact[0]).service
        plan, outcome = rough if rough_is_better else exact
        if not any(outcome.blocked.values()):
            # A claim was judged against the places as they are, so they stay where one is kept.
            for improve in (with_fewest_victims, with_best_places):
                improved = improve(problem, plan, meter)
                if improved is not None and _improves(problem, improved, plan):
                    plan = improved
        return replace(plan, stats=_stats(problem, tree, plan, meter))


def _improves(problem: Problem, better: Plan, plan: Plan) -> bool:
    return score(problem, better) > score(problem, plan) and not violations(problem, better)


def with_fewest_victims(problem: Problem, plan: Plan, meter: Meter) -> Plan | None:
    """Return the plan with the least of its victims that all its new work, placed jointly, needs."""
    shrunk = {resize.demand: resize for resize in plan.resizes}
    gone = {preemption.demand for preemption in plan.preemptions} | set(shrunk)
    if not gone or meter.spent or any(resize.to > resize.before for resize in plan.resizes):
        return None
    victims = tuple(Victim(running) for running in problem.running if running.demand.id in gone)
    state = State(problem, Tree(problem))
    batch = Batch(_gangs(problem, plan, state), victims, state.rooms)
    if batch.size() > MOST_VARIABLES:
        return None
    programme = Programme(state, batch)
    for resize in plan.resizes:
        programme.model.add(programme.vars.stops[resize.demand] == 0)
    solver = least_harm(programme, sorted(victims, key=lambda v: -v.running.started_s), meter)
    if solver is None:
        return None
    nodes, keeps = placements(programme, solver), kept(programme, solver)
    return replace(
        plan,
        grants=tuple(replace(grant, nodes=nodes[grant.demand]) for grant in plan.grants),
        preemptions=tuple(p for p in plan.preemptions if keeps[p.demand] == 0),
        resizes=tuple(
            Resize(name, len(at), keeps[name], at[: keeps[name]], why[0], why[1])
            for name, (why, at) in _displaced(problem, plan).items()
            if 0 < keeps[name] < len(at)
        ),
    )


Why = tuple[Cause | None, tuple[DemandId, ...]]


def _displaced(problem: Problem, plan: Plan) -> Mapping[DemandId, tuple[Why, tuple[NodeId, ...]]]:
    """Return why each victim yields, and the nodes that it has now."""
    at = {running.demand.id: running.nodes for running in problem.running}
    yielding: tuple[Preemption | Resize, ...] = (*plan.preemptions, *plan.resizes)
    return {p.demand: ((p.cause, p.beneficiaries), at[p.demand]) for p in yielding}


def _gangs(problem: Problem, plan: Plan, state: State) -> tuple[Gang, ...]:
    """Return what the plan grants, as gangs that have to have just that many bundles."""
    granted = {grant.demand: grant for grant in plan.grants}
    out: list[Gang] = []
    for demand in problem.pending:
        if demand.id in granted:
            n, form = len(granted[demand.id].nodes), demand.form(granted[demand.id].form)
            out.append(Gang(form, n, n, closed=state.closed_to(form)))
    return tuple(out)


def with_best_places(problem: Problem, plan: Plan, meter: Meter) -> Plan | None:
    """Return the plan with all new work placed anew, jointly: fastest nodes, preferences, what is near, few nodes.

    Who starts, with how many bundles, and who yields stay as decided.
    """
    state = _under(problem, plan)
    gangs = _gangs(problem, plan, state)
    batch = Batch(gangs, (), state.rooms)
    if not gangs or meter.spent or batch.size() > MOST_VARIABLES or not _matters(batch):
        return None
    programme = Programme(state, batch)
    aim = objective.performance(programme) + objective.locality(programme) + objective.fragmentation(programme)
    programme.model.maximize(aim + objective.surroundings(programme))
    _hint(programme, {grant.demand: grant.nodes for grant in plan.grants})
    status, solver = meter.solve(programme.model, 0.2, GOOD_ENOUGH)
    if status not in SOLVED:
        return None
    nodes = placements(programme, solver)
    return replace(plan, grants=tuple(replace(grant, nodes=nodes[grant.demand]) for grant in plan.grants))


def _under(problem: Problem, plan: Plan) -> State:
    """Return the state without the plan's victims, with its growth, before its grants."""
    state = State(problem, Tree(problem))
    running = {r.demand.id: r for r in problem.running}
    state.displace(Victim(running[p.demand]) for p in plan.preemptions)
    state.displace(Victim(running[r.demand], r.to) for r in plan.resizes if r.to < r.before)
    for resize in plan.resizes:
        if resize.to > resize.before:
            state.extend(resize.demand, resize.nodes[resize.before :])
    return state


def _matters(batch: Batch) -> bool:
    """Return whether there is anything to choose: more than one node."""
    return sum(room.open for room in batch.rooms.values()) > 1


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

    Everything pending may start in one of its forms, what runs yields only where someone starts for whom it might have
    to, or moves to any nodes where the policy lets it, and limits are left out.
    """
    state = State(problem, tree)
    beneficiaries = _who_might_yield(problem, tree)
    elsewhere = {Victim(r): _elsewhere(r) for r in problem.running if _may_move(problem, r)}
    victims = (*beneficiaries, *(victim for victim in elsewhere if victim not in beneficiaries))
    forms = {demand.id: _forms(demand) for demand in problem.pending}
    gangs = [Gang(f, f.min_bundles, len(f.bundles), optional=True) for fs in forms.values() for f in fs]
    gangs += [Gang(again, len(again.bundles), len(again.bundles), optional=True) for again in elsewhere.values()]
    batch = Batch(tuple(gangs), victims, state.rooms)
    most = most_there_can_be(problem)
    if meter.spent or batch.size() > MOST_VARIABLES:
        return most
    programme = Programme(state, batch)
    model, variables = programme.model, programme.vars
    starts = {name: sum(variables.starts[form.id] for form in fs) for name, fs in forms.items()}
    moves = {victim: variables.starts[again.id] for victim, again in elsewhere.items()}
    for name, fs in forms.items():
        if len(fs) > 1:
            model.add(starts[name] <= 1)
    for victim in victims:
        kinds = beneficiaries.get(victim, frozenset())
        why = sum(starts[d.id] for d in problem.pending if _kind(d) in kinds) + moves.get(victim, 0)
        model.add(variables.drops[victim.id, len(victim.running.nodes) - 1] <= why)
        if victim in moves:
            model.add(moves[victim] <= variables.stops[victim.id])
    aim = objective.admitted(starts.values(), len(problem.pending))
    aim += objective.performance(programme, {again.id for again in elsewhere.values()})
    aim += objective.beyond(programme, {d.id: starts[d.id] for d in problem.pending if d.alternatives or d.scaling})
    model.maximize(aim + objective.harm(programme) + objective.moved(moves) + objective.wishes(programme))
    status, solver = meter.solve(model, 0.2, GOOD_ENOUGH)
    if status not in (*SOLVED, cp_model.UNKNOWN):
        return most
    proven: float = solver.best_objective_bound / objective.SCALE
    return min(most, proven + near_inputs(problem))


def _may_move(problem: Problem, running: Running) -> bool:
    return problem.policy.migration and movable(running, problem.now_s)


def _elsewhere(running: Running) -> Demand:
    """Return running work as a gang that starts again, of the size that it has, under a name of its own."""
    demand, n = running.demand, len(running.nodes)
    required = tuple(topology for topology in demand.topologies if topology.required)
    name, bundles = DemandId(f"{demand.id} elsewhere"), demand.bundles[:n]
    return replace(
        demand, id=name, bundles=bundles, min_bundles=n, alternatives=(), scaling=(), near=(), topologies=required
    )


def _forms(demand: Demand) -> tuple[Demand, ...]:
    """Return every form of a demand, under names of their own where there are several."""
    if not demand.alternatives:
        return (demand,)
    forms = (replace(demand, alternatives=()), *(demand.form(i + 1) for i in range(len(demand.alternatives))))
    return tuple(replace(form, id=DemandId(f"{demand.id} as form {i}")) for i, form in enumerate(forms))


Kind = tuple[TenantId, int, float]
"""What decides whom a newcomer might displace: its tenant, its priority and when it was submitted."""


def _kind(demand: Demand) -> Kind:
    return demand.tenant, demand.priority, demand.submitted_s


def _who_might_yield(problem: Problem, tree: Tree) -> dict[Victim, frozenset[Kind]]:
    """Return the running work that some newcomer might displace under some plan, and for which kinds of newcomers.

    A tenant's use is never larger than with all of its work, and the larger it is, the more of it may be reclaimed; so
    whoever may not be displaced then never may.
    """
    fullest = State(problem, tree)
    for running in problem.running:
        _use_more(fullest, running.demand, len(running.nodes))
    for demand in problem.pending:
        _use_more(fullest, demand, 0)
    newcomers = {_kind(d): d for d in problem.pending}
    out = {}
    for victim in (Victim(running) for running in problem.running if running.nodes):
        kinds = frozenset(kind for kind, d in newcomers.items() if rules.might_displace(fullest, d, victim))
        if kinds:
            out[victim] = kinds
    return out


def _use_more(state: State, demand: Demand, n_has: int) -> None:
    for node in state.tree.paths[demand.tenant]:
        for bundle in demand.bundles[n_has:]:
            add(state.use[node], bundle.resources)
