"""A cluster from turn to turn: the last plan is carried out, some work ends, some comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.clusters import NOW_S, SHARES, SIZES, gang
from placement.model import DemandId, Plan, Problem, Running

ENDS = 10
COMES = 10
TURN_S = 60.0


class Turns:
    """Carries plans out; ``problem`` is the next question."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem, self._random, self._n = problem, np.random.default_rng(seed), 0

    def next(self, plan: Plan) -> None:
        """Carry out a plan, let ten running workloads end and ten new ones come."""
        now = self.problem.now_s
        pending = {demand.id: demand for demand in self.problem.pending}
        running = {work.demand.id: work for work in self.problem.running}
        stopped = [replace(running.pop(stop.demand).demand, submitted_s=now) for stop in plan.preemptions]
        for resize in plan.resizes:
            running[resize.demand] = replace(running[resize.demand], nodes=resize.nodes)
        for grant in plan.grants:
            demand = pending.pop(grant.demand).form(grant.form)
            running[demand.id] = Running(demand, grant.nodes, now)
        names = sorted(running)
        for i in self._random.choice(len(names), min(ENDS, len(names)), replace=False).tolist():
            del running[names[i]]
        for _ in range(COMES):
            self._n += 1
            size = int(self._random.choice(SIZES, p=SHARES))
            new = gang(f"new{self._n}", size, self.problem.tenants, self._random)
            pending[DemandId(new.id)] = replace(new, submitted_s=now)
        waiting = (*pending.values(), *stopped)
        self.problem = replace(self.problem, running=tuple(running.values()), pending=waiting, now_s=now + TURN_S)


__all__ = ["NOW_S", "Turns"]
