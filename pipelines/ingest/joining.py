"""Joins with another dataset version: a small one goes to all tasks, a large one is dealt out by key with the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.ingest.prepare.spec import Join
from pipelines.ingest.rowset import LocalRows, RayRows, Rowset
from pipelines.ingest.sources.errors import BadSource, listed, shown

SMALL_BYTES = 128 << 20
FROM = "__from_right"
RIGHT = "__right_"


@dataclass(frozen=True, slots=True)
class Other:
    """The version to join with: its size, its columns, and its rows in this process or on the nodes."""

    name: str
    schema: pa.Schema
    bytes: int
    load: Callable[[Sequence[str]], pa.Table]
    read: Callable[[Sequence[str]], Any]


def join(rows: Rowset, step: Join, other: Other) -> Rowset:
    """Return rows with columns of the other version beside them; raises BadSource."""
    schema = rows.schema()
    if schema is None:
        return rows
    taken = _columns(schema, step, other)
    if isinstance(rows, LocalRows) or other.bytes <= SMALL_BYTES:
        right = _keys_as(other.load([*step.on, *taken]), schema, step, other)
        return rows.map(_Beside(right, step.on, step.how, other.name))
    assert isinstance(rows, RayRows), "rows are here or on the nodes"
    return _dealt(rows, schema, step, other, taken)


def _columns(schema: pa.Schema, step: Join, other: Other) -> list[str]:
    for name in step.on:
        for where, names in (("the rows", schema.names), (other.name, other.schema.names)):
            if name not in names:
                raise BadSource(f"prepare: join: no column {name!r} in {where}: the columns are {listed(names, 20)}")
    taken = list(step.columns) or [n for n in other.schema.names if n not in step.on and not n.startswith("__")]
    for name in taken:
        if name not in other.schema.names:
            raise BadSource(f"prepare: join: {other.name} has no column {name!r}: {listed(other.schema.names, 20)}")
        if name in schema.names:
            raise BadSource(f"prepare: join: both sides have a column {name!r}: name those to take, or rename one")
    return taken


def _keys_as(right: pa.Table, schema: pa.Schema, step: Join, other: Other) -> pa.Table:
    for name in step.on:
        wanted = schema.field(name).type
        try:
            right = right.set_column(right.column_names.index(name), name, right[name].cast(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise BadSource(
                f"prepare: join: column {name!r} is {wanted} here and {right[name].type} in {other.name}: cast one"
            ) from None
    return right


@dataclass(frozen=True, slots=True)
class _Beside:
    right: pa.Table
    on: tuple[str, ...]
    how: Literal["left", "inner"]
    name: str

    def __call__(self, left: pa.Table) -> pa.Table:
        return beside(left, self.right, self.on, self.how, self.name)


def beside(left: pa.Table, right: pa.Table, on: Sequence[str], how: str, name: str) -> pa.Table:
    """Return the rows of ``left`` with the one row of ``right`` of the same key beside each; gaps match nothing."""
    a = pd.DataFrame({f"k{i}": left[column].to_pandas() for i, column in enumerate(on)})
    b = pd.DataFrame({f"k{i}": right[column].to_pandas() for i, column in enumerate(on)}).dropna()
    keys = list(a.columns)
    if len(doubled := b[b.duplicated()]):
        values = ", ".join(shown(str(value)) for value in doubled.iloc[0].tolist())
        raise BadSource(f"prepare: join: {name} has the key {values} more than once: make it unique first")
    b = b.assign(right=b.index)
    a = a.assign(left=np.arange(len(a)))
    gaps = a[keys].isna().any(axis=1)
    matched = a[~gaps].merge(b, on=keys, how="inner")[["left", "right"]]
    if how == "left":
        rest = a.loc[~a["left"].isin(matched["left"]), ["left"]]
        matched = pd.concat([matched, rest.assign(right=None)])
    matched = matched.sort_values("left")
    indices = pa.array([None if pd.isna(i) else int(i) for i in matched["right"]], pa.int64())
    out = left.take(pa.array(matched["left"].to_numpy(dtype="int64")))
    for column in right.column_names:
        if column not in on:
            out = out.append_column(column, right[column].combine_chunks().take(indices))
    return out


def _dealt(rows: RayRows, schema: pa.Schema, step: Join, other: Other, taken: Sequence[str]) -> Rowset:
    """Put both sides into one set of rows, tell them apart by a flag, and join those of one key."""
    right_types = {name: other.schema.field(name).type for name in taken}

    def left_side(table: pa.Table) -> pa.Table:
        for name, type_ in right_types.items():
            table = table.append_column(RIGHT + name, pa.nulls(table.num_rows, type_))
        return table.append_column(FROM, pa.array([False] * table.num_rows, pa.bool_()))

    def right_side(table: pa.Table) -> pa.Table:
        table = _keys_as(table, schema, step, other)
        columns = {
            field.name: table[field.name] if field.name in step.on else pa.nulls(table.num_rows, field.type)
            for field in schema
        }
        columns |= {RIGHT + name: table[name] for name in taken}
        return pa.table({**columns, FROM: pa.array([True] * table.num_rows, pa.bool_())})

    def joined(table: pa.Table) -> pa.Table:
        flags = table[FROM]
        left = table.filter(pa.compute.invert(flags)).select(schema.names)
        right = table.filter(flags).select([*step.on, *(RIGHT + name for name in taken)])
        right = right.rename_columns([*step.on, *taken])
        return beside(left, right, step.on, step.how, other.name)

    others = RayRows(other.read([*step.on, *taken]), rows.options).map(right_side)
    both = rows.map(left_side).dataset.union(others.dataset)
    return RayRows(both, rows.options).by_key(step.on, joined)
