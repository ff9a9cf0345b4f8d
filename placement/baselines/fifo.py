"""First in, first out: who cannot start blocks all who came later."""

from __future__ import annotations

from placement.baselines.turn import Turn, by_arrival
from placement.model import Plan, Problem
from placement.planners.base import Budget


class Fifo:
    """The queue of every system without a scheduler, and the baseline of Tiresias (NSDI'19) and Gavel (OSDI'20).

    What could not run on the empty cluster is passed over, as cluster managers refuse it when it is submitted.
    """

    name = "fifo"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)
        for demand in by_arrival(problem.pending):
            if not turn.start(demand) and not turn.never(demand):
                break
        return turn.plan(self.name)
