"""Shortest first: by whole run time without preemption (SJF), and by what remains of it with preemption (SRTF).

References
----------
Schrage, A Proof of the Optimality of the Shortest Remaining Processing Time Discipline, Operations Research 16, 1968;
as baselines of cluster schedulers in Tiresias (NSDI 2019) and Helios (SC 2021).
"""

from __future__ import annotations

from placement.baselines.ranked import run_in_order
from placement.baselines.turn import Turn, remaining_s
from placement.model import Plan, Problem
from placement.planners.base import Budget

_UNKNOWN = float("inf")


class Sjf:
    """The waiting by estimated run time; who does not fit is passed. What has no estimate comes last."""

    name = "sjf"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)
        for demand in sorted(problem.pending, key=lambda d: (remaining_s(d, 0.0, _UNKNOWN), d.submitted_s)):
            turn.start(demand)
        return turn.plan(self.name)


class Srtf:
    """Whatever has the least left runs; longer work yields to it. What has no estimate comes last."""

    name = "srtf"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)
        run_in_order(
            turn,
            lambda d: (remaining_s(d, 0.0, _UNKNOWN), 1.0, d.submitted_s),
            lambda r: (remaining_s(r.demand, problem.now_s - r.started_s, _UNKNOWN), 0.0, r.demand.submitted_s),
        )
        return turn.plan(self.name)
