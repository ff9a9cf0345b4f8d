"""From what the bulk admission decided to a plan that the judge passes."""

from __future__ import annotations

from placement.check import violations
from placement.model import DemandId, Grant, Plan, Preemption, Problem, Reason, Resize, SolveStats, Waiting
from placement.planners.bulk.admission import Admission
from placement.planners.bulk.gangs import Gang
from placement.planners.bulk.outcome import Outcome
from placement.planners.proposal import sparing

LARGE = 100_000
"""Nodes times pending and running work from which on a question is answered in bulk."""

MOST_STEPS = 2_000
"""Bundles by which all elastic work could grow or shrink from which on a question is answered in bulk."""


def is_large(problem: Problem) -> bool:
    """Return whether the law-by-law planner would be slow."""
    if len(problem.nodes) * (len(problem.pending) + len(problem.running)) >= LARGE:
        return True
    demands = (*problem.pending, *(r.demand for r in problem.running))
    return sum(len(demand.bundles) - demand.min_bundles for demand in demands) >= MOST_STEPS


def answer(problem: Problem) -> Plan:
    """Return a plan that the judge passes: where it objects to who was displaced, nobody is."""
    proposed = plan(problem)
    if (proposed.preemptions or proposed.resizes) and violations(problem, proposed):
        return plan(problem, displaces=False)
    return proposed


def plan(problem: Problem, displaces: bool = True) -> Plan:
    """Return the plan of the bulk admission as it is."""
    outcome = Admission(problem, displaces).run()
    rooms, got = outcome.rooms, outcome.got
    grants = tuple(
        Grant(d.id, tuple(rooms.nodes[node].id for node in got[d.id].at), got[d.id].form)
        for d in problem.pending
        if d.id in got
    )
    waits = Waiting(Reason.CAPACITY, "waits for room")
    waiting = {d.id: waits for d in problem.pending if d.id not in got}
    preemptions, resizes, could_stay = _changes(outcome)
    proposed = Plan(grants, preemptions, resizes, waiting, {}, SolveStats())
    return sparing(problem, proposed) if could_stay else proposed


def _changes(outcome: Outcome) -> tuple[tuple[Preemption, ...], tuple[Resize, ...], bool]:
    """Return who stops and who changes size, and whether some victim's room is free after all."""
    last: dict[int, int] = {gang.index: i for i, (gang, _, _) in enumerate(outcome.displaced)}
    winners: dict[int, list[DemandId]] = {}
    for gang, _, winner in outcome.displaced:
        winners.setdefault(gang.index, []).append(winner)
    preemptions: list[Preemption] = []
    resizes: list[Resize] = []
    could_stay = False
    for i, (gang, cause, _) in enumerate(outcome.displaced):
        if last[gang.index] == i:
            names, before = tuple(dict.fromkeys(winners[gang.index])), len(gang.running.nodes)
            if gang.keep == 0:
                preemptions.append(Preemption(gang.id, cause, names))
            elif gang.keep < before:
                resizes.append(Resize(gang.id, before, gang.keep, gang.running.nodes[: gang.keep], cause, names))
            could_stay = could_stay or _could_stay(outcome, gang)
    for gang in outcome.grown.values():
        before = len(gang.running.nodes)
        if gang.keep > before:
            nodes = tuple(outcome.rooms.nodes[node].id for node in gang.at[before : gang.keep])
            resizes.append(Resize(gang.id, before, gang.keep, gang.running.nodes + nodes))
    return tuple(preemptions), tuple(resizes), could_stay


def _could_stay(outcome: Outcome, gang: Gang) -> bool:
    """Return whether the next bundle (of shrunk work) or all (of stopped work) might stand where it stood."""
    until = gang.keep + 1 if gang.keep else len(gang.running.nodes)
    wanted: dict[int, list[int]] = {}
    for node, kind in zip(gang.at[gang.keep : until], gang.kinds[gang.keep : until], strict=True):
        if node >= 0:
            free = wanted.setdefault(node, list(outcome.rooms.free[node]))
            for i, amount in kind.needs:
                free[i] -= amount
    return all(amount >= 0 for free in wanted.values() for amount in free)
