"""The measure of regression: errors and squares summed, and the metrics from their sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from torchmetrics.regression import (
    ExplainedVariance,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    R2Score,
    SymmetricMeanAbsolutePercentageError,
)

from pipelines.evaluate.sums import Array, Sums, marks, state_of

CELLS = 40
"""Cells on each side of the table of expected and predicted."""
LEAST = 1.17e-06
"""Below it a value does not divide an error, as in torchmetrics."""
N, ABS, SQUARE, TARGET, TARGET2, PERCENT, SYMMETRIC, ERROR = range(8)


@dataclass(frozen=True)
class Quantities:
    """Statistics of a quantity.

    Attributes
    ----------
    shift : float
        About the mean of what is expected: it is taken off before squares are summed, so that digits are kept.
    low, high : float
        The range of the table of expected and predicted; what is outside falls into its outer cells.
    """

    shift: float = 0.0
    low: float = 0.0
    high: float = 1.0
    task: str = "regression"

    @property
    def shape(self) -> tuple[int, int]:
        return CELLS * CELLS, 8

    def rows(self, expected: Array, predicted: Array) -> tuple[Any, Any]:
        """Return the statistics of rows: expected (n,) and predicted (n,)."""
        error, target = expected - predicted, expected - self.shift
        each = np.column_stack([
            np.ones(len(expected)), np.abs(error), error**2, target, target**2,
            np.abs(error) / np.maximum(np.abs(expected), LEAST),
            2 * np.abs(error) / np.maximum(np.abs(expected) + np.abs(predicted), LEAST), error,
        ])  # fmt: skip
        cell = self._cell(expected) * CELLS + self._cell(predicted)
        return marks(len(expected), cell, CELLS * CELLS), sparse.csr_array(each)

    def _cell(self, values: Array) -> Array:
        share = (values - self.low) / max(self.high - self.low, 1e-300)
        return np.clip(np.nan_to_num(share) * CELLS, 0, CELLS - 1).astype(np.int64)

    def table(self, sums: Sums) -> Array:
        """Return rows by expected and predicted (cells, cells)."""
        return sums.once.reshape(CELLS, CELLS)

    def point(self, sums: Sums) -> dict[str, float]:
        """Return all metrics of the rows as they are."""
        n, absolute, square, target, target2, percent, symmetric, error = sums.each[0]
        spread = {"sum_error": target, "sum_squared_error": target2, "residual": square, "total": n}
        variance = {
            "sum_error": error, "sum_squared_error": square, "sum_target": target, "sum_squared_target": target2,
            "num_obs": n,
        }  # fmt: skip
        return {
            "mae": state_of(MeanAbsoluteError(), sum_abs_error=absolute, total=n),
            "mse": state_of(MeanSquaredError(), sum_squared_error=square, total=n),
            "rmse": state_of(MeanSquaredError(squared=False), sum_squared_error=square, total=n),
            "r2": state_of(R2Score(), **spread) if n > 1 else float("nan"),
            "explained_variance": state_of(ExplainedVariance(), **variance) if n > 1 else float("nan"),
            "mape": state_of(MeanAbsolutePercentageError(), sum_abs_per_error=percent, total=n),
            "smape": state_of(SymmetricMeanAbsolutePercentageError(), sum_abs_per_error=symmetric, total=n),
        }

    def replicates(self, each: Array) -> dict[str, Array]:
        """Return all metrics of sums (r, 8)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = each / each[:, :1]
            mse = mean[:, SQUARE]
            variance = mean[:, TARGET2] - mean[:, TARGET] ** 2
            return {
                "mae": mean[:, ABS],
                "mse": mse,
                "rmse": np.sqrt(mse),
                "r2": 1 - mse / variance,
                "explained_variance": 1 - (mse - mean[:, ERROR] ** 2) / variance,
                "mape": mean[:, PERCENT],
                "smape": mean[:, SYMMETRIC],
            }
