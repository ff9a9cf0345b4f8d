"""Two versions side by side: columns, rows, statistics and drift; computed in one pass each, in bounded memory.

Drift of a column is the population stability index between the two versions: the sum over bins of
``(p - q) ln(p / q)``, with the earlier version's deciles (or most frequent values) as bins. Below 0.1 is usually
called stable, from 0.25 on a shift. Beside it stands the Kolmogorov-Smirnov distance of the two samples.

References
----------
Yurdakul, Statistical Properties of Population Stability Index, 2018. Vitter, Random Sampling with a Reservoir,
doi:10.1145/3147.3165 (here by batches: each row draws a number, the smallest stay).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.data.table import Table

SAMPLE = 50_000
BINS = 10
MOST_VALUES = 20
STABLE, SHIFTED = 0.1, 0.25


@dataclass
class Column:
    """What one pass over a column leaves."""

    type: pa.DataType
    rows: int = 0
    nulls: int = 0
    low: Any = None
    high: Any = None
    mean: float = 0.0
    m2: float = 0.0
    kept: list[pa.Array] = field(default_factory=list)

    @property
    def is_number(self) -> bool:
        types = pa.types
        return bool(types.is_integer(self.type) or types.is_floating(self.type) or types.is_boolean(self.type))

    @property
    def has_order(self) -> bool:
        types = pa.types
        return bool(self.is_number or types.is_temporal(self.type) or types.is_string(self.type))

    def add(self, array: pa.Array) -> None:
        self.rows += len(array)
        self.nulls += array.null_count
        array = array.drop_null()
        if not len(array) or not self.has_order:
            return
        low, high = pc.min_max(array).as_py().values()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        if self.is_number:
            values = array.cast(pa.float64()).to_numpy()
            values = values[np.isfinite(values)]
            n, n_new = self.rows - self.nulls - len(array), len(values)
            if n_new:
                delta = float(values.mean()) - self.mean
                self.mean += delta * n_new / max(n + n_new, 1)
                self.m2 += float(((values - values.mean()) ** 2).sum()) + delta**2 * n * n_new / max(n + n_new, 1)

    def values(self) -> pa.Array:
        return pa.concat_arrays([array.cast(self.type) for array in self.kept]) if self.kept else pa.nulls(0, self.type)

    def shown(self) -> dict[str, Any]:
        out: dict[str, Any] = {"type": str(self.type), "rows": self.rows, "nulls": self.nulls}
        if self.has_order:
            out |= {"min": _plain(self.low), "max": _plain(self.high)}
        n = self.rows - self.nulls
        if self.is_number and n:
            out |= {"mean": round(self.mean, 6), "std": round(math.sqrt(max(0.0, self.m2 / n)), 6)}
        elif pa.types.is_string(self.type):
            counts = pc.value_counts(self.values().drop_null())
            top = sorted(counts.to_pylist(), key=lambda one: (-one["counts"], one["values"]))
            out |= {"distinct": len(top), "top": [one["values"] for one in top[:3]]}
        return out


def survey(table: Table, version: int, seed: int = 0) -> dict[str, Column]:
    """Return what one pass over a version finds, with a sample of its rows that is the same at every call."""
    schema = table.schema(version)
    columns = {column.name: Column(column.type) for column in schema}
    draw = np.random.default_rng(seed)
    marks = np.zeros(0)
    for batch in table.scan(version):
        marks, chosen, kept = _sampled(marks, draw.random(batch.num_rows))
        for name, column in columns.items():
            array = batch.column(batch.schema.get_field_index(name))
            column.add(array)
            if column.has_order:
                before = column.values()
                column.kept = (
                    [pa.concat_arrays([before.take(kept), array.take(chosen)])] if len(chosen) else column.kept
                )
    return columns


def _sampled(marks: Any, new: Any) -> tuple[Any, pa.Array, pa.Array]:
    """Return the smallest marks, which of the new rows are in, and which of the rows that were kept stay."""
    everything = np.concatenate([marks, new])
    best = (
        np.sort(np.argpartition(everything, SAMPLE)[:SAMPLE])
        if len(everything) > SAMPLE
        else np.arange(len(everything))
    )
    old = best[best < len(marks)]
    return everything[best], pa.array(best[best >= len(marks)] - len(marks)), pa.array(old)


def compare(before: dict[str, Column], after: dict[str, Column]) -> dict[str, Any]:
    """Return what changed from one version to the other."""
    both = [name for name in before if name in after]
    changed = {
        name: [str(before[name].type), str(after[name].type)] for name in both if before[name].type != after[name].type
    }
    return {
        "columns": {
            "added": [name for name in after if name not in before],
            "removed": [name for name in before if name not in after],
            "changed": changed,
        },
        "rows": [_rows(before), _rows(after)],
        "statistics": {name: {"before": before[name].shown(), "after": after[name].shown()} for name in both},
        "drift": {name: drift(before[name], after[name]) for name in both if name not in changed},
    }


def drift(before: Column, after: Column) -> dict[str, Any] | None:
    """Return how far a column's values moved, None where they have no order to bin them by."""
    old, new = before.values().drop_null(), after.values().drop_null()
    if not before.has_order or not len(old) or not len(new):
        return None
    if before.is_number:
        one, two = (array.cast(pa.float64()).to_numpy() for array in (old, new))
        edges = np.unique(np.quantile(one, np.linspace(0, 1, BINS + 1)[1:-1]))
        p, q = (
            np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) for values in (one, two)
        )
        found: dict[str, Any] = {"ks": round(_ks(np.sort(one), np.sort(two)), 6)}
    else:
        counts = {one["values"]: one["counts"] for one in pc.value_counts(old).to_pylist()}
        top = sorted(counts, key=lambda value: -counts[value])[:MOST_VALUES]
        seen = {one["values"]: one["counts"] for one in pc.value_counts(new).to_pylist()}
        p = np.array([*(counts[value] for value in top), sum(counts.values()) - sum(counts[v] for v in top)])
        q = np.array([*(seen.get(value, 0) for value in top), sum(seen.values()) - sum(seen.get(v, 0) for v in top)])
        found = {}
    index = psi(p, q)
    return {"psi": round(index, 6), **found, "verdict": verdict(index)}


def psi(p: Any, q: Any) -> float:
    """Return the population stability index of two histograms over the same bins, empty ones smoothed by half a row."""
    p, q = (np.maximum(counts, 0.5) / np.maximum(counts, 0.5).sum() for counts in (p, q))
    return float(((q - p) * np.log(q / p)).sum())


def verdict(index: float) -> str:
    return "stable" if index < STABLE else "moved" if index < SHIFTED else "shifted"


def _ks(one: Any, two: Any) -> float:
    """Return the Kolmogorov-Smirnov distance of two sorted samples."""
    everything = np.concatenate([one, two])
    return float(
        np.abs(
            np.searchsorted(one, everything, side="right") / len(one)
            - np.searchsorted(two, everything, side="right") / len(two)
        ).max()
    )


def _rows(columns: dict[str, Column]) -> int:
    return max((column.rows for column in columns.values()), default=0)


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
