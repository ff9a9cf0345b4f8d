"""Slices of the rows: which ones there are, from a bounded sample, and which rows are in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aios.engines import WorkloadFailed
from pipelines.evaluate.spec import SliceSpec
from pipelines.evaluate.sums import Array
from pipelines.models.signature import is_number

SAMPLE = 20_000
"""Rows at equal distances from which values and ranges are taken: all of them where there are no more."""
MISSING, OTHER = "(missing)", "(other)"


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows with a value in a column, with a number in ``[low, high)``, with none, or with none of the others'."""

    column: str
    label: str
    value: Any = None
    low: float | None = None
    high: float | None = None
    others: tuple[Any, ...] = ()

    def mask(self, rows: pa.Table) -> Array:
        """Return which rows are in it (n,)."""
        column = rows[self.column].combine_chunks()
        if self.label == f"{self.column}={MISSING}":
            found = pc.is_null(column, nan_is_null=True)
        elif self.low is not None or self.high is not None:
            number = pc.cast(column, pa.float64())
            above = pc.greater_equal(number, -np.inf if self.low is None else self.low)
            found = pc.and_(above, pc.less(number, np.inf) if self.high is None else pc.less(number, self.high))
        elif self.label == f"{self.column}={OTHER}":
            known = pc.is_in(column, value_set=pa.array(self.others, column.type))
            found = pc.and_(pc.invert(known), pc.is_valid(column))
        else:
            found = pc.equal(column, pa.scalar(self.value, column.type))
        return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), dtype=bool)


def planned(specs: Sequence[SliceSpec], sample: pa.Table, whole: bool, reference: str) -> tuple[Slice, ...]:
    """Return the slices of all columns; ``whole`` says that the sample is all rows.

    Raises WorkloadFailed where ranges are asked for of what is no number.
    """
    return tuple(one for spec in specs for one in _of_column(spec, sample[spec.column], whole, reference))


def _of_column(spec: SliceSpec, values: pa.ChunkedArray, whole: bool, reference: str) -> list[Slice]:
    name = spec.column
    if spec.bins is not None:
        if not is_number(str(values.type)) or pa.types.is_boolean(values.type):
            raise WorkloadFailed(
                f"slices.{name}: bins are for numbers, but {reference} has {values.type}: leave them out"
            )
        found = _ranges(name, _edges(spec, values))
    else:
        counts = sorted(((one["counts"], one["values"]) for one in pc.value_counts(values).to_pylist()
                         if not _is_missing(one["values"])), key=lambda one: (-one[0], str(one[1])))  # fmt: skip
        kept = [value for _, value in counts[: spec.top]]
        found = [Slice(name, f"{name}={_text(value)}", value) for value in sorted(kept, key=_order)]
        if len(counts) > spec.top or not whole:
            found.append(Slice(name, f"{name}={OTHER}", others=tuple(kept)))
    if not whole or pc.any(pc.is_null(values, nan_is_null=True)).as_py():
        found.append(Slice(name, f"{name}={MISSING}"))
    return found


def _edges(spec: SliceSpec, values: pa.ChunkedArray) -> list[float]:
    if isinstance(spec.bins, tuple):
        return list(spec.bins)
    assert spec.bins is not None
    numbers = np.asarray(pc.cast(values, pa.float64()).to_numpy(), dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return [0.0]
    inner = np.quantile(numbers, np.arange(1, spec.bins) / spec.bins)
    return sorted({float(f"{edge:.4g}") for edge in inner})


def _ranges(name: str, edges: list[float]) -> list[Slice]:
    middle = [Slice(name, f"{name} {a:g}..{b:g}", low=a, high=b) for a, b in pairwise(edges)]
    first, last = edges[0], edges[-1]
    return [Slice(name, f"{name} <{first:g}", high=first), *middle, Slice(name, f"{name} >={last:g}", low=last)]


def _is_missing(value: Any) -> bool:
    return value is None or value != value


def _order(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value if isinstance(value, (int, float, str)) else str(value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
