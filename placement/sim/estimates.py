"""Run times as a planner would know them: with an error that shrinks as the work progresses."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from placement.model import Demand, DemandId, Node, NodeId, Plan, Problem, Running
from placement.planners.base import Budget
from placement.throughput import throughput

SIGMA = 0.3
LEAST_LEFT = 0.01
"""What is thought to be left at least, as a part of the whole."""


def draw(seed: int, id: str) -> float:
    """Return a standard normal number that belongs to a name and a seed (Box and Muller, 1958)."""
    digest = hashlib.sha256(f"{seed}/{id}".encode()).digest()
    first, second = (int.from_bytes(digest[i : i + 8], "big") for i in (0, 8))
    radius = math.sqrt(-2.0 * math.log((first + 1) / 2**64))
    return radius * math.cos(2.0 * math.pi * second / 2**64)


def estimate(runtime_s: float, done_s: float, error: float, sigma: float = SIGMA) -> float:
    """Return the run time that is expected in all, after ``done_s`` of it.

    Notes
    -----
    ``runtime_s * exp(sigma * error * (1 - done_s / runtime_s))``: log-normal at first, exact at the end.
    """
    left = max(0.0, 1.0 - done_s / runtime_s)
    return max(done_s + LEAST_LEFT * runtime_s, runtime_s * math.exp(sigma * error * left))


class Estimating:
    """A planner that is shown estimates in place of what the control plane was told.

    Parameters
    ----------
    truth : callable
        The true run time of a workload, in seconds of its whole gang at speed 1; None where it has none.
    """

    def __init__(
        self,
        planner: Callable[[Problem, Budget], Plan],
        truth: Callable[[DemandId], float | None],
        seed: int,
        sigma: float = SIGMA,
    ) -> None:
        self._planner, self._truth, self._seed, self._sigma = planner, truth, seed, sigma
        self._seen: dict[DemandId, tuple[Demand, Demand]] = {}

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        nodes = {node.id: node for node in problem.nodes}
        running = tuple(self._running(one, nodes, problem.now_s) for one in problem.running)
        pending = tuple(self._pending(demand) for demand in problem.pending)
        return self._planner(replace(problem, running=running, pending=pending), budget)

    def _pending(self, demand: Demand) -> Demand:
        seen = self._seen.get(demand.id)
        if seen is None or seen[0] is not demand:
            seen = self._seen[demand.id] = (demand, self._guess(demand, demand.served_s))
        return seen[1]

    def _running(self, one: Running, nodes: Mapping[NodeId, Node], now_s: float) -> Running:
        where = [nodes[id] for id in one.nodes if id in nodes]
        done_s = one.demand.served_s + max(0.0, now_s - one.started_s) * throughput(one.demand, where)
        return replace(one, demand=self._guess(one.demand, done_s))

    def _guess(self, demand: Demand, done_s: float) -> Demand:
        runtime_s = self._truth(demand.id)
        if runtime_s is None:
            return demand
        expected_s = estimate(runtime_s, min(done_s, runtime_s), draw(self._seed, demand.id), self._sigma)
        return replace(demand, runtime_s=max(LEAST_LEFT * runtime_s, expected_s - demand.served_s))
