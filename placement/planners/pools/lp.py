"""The linear programme by GLOP's dual simplex: values, prices of rows, and the bound that they prove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ortools.linear_solver.python import model_builder_helper as helper
from scipy.sparse import csr_matrix

from placement.planners.pools.sheet import Sheet
from placement.planners.pools.view import Floats

LEAST_S = 0.05
"""The solver gets at least so many seconds, however little is left."""


class NoAnswer(RuntimeError):
    """The solver gave nothing to go on with."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """An optimum of the relaxation: worth, each column's value, each row's price, each column's reduced worth."""

    worth: float
    x: Floats
    price: Floats
    reduced: Floats


def relax(sheet: Sheet, wall_s: float) -> Relaxed:
    """Solve the relaxation; raises NoAnswer where the solver says anything but optimal."""
    rows, columns, entries = sheet.triplets()
    shape = (sheet.n_rows, sheet.n_columns)
    matrix = csr_matrix((entries, (rows, columns)), shape=shape)
    worth = np.array(sheet.worth)
    model: Any = helper.ModelBuilderHelper()  # its stubs misname the types of arrays
    low, high = np.array(sheet.low), np.array(sheet.high)
    model.fill_model_from_sparse_data(low, high, worth, np.array(sheet.row_low), np.array(sheet.row_high), matrix)
    model.set_maximize(True)
    # Rarely one form of the simplex method gives up where the other does not.
    for form in ("true", "false"):
        solver = helper.ModelSolverHelper("glop")
        solver.set_solver_specific_parameters(f"use_dual_simplex:{form}")
        solver.set_time_limit_in_seconds(max(LEAST_S, wall_s))
        solver.solve(model)
        if solver.status() == helper.SolveStatus.OPTIMAL:
            break
    else:
        raise NoAnswer(f"the linear programme of {shape[0]} rows and {shape[1]} columns is {solver.status()}")
    price = np.array(solver.dual_values())
    reduced = worth - matrix.T @ price
    return Relaxed(float(solver.objective_value()), np.array(solver.variable_values()), price, reduced)


def extended(sheet: Sheet, relaxed: Relaxed) -> Relaxed:
    """Return the optimum with columns and rows that were added since: at 0, at no price."""
    rows, columns, entries = sheet.triplets()
    x, price = np.zeros(sheet.n_columns), np.zeros(sheet.n_rows)
    x[: len(relaxed.x)], price[: len(relaxed.price)] = relaxed.x, relaxed.price
    paid = np.bincount(columns, entries * price[rows], minlength=sheet.n_columns)
    return Relaxed(relaxed.worth, x, price, np.array(sheet.worth) - paid)
