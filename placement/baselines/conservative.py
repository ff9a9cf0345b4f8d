"""Conservative backfill: everyone who waits has a reservation, and nobody may delay anybody ahead.

References
----------
Mu'alem and Feitelson, IEEE TPDS 12(6), 2001, section 2; Slurm, Scheduling Configuration Guide, sched/backfill, with
its bf_max_job_test (here 100 that wait) and bf_resolution (here 60 s).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from placement.baselines.easy import YEAR_S, Order
from placement.baselines.turn import Turn, biggest, by_priority, remaining_s
from placement.model import Demand, Plan, Problem
from placement.planners.arrays.layout import Floats, Floor, Taken
from placement.planners.base import Budget

MOST_RESERVED = 100
RESOLUTION_S = 60.0


class Conservative:
    """Reservations in the order of priority, each at the earliest time that the ones before leave."""

    def __init__(
        self,
        name: str = "conservative",
        order: Order = lambda problem: by_priority(problem.pending),
        most_reserved: int = MOST_RESERVED,
    ) -> None:
        self.name, self.order, self.most_reserved = name, order, most_reserved

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)
        profile: Profile | None = None
        n_reserved = 0
        queue = list(self.order(problem))
        last = _last_that_fits(turn.now, queue)
        for demand in queue[: last + 1]:
            if profile is None:
                if turn.start(demand) or turn.never(demand):
                    continue
                profile = Profile(turn)
            if n_reserved >= self.most_reserved:
                break
            at, placed = profile.reserve(demand)
            if at == 0 and placed:
                turn.started[demand.id] = placed
            elif placed:
                n_reserved += 1
        return turn.plan(self.name)


def _last_that_fits(now: Floor, queue: Sequence[Demand]) -> int:
    """Return the last of the queue that would fit now by itself: nothing behind it can start in this turn."""
    known: dict[tuple[object, ...], bool] = {}
    for at in range(len(queue) - 1, -1, -1):
        demand = queue[at]
        shape = (demand.bundles, demand.min_bundles, demand.topologies)
        if shape not in known:
            known[shape] = biggest(now.copy(), demand) is not None
        if known[shape]:
            return at
    return -1


class Profile:
    """What will be free at each time at which something is known to end; floor i holds from time i to the next."""

    def __init__(self, turn: Turn) -> None:
        now_s = turn.problem.now_s
        demands = {d.id: d for d in turn.problem.pending}
        ends: dict[float, list[Taken]] = {}
        for r in turn.running():
            end = max(1.0, remaining_s(r.demand, now_s - r.started_s, YEAR_S))
            ends.setdefault(_coarse(end), []).extend(turn.held[r.demand.id])
        for name, held in turn.started.items():
            ends.setdefault(_coarse(max(1.0, remaining_s(demands[name], 0.0, YEAR_S))), []).extend(held)
        self.times, self.floors = [0.0], [turn.now]
        for end in sorted(ends):
            floor = self.floors[-1].copy()
            _give_back(floor, ends[end])
            self.times.append(end)
            self.floors.append(floor)
        self.totals = [_total(floor) for floor in self.floors]
        self._earliest: dict[tuple[object, ...], int] = {}

    def reserve(self, demand: Demand) -> tuple[int, tuple[Taken, ...]]:
        """Take the earliest window in which the demand fits; returns its first step and the room, () for none."""
        length = max(RESOLUTION_S, _coarse(remaining_s(demand, 0.0, YEAR_S)))
        shape = (demand.bundles, demand.min_bundles, demand.topologies, length)
        asked = _asked(self.floors[0], demand)
        able = np.array([bool((total >= asked).all()) for total in self.totals], np.bool_)
        for first in range(self._earliest.get(shape, 0), len(self.times)):
            until = self.times[first] + length
            last = bisect_left(self.times, until, first + 1)
            if not able[first:last].all():
                continue
            placed = biggest(in_all(self.floors[first:last]), demand)
            if placed is not None:
                self._take(placed, first, last, until)
                self._earliest[shape] = first
                return first, placed
        self._earliest[shape] = len(self.times)
        return len(self.times), ()

    def _take(self, placed: Sequence[Taken], first: int, last: int, until: float) -> None:
        if last == len(self.times) or self.times[last] > until:
            self.times.insert(last, until)
            self.floors.insert(last, self.floors[last - 1].copy())
            self.totals.insert(last, self.totals[last - 1])
            self._earliest = {shape: min(at, last) for shape, at in self._earliest.items()}
        for step in range(first, last):
            for taken in placed:
                self.floors[step].take(taken)
            self.totals[step] = _total(self.floors[step])


def in_all(floors: Sequence[Floor]) -> Floor:
    """Return what is free on each of these floors."""
    free = np.minimum.reduce([floor.free for floor in floors])
    return Floor(floors[0].layout, free, np.minimum.reduce([floor.devices for floor in floors]))


def _total(floor: Floor) -> Floats:
    total: Floats = floor.free.clip(0).sum(axis=0, dtype=np.float64)
    return total


def _asked(floor: Floor, demand: Demand) -> Floats:
    """Return the least that the demand needs of each resource; infinite where no node could hold a part of it."""
    groups = floor.layout.groups(demand, 0, demand.min_bundles)
    if groups is None:
        return np.full(len(floor.layout.names), np.inf)
    asked = np.zeros(len(floor.layout.names))
    for ask, ranks in groups:
        asked += ask.amounts * float(len(ranks))
    return asked


def _give_back(floor: Floor, held: Iterable[Taken]) -> None:
    for taken in held:
        floor.take(taken, -1)


def _coarse(seconds: float) -> float:
    return -(-seconds // RESOLUTION_S) * RESOLUTION_S
