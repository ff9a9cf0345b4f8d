"""Writes a Ray Dataset into a Lance table: fragments by every task, then one commit by the driver.

Ray's own ``write_lance`` calls an interface that Lance no longer has, so this uses the public ones of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import lance
import pyarrow as pa
from lance.fragment import write_fragments
from ray.data import Datasink
from ray.data.block import Block, BlockAccessor

from pipelines.data.evolution import conform, one_schema, tidy
from pipelines.data.fingerprint import Fingerprint, fingerprint
from pipelines.data.keys import NOTHING
from pipelines.data.table import Commit, TableError

FILE_BYTES = 128 * 2**20
"""About how much a file holds."""
Part = tuple[str, str, bytes, int]
"""A fragment as JSON, its fingerprint, its schema and its bytes."""


class LanceSink(Datasink[list[Part]]):
    """Collects what the tasks wrote and hands it to ``commit`` once all are done.

    ``onto`` is the table version whose columns the files are for, None where they make a table of their own.
    """

    def __init__(
        self,
        location: str,
        onto: int | None,
        schema: pa.Schema | None,
        rows_per_file: int | None,
        commit: Callable[[list[Any], pa.Schema, Fingerprint, int], Commit],
    ) -> None:
        self.location, self.onto, self.schema, self.rows_per_file = location, onto, schema, rows_per_file
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
                waiting.append(tidy(rows) if self.schema is None else conform(tidy(rows), self.schema))
                n_bytes += rows.nbytes
            if n_bytes >= FILE_BYTES:
                parts += self._write(waiting)
                waiting, n_bytes = [], 0
        return parts + self._write(waiting)

    def _write(self, tables: list[pa.Table]) -> list[Part]:
        if not tables:
            return []
        schema = one_schema([table.schema for table in tables])
        rows = pa.concat_tables(tables)
        per_file = self.rows_per_file or max(1, min(rows.num_rows, FILE_BYTES * rows.num_rows // max(rows.nbytes, 1)))
        onto = self.location if self.onto is None else lance.dataset(self.location, version=self.onto)
        mode = "overwrite" if self.onto is None else "append"
        out: list[Part] = []
        for at in range(0, rows.num_rows, per_file):
            piece = rows.slice(at, per_file)
            fragments = write_fragments(piece, onto, mode=mode, max_rows_per_file=per_file, enable_stable_row_ids=True)
            assert isinstance(fragments, list), "fragments were asked for, not a transaction"
            mark = str(fingerprint(piece))
            serialized = schema.serialize().to_pybytes()
            for i, fragment in enumerate(fragments):
                text = fragment.to_json()
                text = text if isinstance(text, str) else json.dumps(text)
                out.append((text, mark if i == 0 else str(Fingerprint()), serialized, piece.nbytes if i == 0 else 0))
        return out

    def on_write_complete(self, result: Any) -> None:
        self.finish(result.write_returns)

    def finish(self, returned: Iterable[list[Part] | None]) -> None:
        """Commit what all the tasks wrote."""
        tasks = sorted((one for one in returned if one), key=lambda one: one[0][1])  # equal rows give an equal order
        parts: list[Part] = [part for one in tasks for part in one]
        if not parts:
            raise TableError(NOTHING)
        schema = one_schema([pa.ipc.read_schema(pa.py_buffer(part[2])) for part in parts])
        fragments = [lance.FragmentMetadata.from_json(part[0]) for part in parts]
        total = sum((Fingerprint.parse(part[1]) for part in parts), Fingerprint())
        self.committed = self._commit(fragments, schema, total, sum(part[3] for part in parts))
