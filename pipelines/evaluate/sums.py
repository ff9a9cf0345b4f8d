"""Sums over rows from which every metric and its confidence interval follow; sums of two parts of the rows add up.

Theory of operation: each row is a sparse vector of statistics (a count in its cell of a table, an error, its square).
A metric is a function of the sum of these vectors, so parts of the rows are summed wherever they are and added. For the
bootstrap the same vectors are summed again with random weights, Poisson(1) for each row and replicate: that is drawing
with replacement without knowing how many rows there are. Weights follow from the seed and the row's position alone: two
models that predict the same rows get the same weights, so differences between them are paired.

References
----------
Efron, Tibshirani: An Introduction to the Bootstrap (1993), chapter 13 (percentile intervals).
Chamandy et al.: Estimating Uncertainty for Massive Data Streams, Google (2012): the Poisson bootstrap.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, factorial
from typing import Any, Protocol

import numpy as np
import torch
from scipy import sparse

Array = np.ndarray[Any, Any]
BLOCK = 4096
"""Rows that are predicted and weighted together; parts of the rows begin at multiples of it."""


class Measure(Protocol):
    """The statistics of one task: which sums there are, and the metrics that follow from them."""

    task: str

    @property
    def shape(self) -> tuple[int, int]:
        """How many sums are kept once, and how many for each replicate."""

    def rows(self, expected: Array, predicted: Array) -> Any:
        """Return (sparse (n, once), sparse (n, each)) of rows that are expected and predicted."""

    def point(self, sums: Sums) -> dict[str, float]:
        """Return each metric of the rows as they are, through torchmetrics; NaN where it says nothing."""

    def replicates(self, each: Array) -> dict[str, Array]:
        """Return the metrics of sums (r, each): (r,) by name."""


@dataclass(slots=True)
class Sums:
    """Sums of some rows: ``once`` (m,) as they are, ``each`` (1 + r, d) as they are and for r replicates."""

    once: Array
    each: Array
    n: int = 0

    @classmethod
    def empty(cls, measure: Measure, n_replicates: int) -> Sums:
        once, each = measure.shape
        return cls(np.zeros(once), np.zeros((1 + n_replicates, each)))

    def add(self, once: Any, each: Any, weights: Array) -> None:
        """Add rows: their statistics (n, m) and (n, d), and weights (1 + r, n)."""
        self.once += np.asarray(once.sum(axis=0)).ravel()
        self.each += (each.T @ weights.T).T
        self.n += each.shape[0]

    def merge(self, other: Sums) -> None:
        self.once += other.once
        self.each += other.each
        self.n += other.n


Key = tuple[str, str]
"""Which model (``model`` or ``baseline``) and which slice (empty: all rows)."""


def packed(found: Mapping[Key, Sums]) -> bytes:
    """Return sums by model and slice as bytes; plain arrays, nothing that could run."""
    arrays: dict[str, Array] = {}
    for i, ((model, slice_), sums) in enumerate(found.items()):
        arrays[f"{i}.key"] = np.array([model, slice_])
        arrays[f"{i}.once"], arrays[f"{i}.each"] = sums.once, sums.each
        arrays[f"{i}.n"] = np.array(sums.n)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # its stubs take the names for options
    return out.getvalue()


def unpacked(content: bytes) -> dict[Key, Sums]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        n = sum(name.endswith(".key") for name in arrays.files)
        return {
            (str(arrays[f"{i}.key"][0]), str(arrays[f"{i}.key"][1])): Sums(
                arrays[f"{i}.once"], arrays[f"{i}.each"], int(arrays[f"{i}.n"])
            )
            for i in range(n)
        }


def weights(seed: int, block: int, n_rows: int, n_replicates: int) -> Array:
    """Return the weights (1 + r, n) of one block of rows: ones, then Poisson(1) by seed and block alone."""
    out = np.ones((1 + n_replicates, n_rows))
    if n_replicates:
        random = np.random.Generator(np.random.Philox(key=[seed, block]))
        out[1:] = _POISSON[random.integers(0, 1 << 16, (n_rows, n_replicates), dtype=np.uint16)].T
    return out


def _quantiles_of_poisson() -> Array:
    steps = np.cumsum([exp(-1) / factorial(count) for count in range(12)])
    return np.searchsorted(steps, (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float64)


_POISSON = _quantiles_of_poisson()
"""Poisson(1) by 16 random bits, to which its probabilities are rounded."""


def marks(n: int, columns: Array, n_columns: int, values: Array | None = None) -> Any:
    """Return the sparse matrix (n, n_columns) with one entry in each row; column -1 stands for none."""
    kept = columns >= 0
    given = np.ones(n) if values is None else values
    at = np.flatnonzero(kept)
    return sparse.csr_array((given[kept], (at, columns[kept])), shape=(n, n_columns))


def state_of(metric: Any, **state: Any) -> float:
    """Return what a torchmetrics metric computes from sums."""
    return float(_computed(metric, state))


def by_class_of(metric: Any, **state: Any) -> Array:
    """Return what a torchmetrics metric computes from sums for each class (c,)."""
    return np.asarray(_computed(metric, state).numpy(), dtype=np.float64)


def _computed(metric: Any, state: Mapping[str, Any]) -> torch.Tensor:
    metric.set_dtype(torch.float64)
    own = metric.metric_state
    sums = {name: torch.as_tensor(np.asarray(value)).to(own[name].dtype) for name, value in state.items()}
    metric.update_called or setattr(metric, "_update_count", 1)
    metric.merge_state({name: value.reshape(own[name].shape) for name, value in sums.items()})
    found: torch.Tensor = metric.compute()
    return found
