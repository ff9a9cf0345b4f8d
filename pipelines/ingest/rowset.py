"""Rows on their way through an ingest: many on the nodes (Ray Data), or a micro-batch in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import ray.data

BUCKET = "__bucket"
BUCKET_BYTES = 64 << 20
Work = Callable[[pa.Table], pa.Table]


class Rowset(Protocol):
    """Rows that are read as they are needed; ``map`` and ``by_key`` return new ones."""

    def map(self, work: Work) -> Rowset:
        """Apply a function to batches of rows, whatever batches there are."""

    def by_key(self, columns: Sequence[str], work: Work) -> Rowset:
        """Apply a function to rows such that those of one key are together (no columns: equal rows)."""

    def gather(self, measure: Callable[[pa.Table], Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what a function says of each batch."""

    def kept(self) -> Rowset:
        """Return the rows held ready, so that they are read once and used several times."""

    def schema(self) -> pa.Schema | None: ...

    @property
    def rows(self) -> Any:
        """The rows for a writer: a Ray Dataset or an Arrow table."""


@dataclass(frozen=True, slots=True)
class LocalRows:
    """Rows in this process."""

    table: pa.Table

    def map(self, work: Work) -> LocalRows:
        return LocalRows(work(self.table))

    def by_key(self, columns: Sequence[str], work: Work) -> LocalRows:
        return LocalRows(work(self.table))

    def gather(self, measure: Callable[[pa.Table], Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [dict(measure(self.table))]

    def kept(self) -> LocalRows:
        return self

    def schema(self) -> pa.Schema:
        return self.table.schema

    @property
    def rows(self) -> pa.Table:
        return self.table


@dataclass(frozen=True, slots=True)
class RayRows:
    """Rows on the planned nodes; ``options`` are those of every task. ``known`` is the schema where reading says it."""

    dataset: Any
    options: Mapping[str, Any]
    known: pa.Schema | None = None

    def map(self, work: Work) -> RayRows:
        made = self.dataset.map_batches(_Whole(work), batch_format="pyarrow", batch_size=None, **self.options)
        return RayRows(made, self.options, self._schema_after(work))

    def by_key(self, columns: Sequence[str], work: Work) -> RayRows:
        held = self.kept()
        n_cpus = int(ray.data.DataContext.get_current().default_hash_shuffle_parallelism or 1)
        n = max(1, n_cpus, -(-int(held.dataset.size_bytes() or 0) // BUCKET_BYTES))
        dealt = held.dataset.map_batches(
            _Deal(tuple(columns), n), batch_format="pyarrow", batch_size=None, **self.options
        )
        grouped = dealt.groupby(BUCKET, num_partitions=n).map_groups(
            partial(_undealt, work=work), batch_format="pyarrow", **self.options
        )
        return RayRows(grouped, self.options, self._schema_after(work))

    def gather(self, measure: Callable[[pa.Table], Mapping[str, Any]]) -> list[dict[str, Any]]:
        import json

        told = self.dataset.map_batches(_Told(measure), batch_format="pyarrow", batch_size=None, **self.options)
        return [json.loads(row["told"]) for row in told.take_all()]

    def kept(self) -> RayRows:
        held = self.dataset.materialize()
        return RayRows(held, self.options, self.known)

    def schema(self) -> pa.Schema | None:
        if self.known is not None:
            return self.known
        found = self.dataset.schema()
        return None if found is None else found.base_schema

    @property
    def rows(self) -> Any:
        return self.dataset

    def _schema_after(self, work: Work) -> pa.Schema | None:
        """Return the columns that come out, found by work on no rows; None where that cannot be known so."""
        if self.known is None:
            return None
        try:
            return work(self.known.empty_table()).schema
        except Exception:  # a user's function may need a row
            return None


@dataclass(frozen=True, slots=True)
class _Whole:
    work: Work

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.work(table)


@dataclass(frozen=True, slots=True)
class _Told:
    measure: Callable[[pa.Table], Mapping[str, Any]]

    def __call__(self, table: pa.Table) -> pa.Table:
        import json

        return pa.table({"told": [json.dumps(dict(self.measure(table)))]})


@dataclass(frozen=True, slots=True)
class _Deal:
    columns: tuple[str, ...]
    n: int

    def __call__(self, table: pa.Table) -> pa.Table:
        buckets = hashes(table, self.columns or tuple(table.column_names)) % np.uint64(self.n)
        return table.append_column(BUCKET, pa.array(buckets.astype("int64")))


def _undealt(table: pa.Table, work: Work) -> pa.Table:
    return work(table.drop_columns([BUCKET]))


def hashes(table: pa.Table, columns: Sequence[str], seed: int = 0) -> np.ndarray[Any, Any]:
    """Return a 64-bit hash of each row's values in the columns; the same in every process, order and company.

    Notes
    -----
    pandas' ``hash_array`` (SipHash-1-3 under a fixed key for text), one hash a column, mixed in the order of columns.
    """
    key = f"{seed:016d}"[-16:]
    out = np.full(table.num_rows, np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64), dtype=np.uint64)
    for name in columns:
        one = pd.util.hash_array(comparable(table[name]), hash_key=key, categorize=False)
        with np.errstate(over="ignore"):
            out = (out ^ one) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing, so that order matters
            out ^= out >> np.uint64(29)
    return out


def comparable(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return a column as numbers or text that can be hashed and compared: NaN and gaps alike are one value."""
    type_ = column.type
    if pa.types.is_floating(type_):
        values = column.cast(pa.float64()).to_numpy()
        return np.where(np.isnan(values), np.nan, values + 0.0)  # one NaN, one zero
    if (pa.types.is_integer(type_) or pa.types.is_boolean(type_)) and column.null_count == 0:
        return np.asarray(column.to_numpy()).astype("int64") if type_ != pa.uint64() else column.to_numpy()
    if isinstance(type_, pa.ExtensionType) or pa.types.is_nested(type_) or pa.types.is_binary(type_):
        return np.array([_bytes(value).hex() for value in column.to_pylist()], dtype=object)
    return np.array([str(value) for value in column.to_pylist()], dtype=object)


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()


def distinct(table: pa.Table, by: Sequence[str], newest: str | None = None) -> pa.Table:
    """Return one row for each key, the same whatever the order of rows: the newest, else the smallest by hash."""
    return table.filter(pa.array(first_of_key(table, by, newest)))


def first_of_key(table: pa.Table, by: Sequence[str], newest: str | None = None) -> np.ndarray[Any, Any]:
    """Return for each row whether it is the one of its key that stays."""
    columns = list(by) or list(table.column_names)
    frame = pd.DataFrame({f"k{i}": comparable(table[name]) for i, name in enumerate(columns)})
    keys = list(frame.columns)
    frame["tie"] = hashes(table, tuple(table.column_names))
    order = ["tie"]
    if newest is not None:
        frame["new"] = -table[newest].to_pandas().rank(method="dense", na_option="bottom")
        order = ["new", "tie"]
    first = ~frame.sort_values(order, kind="stable").duplicated(subset=keys)
    return np.asarray(first.sort_index().to_numpy())
