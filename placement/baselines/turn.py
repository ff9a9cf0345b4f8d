"""One decision of a baseline: the floor, what it has started and stopped, and the plan that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from placement.model import (
    Bundle,
    Cause,
    Demand,
    DemandId,
    Grant,
    Plan,
    Preemption,
    Problem,
    Reason,
    Running,
    SolveStats,
    Topology,
    Waiting,
)
from placement.planners.arrays.choosing import Chooser, place
from placement.planners.arrays.layout import Floor, Layout, Taken, ids, opening

Shape = tuple[tuple[Bundle, ...], int, tuple[Topology, ...]]


class Turn:
    """What one call of a baseline knows and has decided so far.

    Elastic work starts with all its bundles where they fit, or else with as many as do; it is not resized later.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.now, self.held = opening(problem)
        self.layout: Layout = self.now.layout
        self.started: dict[DemandId, tuple[Taken, ...]] = {}
        self.stopped: dict[DemandId, Preemption] = {}
        self.notes: object = None
        """What a baseline wants to keep until the end of the turn."""
        self._failed: set[Shape] = set()
        self._empty: Floor | None = None

    def running(self) -> Iterable[Running]:
        """Yield what runs and has not been stopped."""
        return (r for r in self.problem.running if r.demand.id not in self.stopped)

    def start(self, demand: Demand, floor: Floor | None = None, chooser: Chooser | None = None) -> bool:
        """Start a demand on what is free now, or on a stricter ``floor``; False where it does not fit."""
        shape = (demand.bundles, demand.min_bundles, demand.topologies)
        if floor is None and shape in self._failed:
            return False
        placed = biggest(self.now if floor is None else floor, demand, chooser)
        if placed is None:
            if floor is None:
                self._failed.add(shape)
            return False
        if floor is not None:
            for taken in placed:
                self.now.take(taken)
        self.started[demand.id] = placed
        return True

    def stop(self, victim: Running, cause: Cause, beneficiary: Demand) -> None:
        """Stop running work; its room is free from here on."""
        self.stopped[victim.demand.id] = Preemption(victim.demand.id, cause, (beneficiary.id,))
        for taken in self.held[victim.demand.id]:
            self.now.take(taken, -1)
        self._failed.clear()

    def never(self, demand: Demand) -> bool:
        """Return whether the demand would not fit even if nothing else ran."""
        if self._empty is None:
            self._empty = Floor(self.layout, self.layout.capacity.copy(), self.layout.devices.copy())
        return place(self._empty.copy(), demand, demand.min_bundles) is None

    def plan(self, name: str) -> Plan:
        """Return the plan: what has started, what has stopped, and that all else waits."""
        grants = [
            Grant(demand.id, ids(self.layout, self.started[demand.id]))
            for demand in self.problem.pending
            if demand.id in self.started
        ]
        waits = Waiting(Reason.CAPACITY, f"the policy {name} did not choose it")
        return Plan(
            grants=tuple(grants),
            preemptions=tuple(self.stopped.values()),
            waiting={d.id: waits for d in self.problem.pending if d.id not in self.started},
            stats=SolveStats(planner=name, status="feasible"),
        )


def biggest(floor: Floor, demand: Demand, chooser: Chooser | None = None) -> tuple[Taken, ...] | None:
    """Take room for all bundles, or else for the most between the minimum and all that fit; None: not even that."""
    most, least = len(demand.bundles), demand.min_bundles
    placed = place(floor, demand, most, chooser)
    if placed is not None or least == most:
        return placed
    low, best = least, place(floor, demand, least, chooser)
    if best is None:
        return None
    high = most - 1
    while low < high:
        for taken in best:
            floor.take(taken, -1)
        middle = (low + high + 1) // 2
        more = place(floor, demand, middle, chooser)
        if more is None:
            high, more = middle - 1, place(floor, demand, low, chooser)
        else:
            low = middle
        assert more is not None, "what fitted before fits again"
        best = more
    return best


def by_arrival(pending: Sequence[Demand]) -> list[Demand]:
    """Return demands as they came."""
    return sorted(pending, key=lambda d: d.submitted_s)


def by_priority(pending: Sequence[Demand]) -> list[Demand]:
    """Return demands by priority, equals as they came."""
    return sorted(pending, key=lambda d: (-d.priority, d.submitted_s))


def remaining_s(demand: Demand, elapsed_s: float, unknown: float) -> float:
    """Return how much longer work will run by its estimate; ``unknown`` where it has none."""
    return unknown if demand.runtime_s is None else max(0.0, demand.runtime_s - elapsed_s)
