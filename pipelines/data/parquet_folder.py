"""Versions of before there were tables: a folder of Parquet files per part. They are read and never written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from pipelines.data.table import Collected, Commit, TableError, TableVersion, Write
from pipelines.data.where import Where, expression

SIDE = "__side"
"""The column that says on which side of the split a row falls."""
SIDES = ("train", "test")


class ParquetFolder:
    """A folder with ``train`` and ``test``, or with Parquet files; see ``Table``."""

    format = "parquet"

    def __init__(self, location: str) -> None:
        self.location = location

    def write(self, rows: Any, write: Write, **options: Any) -> Commit:
        raise self._read_only()

    def delete(self, where: Where, write: Write) -> Commit:
        raise self._read_only()

    def annotate(self, write: Write) -> Commit:
        raise self._read_only()

    def compact(self, write: Write) -> Commit:
        raise self._read_only()

    def protect(self, name: str, version: int) -> None:
        raise self._read_only()

    def release(self, name: str) -> None:
        raise self._read_only()

    def collect(self, leftovers: bool = False) -> Collected:
        raise self._read_only()

    def read(self, version: int, columns: Sequence[str] | None = None, where: Where = (), **options: Any) -> Any:
        import ray.data

        names = self.schema(version).names if columns is None else list(columns)
        files = [str(path) for part in self._parts(where) for path in sorted(part.rglob("*.parquet"))]
        rows = ray.data.read_parquet(files, columns=[name for name in names if name != SIDE], **options)
        rest = [condition for condition in where if condition[0] != SIDE]
        if rest:
            raise TableError(f"{self.location}: a folder of Parquet files is read whole, or by its part")
        if SIDE in names and len(self._parts(where)) == 1:
            side = self._parts(where)[0].name
            return rows.map_batches(lambda batch: {**batch, SIDE: np.full(len(next(iter(batch.values()))), side)})
        return rows

    def scan(
        self, version: int, columns: Sequence[str] | None = None, where: Where = (), batch_size: int = 16_384
    ) -> Iterator[pa.RecordBatch]:
        names = self.schema(version).names if columns is None else list(columns)
        for part in self._parts(where):
            dataset = pyarrow.dataset.dataset(str(part), format="parquet")
            rest = [condition for condition in where if condition[0] != SIDE]
            own = [name for name in names if name != SIDE]
            for batch in dataset.to_batches(columns=own, filter=expression(rest), batch_size=batch_size):
                if batch.num_rows:
                    sides = pa.array([part.name] * batch.num_rows)
                    arrays = [sides if name == SIDE else batch.column(name) for name in names]
                    yield pa.RecordBatch.from_arrays(arrays, names=names)

    def take(self, version: int, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        return pa.Table.from_batches(list(self.scan(version, columns))).take(pa.array(rows, pa.int64()))

    def schema(self, version: int) -> pa.Schema:
        own = pyarrow.dataset.dataset(str(self._parts()[0]), format="parquet").schema
        return own.append(pa.field(SIDE, pa.string())) if self._parts()[0].name in SIDES else own

    def count(self, version: int, where: Where = ()) -> int:
        return sum(batch.num_rows for batch in self.scan(version, None, where))

    def versions(self) -> tuple[TableVersion, ...]:
        return (TableVersion(0, Path(self.location).stat().st_mtime, {}),) if Path(self.location).is_dir() else ()

    def properties(self, version: int) -> Mapping[str, str]:
        return {}

    def protected(self) -> Mapping[str, int]:
        return {}

    def _parts(self, where: Where = ()) -> list[Path]:
        folder = Path(self.location)
        wanted = [value for column, operator, value in where if column == SIDE and operator == "="]
        parts = [folder / side for side in SIDES if (folder / side).is_dir() and (not wanted or side in wanted)]
        if not folder.is_dir():
            raise TableError(f"{self.location}: its bytes are gone, or are not on this machine")
        return parts or [folder]

    def _read_only(self) -> TableError:
        return TableError(
            f"{self.location} was published before versions were tables and is only read: publish the next version "
            "with mode: overwrite"
        )
