"""Ageing: waiting lifts a workload, so that no stream of more important work keeps it out for ever."""

from __future__ import annotations

import math
from dataclasses import replace

from placement.model import Demand, Problem


def aged(problem: Problem) -> Problem:
    """Return the problem with each priority raised by one for every ``ageing_s`` that its workload has waited.

    Running work keeps what it had gathered at its start, so that waiting counts and running does not. What it has been
    served in earlier runs is no waiting either. The result has no ``ageing_s`` of its own: doing it twice changes
    nothing.

    Notes
    -----
    The bound on waiting. Let a workload of priority p be submitted at s, let P be the largest priority there is, a be
    ``ageing_s`` and c = s + (P - p + 1) a. While both wait and neither has run, work submitted at or after c has waited
    (P - p + 1) a less, so its aged priority is smaller by P - p + 1 or more, less what it leads in priority, which is
    at most P - p: it is below at every moment. So of its tenant's queue only what was submitted before c is ever ahead
    of it, and that is finite. Law 8 lets nobody behind it delay it. It therefore starts, within what its tenant is
    allowed, when that has ended at the latest: by c plus the sum of the run times of the work ahead of it.
    """
    ageing_s = problem.policy.ageing_s
    if ageing_s is None:
        return problem
    return replace(
        problem,
        policy=replace(problem.policy, ageing_s=None),
        pending=tuple(_lifted(demand, problem.now_s, ageing_s) for demand in problem.pending),
        running=tuple(replace(r, demand=_lifted(r.demand, r.started_s, ageing_s)) for r in problem.running),
    )


def _lifted(demand: Demand, until_s: float, ageing_s: float) -> Demand:
    waited_s = max(0.0, until_s - demand.submitted_s - demand.served_s)
    return replace(demand, priority=demand.priority + math.floor(waited_s / ageing_s))
