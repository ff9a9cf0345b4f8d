"""From what admission decided to a plan."""

from __future__ import annotations

from placement.model import Cause, DemandId, Grant, Plan, Preemption, Problem, Reason, Resize, SolveStats, Waiting
from placement.planners.admission import Outcome, displaced_victims
from placement.planners.tree import Tree


def plan_from(problem: Problem, tree: Tree, outcome: Outcome, stats: SolveStats | None = None) -> Plan:
    """Return the plan: grants in order of arrival, preemptions in the order of going."""
    state = outcome.state
    grants = tuple(Grant(d.id, state.granted[d.id][1]) for d in problem.pending if d.id in state.granted)
    waiting = {
        d.id: Waiting(Reason.CAPACITY, "waits for room") for d in problem.pending if d.id not in state.granted
    }
    return Plan(grants, _preemptions(problem, outcome), _resizes(problem, outcome), waiting, {}, stats or SolveStats())


def _preemptions(problem: Problem, outcome: Outcome) -> tuple[Preemption, ...]:
    stopped = {v.id for v in displaced_victims(problem, outcome.state) if not v.keep}
    causes: dict[DemandId, Cause] = {}
    wanted: dict[DemandId, list[DemandId]] = {}
    order: list[DemandId] = []
    for victim, cause, beneficiary in outcome.displaced:
        if victim in stopped:
            causes[victim] = cause
            if victim in order:
                order.remove(victim)
            order.append(victim)
            if beneficiary not in wanted.setdefault(victim, []):
                wanted[victim].append(beneficiary)
    return tuple(Preemption(victim, causes[victim], tuple(wanted[victim])) for victim in order)


def _resizes(problem: Problem, outcome: Outcome) -> tuple[Resize, ...]:
    out: list[Resize] = []
    for running in problem.running:
        now = outcome.state.alive.get(running.demand.id)
        if now is not None and len(now.nodes) != len(running.nodes):
            out.append(Resize(running.demand.id, len(running.nodes), len(now.nodes), now.nodes))
    return tuple(out)
