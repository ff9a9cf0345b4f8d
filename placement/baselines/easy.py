"""EASY backfill: the head of the queue has a reservation, and who does not delay it may pass.

References
----------
Lifka, The ANL/IBM SP Scheduling System, JSSPP 1995; Mu'alem and Feitelson, Utilization, Predictability, Workloads,
and User Runtime Estimates in Scheduling the IBM SP2 with Backfilling, IEEE TPDS 12(6), 2001, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from placement.baselines.turn import Turn, biggest, by_priority, remaining_s
from placement.model import Demand, Plan, Problem
from placement.planners.arrays.layout import Floor
from placement.planners.base import Budget

YEAR_S = 365 * 24 * 3600.0
"""What has no estimate is taken to run for a year, as Slurm's backfill takes work without a time limit."""

Order = Callable[[Problem], Sequence[Demand]]


class Easy:
    """Aggressive backfill: one reservation, that of the first who has to wait."""

    def __init__(self, name: str = "easy", order: Order = lambda problem: by_priority(problem.pending)) -> None:
        self.name, self.order = name, order

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)
        queue = list(self.order(problem))
        for at, head in enumerate(queue):
            if not turn.start(head) and not turn.never(head):
                self._backfill(turn, head, queue[at + 1 :])
                break
        return turn.plan(self.name)

    def _backfill(self, turn: Turn, head: Demand, rest: Sequence[Demand]) -> None:
        """Start who ends before the head can, or who uses only what the head will leave."""
        shadow_s, later = shadow(turn, head)
        if later is None:
            return
        failed: set[tuple[object, ...]] = set()
        for demand in rest:
            if turn.problem.now_s + remaining_s(demand, 0.0, YEAR_S) <= shadow_s:
                turn.start(demand)
                continue
            shape = (demand.bundles, demand.min_bundles, demand.topologies)
            if shape in failed:
                continue
            if turn.start(demand, turn.now.both(later)):
                for taken in turn.started[demand.id]:
                    later.take(taken)
            else:
                failed.add(shape)


def shadow(turn: Turn, head: Demand) -> tuple[float, Floor | None]:
    """Return when the head can start by the estimates, and what will be free then beside it; None: never."""
    now_s, later = turn.problem.now_s, turn.now.copy()
    ends = [
        (now_s + remaining_s(r.demand, now_s - r.started_s, YEAR_S), turn.held[r.demand.id]) for r in turn.running()
    ]
    demands = {d.id: d for d in turn.problem.pending}
    ends += [(now_s + remaining_s(demands[name], 0.0, YEAR_S), held) for name, held in turn.started.items()]
    ends.sort(key=lambda end: end[0])
    for i, (end_s, held) in enumerate(ends):
        for taken in held:
            later.take(taken, -1)
        if i + 1 < len(ends) and ends[i + 1][0] == end_s:
            continue
        if biggest(later, head) is not None:
            return end_s, later
    return float("inf"), None
