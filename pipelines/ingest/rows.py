"""Work on batches of rows, as it runs inside Ray Data's tasks: split, finish, measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.prepare.steps import SIDE, put
from pipelines.ingest.rowset import hashes
from pipelines.ingest.sources.errors import BadSource, listed
from pipelines.ingest.spec import SplitSpec
from pipelines.run import Whereabouts


@dataclass(frozen=True, slots=True)
class Split:
    """Adds the column that says on which side of the split each row falls."""

    spec: SplitSpec

    def __call__(self, table: pa.Table) -> pa.Table:
        if SIDE in table.column_names:
            raise BadSource(f"a column is called {SIDE!r}, as the split's own is: rename it")
        return table.append_column(SIDE, pa.array(np.where(in_test(table, self.spec), "test", "train"), pa.string()))


def in_test(table: pa.Table, spec: SplitSpec) -> np.ndarray[Any, Any]:
    """Return for each row whether it is for testing, whatever the order and company of rows."""
    named = [*spec.by, *filter(None, (spec.time, spec.column))]
    if missing := [name for name in named if name not in table.column_names]:
        raise BadSource(f"split: no column {missing[0]!r}: the columns are {listed(table.column_names, 20)}")
    if spec.column is not None:
        return np.array([value in spec.values for value in table[spec.column].to_pylist()], dtype=bool)
    if spec.time is not None:
        return _since(table[spec.time], spec)
    limit = np.uint64(min(int(spec.test * 2**64), 2**64 - 1))
    return np.asarray(hashes(table, spec.by or tuple(table.column_names), spec.seed) < limit)


def _since(column: pa.ChunkedArray, spec: SplitSpec) -> np.ndarray[Any, Any]:
    if not pa.types.is_temporal(column.type):
        raise BadSource(f"split: column {spec.time!r} is {column.type}, not a time: cast it first")
    try:
        at = pd.Timestamp(spec.since)
    except ValueError:
        raise BadSource(f"split: since {spec.since!r} is no time: write 2026-11-01 or 2026-11-01T00:00:00Z") from None
    values = pd.to_datetime(pd.Series(column.to_pylist()), utc=True)
    return np.asarray(values >= (at if at.tzinfo else at.tz_localize("UTC")))


@dataclass(frozen=True, slots=True)
class Finish:
    """Makes the features numbers and leaves out rows with a gap in a feature or the target."""

    target: str
    features: tuple[str, ...]

    def __call__(self, table: pa.Table) -> pa.Table:
        mask = np.asarray(pc.is_valid(table[self.target]).to_numpy())
        if pa.types.is_floating(table[self.target].type):
            mask &= np.isfinite(table[self.target].to_numpy())
        for name in self.features:
            column = table[name].cast(pa.float64())
            mask &= np.isfinite(column.to_numpy())
            table = put(table, name, column)
        return table if mask.all() else table.filter(pa.array(mask))


@dataclass(frozen=True, slots=True)
class Measure:
    """Return one row of sums for a batch: enough for means and spreads without a second look."""

    features: tuple[str, ...]
    whereabouts: Whereabouts | None = None

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        if self.whereabouts is not None:
            self.whereabouts.say()
        values = frame[list(self.features)].to_numpy(dtype="float64")
        mean = values.mean(axis=0)
        return pd.DataFrame(
            {"n": [len(values)], "mean": [mean.tolist()], "m2": [((values - mean) ** 2).sum(axis=0).tolist()]}
        )


def combine(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Return mean and scale (standard deviation, 1 where a feature is constant) over all measured batches.

    Notes
    -----
    Chan, Golub and LeVeque's pairwise update: ``M2 = M2a + M2b + d² na nb / (na + nb)``; doi:10.2307/2683386.
    """
    n, mean, m2 = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        n_b, mean_b, m2_b = int(part["n"]), np.asarray(part["mean"]), np.asarray(part["m2"])
        delta = mean_b - mean
        total = n + n_b
        mean = mean + delta * n_b / total
        m2 = m2 + m2_b + delta**2 * n * n_b / total
        n = total
    scale = np.sqrt(m2 / max(n, 1))
    scale = np.where(scale > 1e-12, scale, 1.0)
    return {"mean": mean.tolist(), "scale": scale.tolist()}
