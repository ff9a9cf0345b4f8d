"""The whole-number programme over the columns that the relaxation leaves in doubt, by CP-SAT."""

from __future__ import annotations

from dataclasses import dataclass

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
LOWEST, LARGEST = -(2**63), 2**63 - 1
"""What the solver takes for no bound."""
WORTH_SCALE = 2.0**40
LEAST_S = 0.02
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
    position = np.full(sheet.n_columns, -1, np.int64)
    position[free] = np.arange(len(free))
    fixed[free] = 0
    used = np.bincount(rows, entries * fixed[columns], minlength=sheet.n_rows).astype(float)
    high = np.minimum(np.array(sheet.high)[free], MOST).astype(np.int64)
    worth = np.array(sheet.worth)[free]
    scale = min(float(FINE), WORTH_SCALE / max(1.0, float(np.abs(worth).sum() or 1.0)))
    mine = position[columns] >= 0
    text = [f"variables{{domain:[0,{most}]}}" for most in high.tolist()]
    text += _rows(sheet, high, rows[mine], position[columns[mine]], entries[mine], used)
    gains = np.rint(worth * scale).astype(np.int64)
    paid = np.flatnonzero(gains)
    text.append(f"objective{{vars:{paid.tolist()} coeffs:{(-gains[paid]).tolist()} scaling_factor:-1}}")
    model, solver = cp_model.CpModel(), cp_model.CpSolver()
    if not model.proto.parse_text_format("".join(text)):
        return Answer(None, "not a model", 0.0)
    p = solver.parameters
    p.num_workers, p.random_seed = budget.workers, budget.seed
    p.linearization_level, p.cp_model_presolve, p.symmetry_level, p.cp_model_probing_level = 2, False, 0, 0
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
    x[free] = list(solver.response_proto.solution)
    return Answer(x, solver.status_name(status).lower(), spent)


def _rows(
    sheet: Sheet, most: Ints, rows: Ints, variables: Ints, entries: Floats, used: npt.NDArray[np.float64]
) -> list[str]:
    """Return each row over the open columns as a constraint of the solver's text format.

    The model is written as text, which takes a third of the time of adding its constraints one by one.
    """
    order = np.argsort(rows, kind="stable")
    rows, variables, entries = rows[order], variables[order], entries[order]
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    ends = np.append(starts[1:], len(rows))
    if not len(starts):
        return []
    at = rows[starts]
    whole = np.logical_and.reduceat(entries == np.rint(entries), starts)
    ones = np.logical_and.reduceat((entries == 1) & (most[variables] == 1), starts)
    factors = np.where(whole, 1, FINE)
    numbers = np.ceil(entries * np.repeat(factors, ends - starts) - 1e-6).astype(np.int64)
    low, high = np.array(sheet.row_low)[at] - used[at], np.array(sheet.row_high)[at] - used[at]
    low, high = np.ceil(low * factors - 1e-6), np.floor(high * factors + 1e-6)
    limits = [
        (LOWEST if a == -INFINITY else int(a), LARGEST if b == INFINITY else int(b))
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]
    out = []
    for begin, end, one, (least, largest) in zip(starts.tolist(), ends.tolist(), ones.tolist(), limits, strict=True):
        terms = variables[begin:end].tolist()
        if not one or largest != 1 or least != LOWEST:
            numbers_here = numbers[begin:end].tolist()
            out.append(f"constraints{{linear{{vars:{terms} coeffs:{numbers_here} domain:[{least},{largest}]}}}}")
        elif len(terms) > 1:
            out.append(f"constraints{{at_most_one{{literals:{terms}}}}}")
    return out
