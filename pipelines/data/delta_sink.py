"""Writes a Ray Dataset into a Delta table: Parquet files by every task, then one transaction by the driver."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from pipelines.data.evolution import conform, one_schema, tidy
from pipelines.data.fingerprint import Fingerprint, fingerprint
from pipelines.data.keys import NOTHING
from pipelines.data.table import Commit, TableError

FILE_BYTES = 128 * 2**20
Part = tuple[str, int, int, str, bytes]
"""A file's name, its bytes and rows, the fingerprint of the rows, and their schema."""
SIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.float16(): pa.float32()}


class DeltaSink(Datasink[list[Part]]):
    """Collects what the tasks wrote and hands it to ``commit`` once all are done."""

    def __init__(
        self,
        location: str,
        schema: pa.Schema | None,
        rows_per_file: int | None,
        commit: Callable[[list[Part], pa.Schema, Fingerprint], Commit],
    ) -> None:
        self.location, self.schema, self.rows_per_file = location, schema, rows_per_file
        self._commit = commit
        self.committed: Commit | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_commit": None, "committed": None}  # the driver alone commits

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[Part]:
        parts: list[Part] = []
        waiting: list[pa.Table] = []
        n_bytes = 0
        for block in blocks:
            rows = BlockAccessor.for_block(block).to_arrow()
            if rows.num_rows:
                rows = as_delta(tidy(rows))
                waiting.append(rows if self.schema is None else conform(rows, self.schema))
                n_bytes += rows.nbytes
            if n_bytes >= FILE_BYTES:
                parts += self._write(waiting)
                waiting, n_bytes = [], 0
        return parts + self._write(waiting)

    def _write(self, tables: list[pa.Table]) -> list[Part]:
        if not tables:
            return []
        one_schema([table.schema for table in tables])
        rows = pa.concat_tables(tables)
        store, root = fs.FileSystem.from_uri(self.location)
        store.create_dir(root)
        out: list[Part] = []
        step = self.rows_per_file or rows.num_rows
        for at in range(0, rows.num_rows, step):
            piece = rows.slice(at, step)
            name = f"part-{uuid.uuid4()}.parquet"
            pq.write_table(piece, f"{root}/{name}", filesystem=store, compression="zstd")
            size = store.get_file_info(f"{root}/{name}").size
            out.append((name, size, piece.num_rows, str(fingerprint(piece)), rows.schema.serialize().to_pybytes()))
        return out

    def on_write_complete(self, result: Any) -> None:
        self.finish(result.write_returns)

    def finish(self, returned: Iterable[list[Part] | None]) -> None:
        """Commit what all the tasks wrote."""
        tasks = sorted((one for one in returned if one), key=lambda one: one[0][3])
        parts = [part for one in tasks for part in one]
        if not parts:
            raise TableError(NOTHING)
        schema = one_schema([pa.ipc.read_schema(pa.py_buffer(part[4])) for part in parts])
        total = sum((Fingerprint.parse(part[3]) for part in parts), Fingerprint())
        self.committed = self._commit(parts, schema, total)


def as_delta(rows: pa.Table) -> pa.Table:
    """Return rows in the types that Delta has; raises TableError that names the column where there is none."""
    return rows.cast(delta_schema(rows.schema))


def delta_schema(schema: pa.Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, _type(field)) for field in schema])


def _type(field: pa.Field) -> pa.DataType:
    type_ = field.type
    if type_ in SIGNED:
        return SIGNED[type_]
    if pa.types.is_timestamp(type_):
        return pa.timestamp("us", type_.tz and "UTC")
    if pa.types.is_large_binary(type_):
        return pa.binary()
    if isinstance(type_, pa.BaseExtensionType) or type_ == pa.uint64() or pa.types.is_null(type_):
        raise TableError(f"column {field.name!r} is {type_}, which a Delta table cannot hold: convert it, or use lance")
    return type_


def stats(n_rows: int) -> str:
    """Return the statistics of a file as Delta's log has them."""
    return json.dumps({"numRecords": n_rows})
