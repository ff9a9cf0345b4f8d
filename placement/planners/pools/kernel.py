"""The whole-number programme over the columns that the relaxation leaves in doubt, by CP-SAT."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from ortools.sat.python import cp_model

from placement.planners.base import Budget
from placement.planners.pools.lp import Relaxed
from placement.planners.pools.sheet import INFINITY, Sheet
from placement.planners.pools.view import Floats, Ints

FINE = 1000
"""Rows with fractions are counted in thousandths, and so is the worth."""
MOST = 10**9
WORTH_SCALE = 2.0**40
LEAST_S = 0.012
MOST_S = 0.3
PER_COLUMN_S = 8e-6
"""Deterministic seconds, at least, in all and for each column of the sheet, after which what is found is the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whole numbers for all columns, and the solver's word: optimal, feasible or why there is nothing."""

    x: Ints | None
    status: str
    deterministic_s: float


def in_doubt(relaxed: Relaxed, choices: Ints, likeness: Ints, most: int, open_: float) -> Ints:
    """Return the columns that are the most in doubt: fractional ones, then by turns from each group of like columns.

    Of columns that take the same rows the best are chosen first, in the relaxation as in whole numbers, so that only
    those near the edge, where the reduced worth is about 0, are in doubt.

    Parameters
    ----------
    likeness : array of int, shape (choices,)
        The same number for columns that take the same places.
    open_ : float
        The bound less what is found already: columns of larger reduced worth keep their value in whatever is better.
    """
    x, reduced = relaxed.x[choices], relaxed.reduced[choices]
    fractional = np.abs(x - np.rint(x)) > 1e-6
    able = fractional | (np.abs(reduced) <= open_)
    choices, reduced, fractional, likeness = choices[able], reduced[able], fractional[able], likeness[able]
    side = likeness * 2 + (reduced > 0)
    order = np.lexsort((choices, np.abs(reduced), side))
    starts = np.flatnonzero(np.diff(side[order], prepend=-1))
    turn = np.empty(len(choices), np.int64)
    turn[order] = np.arange(len(choices)) - np.repeat(starts, np.diff(np.append(starts, len(choices))))
    ranked = np.lexsort((choices, np.abs(reduced), turn, ~fractional))
    return choices[ranked[: max(most, int(fractional.sum()))]]


def solve(sheet: Sheet, relaxed: Relaxed, free: Ints, budget: Budget, gap: float) -> Answer:
    """Solve with the columns ``free`` open and every other one at its rounded value.

    Parameters
    ----------
    gap : float
        Absolute difference in worth at which the answer is good enough.
    """
    rows, columns, entries = sheet.triplets()
    fixed = np.rint(relaxed.x)
    is_free = np.zeros(sheet.n_columns, bool)
    is_free[free] = True
    fixed[is_free] = 0
    used = np.bincount(rows, entries * fixed[columns], minlength=sheet.n_rows).astype(float)
    model, solver = cp_model.CpModel(), cp_model.CpSolver()
    scale = min(float(FINE), WORTH_SCALE / max(1.0, float(np.abs(np.array(sheet.worth)[free]).sum() or 1.0)))
    variables = {}
    for c in free.tolist():
        high = min(sheet.high[c], MOST)
        variables[c] = model.new_int_var(0, int(high), "")
    mine = is_free[columns]
    _rows(model, variables, sheet, rows[mine], columns[mine], entries[mine], used)
    worth = np.rint(np.array(sheet.worth)[free] * scale).astype(np.int64).tolist()
    model.maximize(cp_model.LinearExpr.weighted_sum(list(variables.values()), worth))
    p = solver.parameters
    p.num_workers, p.random_seed = budget.workers, budget.seed
    p.linearization_level, p.cp_model_presolve, p.symmetry_level = 2, False, 0
    p.max_deterministic_time = max(
        1e-3, min(MOST_S, max(LEAST_S, PER_COLUMN_S * sheet.n_columns), budget.deterministic_s)
    )
    p.max_time_in_seconds = max(1e-2, budget.wall_s)
    p.absolute_gap_limit = max(1.0, gap * scale)
    status = solver.solve(model)
    spent = solver.response_proto.deterministic_time
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(None, solver.status_name(status).lower(), spent)
    x = fixed.astype(np.int64)
    x[free] = [solver.value(variables[c]) for c in free.tolist()]
    return Answer(x, solver.status_name(status).lower(), spent)


def _rows(
    model: cp_model.CpModel,
    variables: dict[int, cp_model.IntVar],
    sheet: Sheet,
    rows: Ints,
    columns: Ints,
    entries: Floats,
    used: npt.NDArray[np.float64],
) -> None:
    order = np.argsort(rows, kind="stable")
    rows, columns, entries = rows[order], columns[order], entries[order]
    bounds = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
    for begin, end in pairwise(bounds):
        row = int(rows[begin])
        coefficients = entries[begin:end]
        low, high = sheet.row_low[row] - used[row], sheet.row_high[row] - used[row]
        whole = bool(np.all(coefficients == np.rint(coefficients)))
        factor = 1 if whole else FINE
        terms = [variables[c] for c in columns[begin:end].tolist()]
        ones = (
            whole and bool(np.all(coefficients == 1)) and all(sheet.high[c] == 1 for c in columns[begin:end].tolist())
        )
        if ones and high == 1 and low == -INFINITY:
            if len(terms) > 1:
                model.add_at_most_one(terms)
            continue
        numbers = np.ceil(coefficients * factor - 1e-6).astype(np.int64).tolist()
        expression = cp_model.LinearExpr.weighted_sum(terms, numbers)
        most = int(np.floor(high * factor + 1e-6)) if high != INFINITY else cp_model.INT32_MAX * FINE
        if low == -INFINITY:
            model.add(expression <= most)
        else:
            model.add_linear_constraint(expression, int(np.ceil(low * factor - 1e-6)), most)
