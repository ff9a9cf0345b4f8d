"""Time fractions x[job, type] that hold until something changes, as others' policies choose them (linear programmes).

References
----------
Narayanan et al., Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads, OSDI 2020, sections 3, 4.
Mahajan et al., Themis: Fair and Efficient GPU Cluster Scheduling, NSDI 2020 (finish-time fairness).
"""

from __future__ import annotations

from collections.abc import Sequence

from ortools.linear_solver import pywraplp

Table = Sequence[Sequence[float]]

NEAR = 1e-3
"""Relative accuracy of the search for the smallest finish-time ratio."""


def largest_least(
    rates: Table, sizes: Sequence[float], capacity: Sequence[float], scale: Sequence[float]
) -> list[list[float]]:
    """Return x that makes the least of ``scale_j * sum_t rates_jt x_jt`` the largest."""
    model = _Fractions(rates, sizes, capacity)
    least = model.solver.NumVar(0, model.solver.infinity(), "least")
    model.solver.Maximize(least)
    for j, row in enumerate(model.x):
        reach = model.solver.Constraint(0, model.solver.infinity())
        reach.SetCoefficient(least, -1.0)
        for t, variable in enumerate(row):
            reach.SetCoefficient(variable, scale[j] * rates[j][t])
    return model.solved() or [[0.0] * len(capacity) for _ in rates]


def equal_finish(
    rates: Table,
    sizes: Sequence[float],
    capacity: Sequence[float],
    ages_s: Sequence[float],
    lefts: Sequence[float],
    alone_s: Sequence[float],
) -> list[list[float]]:
    """Return x by which the worst ``(age + left / rate) / alone`` is the smallest, by bisection on that ratio."""
    low = max(age / alone for age, alone in zip(ages_s, alone_s, strict=True))
    high, best = max(1.0, 2 * low), None
    while best is None and high < 1e9:
        best = _in_time(rates, sizes, capacity, ages_s, lefts, alone_s, high)
        high *= 1 if best is not None else 2
    while best is not None and high - low > NEAR * high:
        middle = (low + high) / 2
        found = _in_time(rates, sizes, capacity, ages_s, lefts, alone_s, middle)
        low, high, best = (low, middle, found) if found is not None else (middle, high, best)
    return best if best is not None else [[0.0] * len(capacity) for _ in rates]


def _in_time(
    rates: Table,
    sizes: Sequence[float],
    capacity: Sequence[float],
    ages_s: Sequence[float],
    lefts: Sequence[float],
    alone_s: Sequence[float],
    ratio: float,
) -> list[list[float]] | None:
    """Return x by which everyone ends within ``ratio`` times its time alone, or None."""
    times = [ratio * alone - age for age, alone in zip(ages_s, alone_s, strict=True)]
    if min(times) <= 0:
        return None
    model = _Fractions(rates, sizes, capacity)
    for j, row in enumerate(model.x):
        reach = model.solver.Constraint(1.0, model.solver.infinity())
        for t, variable in enumerate(row):
            reach.SetCoefficient(variable, rates[j][t] * times[j] / lefts[j])
    return model.solved()


class _Fractions:
    """x with its base constraints: a job is in one place at a time, and types give no more than they have."""

    def __init__(self, rates: Table, sizes: Sequence[float], capacity: Sequence[float]) -> None:
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        infinity = self.solver.infinity()
        self.x = [[self.solver.NumVar(0, 1 if rate > 0 else 0, "") for rate in row] for row in rates]
        for row in self.x:
            once = self.solver.Constraint(-infinity, 1.0)
            for variable in row:
                once.SetCoefficient(variable, 1.0)
        for t, amount in enumerate(capacity):
            room = self.solver.Constraint(-infinity, float(amount))
            for j, row in enumerate(self.x):
                room.SetCoefficient(row[t], float(sizes[j]))

    def solved(self) -> list[list[float]] | None:
        if self.solver.Solve() != pywraplp.Solver.OPTIMAL:
            return None
        return [[float(variable.solution_value()) for variable in row] for row in self.x]
