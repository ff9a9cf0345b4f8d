"""Tiresias: discretised two-dimensional least attained service, without knowing how long anything runs.

References
----------
Gu et al., Tiresias: A GPU Cluster Manager for Distributed Deep Learning, NSDI 2019, section 3 (discretised 2D-LAS:
service is GPUs times time; queues by thresholds; first in, first out within a queue; the first queue preempts the
next). The thresholds are those of its published simulator.
"""

from __future__ import annotations

from bisect import bisect_right

from placement.baselines.ranked import run_in_order
from placement.baselines.turn import Turn
from placement.model import MILLI, Demand, Plan, Problem, Running
from placement.planners.arrays.layout import GPU
from placement.planners.base import Budget

THRESHOLDS = (3_250.0, 7_200.0, 18_000.0)
"""GPU-seconds at which work goes down one queue."""


class Las:
    """Work that has received the least runs first, in coarse steps, so that equals do not take turns all the time."""

    name = "las"

    def __init__(self, thresholds: tuple[float, ...] = THRESHOLDS) -> None:
        self.thresholds = thresholds

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)

        def of_pending(demand: Demand) -> tuple[float, ...]:
            return bisect_right(self.thresholds, demand.attained), demand.submitted_s

        def of_running(running: Running) -> tuple[float, ...]:
            return bisect_right(self.thresholds, attained(problem, running)), running.demand.submitted_s

        run_in_order(turn, of_pending, of_running)
        return turn.plan(self.name)


def attained(problem: Problem, running: Running) -> float:
    """Return the service that running work has received in all its runs, this one included: GPUs times seconds.

    Work without GPUs is counted by its CPUs.
    """
    amounts = running.resources
    width = (amounts.get(GPU) or amounts.get("CPU")) / MILLI
    return running.demand.attained + width * max(0.0, problem.now_s - running.started_s)
