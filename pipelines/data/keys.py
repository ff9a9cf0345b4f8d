"""Rows by key, for every format: which new rows are there already, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipelines.data.table import TableError

NOTHING = "there are no rows to write: nothing was published"


def schema_of(rows: Any) -> pa.Schema:
    """Return the Arrow schema of a Ray Dataset, of which the first block may have to be made for it, or of a table."""
    schema = rows.schema if isinstance(rows, pa.Table) else rows.schema()
    if isinstance(schema, pa.Schema):
        return schema
    if schema is None:
        raise TableError(NOTHING)
    base = schema.base_schema
    return base if isinstance(base, pa.Schema) else pa.schema(zip(schema.names, schema.types, strict=True))


def gathered(rows: Any) -> pa.Table:
    """Return the rows of a Ray Dataset in this process's memory."""
    if isinstance(rows, pa.Table):
        return rows
    batches = [batch for batch in rows.iter_batches(batch_format="pyarrow", batch_size=None) if batch.num_rows]
    if not batches:
        raise TableError(NOTHING)
    return pa.concat_tables(batches, promote_options="default")


def check_key(new: pa.Table, key: Sequence[str], schema: pa.Schema) -> None:
    """Raise TableError where a key has no column, a gap, or a value twice."""
    if not key:
        raise TableError("insert, upsert and delete need a key: name the columns that identify a row")
    for name in key:
        if name not in new.schema.names or name not in schema.names:
            raise TableError(f"key column {name!r} is missing: the dataset has {', '.join(schema.names)}")
        if new[name].null_count:
            raise TableError(f"key column {name!r} has no value in {new[name].null_count} new rows")
    index = _index(new, key)
    if index.has_duplicates:
        twice = dict(zip(key, index[index.duplicated()][0], strict=True))
        raise TableError(f"the key {twice} stands in more than one new row: keep one of them")


def matching(there: Iterable[pa.RecordBatch], new: pa.Table, key: Sequence[str]) -> tuple[Any, Any]:
    """Return which of the new rows have a key that is there (n,), and at which positions those rows are."""
    keys = _index(new, key)
    is_old, found, at = np.zeros(len(keys), dtype=bool), [], 0
    for batch in there:
        own = _index(batch, key)
        found.append(at + np.flatnonzero(own.isin(keys)))
        is_old |= keys.isin(own)
        at += len(own)
    return is_old, np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def _index(rows: pa.Table | pa.RecordBatch, key: Sequence[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([rows.column(name).to_pandas() for name in key])
