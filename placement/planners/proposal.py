"""From what admission decided to a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from placement.check import milder, violations
from placement.model import Cause, DemandId, Grant, Plan, Preemption, Problem, Reason, Resize, SolveStats, Waiting
from placement.planners.admission import Outcome, displaced_victims
from placement.planners.tree import Tree
from placement.score import order_of_service


def plan_from(problem: Problem, tree: Tree, outcome: Outcome, stats: SolveStats | None = None) -> Plan:
    """Return the plan: grants in order of arrival, preemptions in the order of going."""
    state = outcome.state
    grants = tuple(
        Grant(d.id, state.granted[d.id][1], outcome.forms.get(d.id, 0))
        for d in problem.pending
        if d.id in state.granted
    )
    waiting = {d.id: Waiting(Reason.CAPACITY, "waits for room") for d in problem.pending if d.id not in state.granted}
    preemptions, resizes = _preemptions(problem, outcome), _resizes(problem, outcome)
    return sparing(problem, Plan(grants, preemptions, resizes, waiting, {}, stats or SolveStats()))


Decided = tuple[Plan, Outcome]


def lawful(problem: Problem, decide: Callable[[Problem], Decided]) -> Decided:
    """Return what ``decide`` answers, with fewer newcomers where a later one has put an earlier one in the wrong.

    Each decision is judged when it is made, and the judge looks at the whole: what reclaimed within a guarantee has no
    right to it once others of its side have borrowed. Then the last in the order of service waits.
    """
    asked, order = problem, [demand.id for demand in order_of_service(problem)]
    while True:
        plan, outcome = decide(asked)
        left_out = {d.id: Waiting(Reason.CAPACITY, "waits for room") for d in problem.pending if d not in asked.pending}
        plan = replace(plan, waiting={**plan.waiting, **left_out})
        granted = {grant.demand for grant in plan.grants}
        if not granted or not violations(problem, plan):
            return plan, outcome
        last = next(name for name in reversed(order) if name in granted)
        asked = replace(asked, pending=tuple(d for d in asked.pending if d.id != last))


def sparing(problem: Problem, plan: Plan) -> Plan:
    """Put back every victim that no longer has to yield, now that all decisions are known."""
    while (found := milder(problem, plan)) is not None:
        plan = found[1]
    return plan


def _preemptions(problem: Problem, outcome: Outcome) -> tuple[Preemption, ...]:
    """Return what stops, in the order of the last step against each."""
    stopped = {victim.id for victim in displaced_victims(problem, outcome.state) if not victim.keep}
    order = list(dict.fromkeys(victim for victim, _, _ in reversed(outcome.displaced)))
    return tuple(Preemption(victim, *_why(victim, outcome)) for victim in reversed(order) if victim in stopped)


def _why(victim: DemandId, outcome: Outcome) -> tuple[Cause, tuple[DemandId, ...]]:
    """Return the cause of the last step against a victim, and all for whom it yields."""
    steps = [(cause, winner) for other, cause, winner in outcome.displaced if other == victim]
    return steps[-1][0], tuple(dict.fromkeys(winner for _, winner in steps))


def _resizes(problem: Problem, outcome: Outcome) -> tuple[Resize, ...]:
    out: list[Resize] = []
    for running in problem.running:
        now = outcome.state.alive.get(running.demand.id)
        if now is not None and len(now.nodes) != len(running.nodes):
            why = _why(running.demand.id, outcome) if len(now.nodes) < len(running.nodes) else (None, ())
            out.append(Resize(running.demand.id, len(running.nodes), len(now.nodes), now.nodes, *why))
    return tuple(out)
