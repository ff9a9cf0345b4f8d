"""Tables in the Delta Lake format, for exchange with other engines; the extra ``delta``.

Delta has neither tags nor branches: what is protected is noted in small files below ``_aios``, which other engines pass
over. As with Lance, a writer whose base is not the newest commit restores its base first, and looks whether its own
commit came right behind.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions
from pyarrow import fs

from pipelines.data.address import size_of
from pipelines.data.delta_sink import DeltaSink, Part, as_delta, delta_schema, stats
from pipelines.data.evolution import conform, evolved, tidied, tidy
from pipelines.data.fingerprint import Fingerprint, fingerprint
from pipelines.data.keys import NOTHING, check_key, gathered, matching, schema_of
from pipelines.data.table import ROWS, Collected, Commit, Conflict, TableError, TableVersion, Write, fingerprint_of
from pipelines.data.where import Where, expression, sql

TRIES = 50
NOTES = "_aios"


class DeltaLake:
    """A Delta table at a path or URL; see ``Table`` for what each method promises."""

    format = "delta"

    def __init__(self, location: str) -> None:
        self.location = location

    # Writing.

    def write(self, rows: Any, write: Write, **options: Any) -> Commit:
        if write.mode in ("insert", "upsert", "delete"):
            return self._merge(rows, write)
        schema, before = write.schema and delta_schema(write.schema), Fingerprint()
        if write.mode == "append" and write.base is not None:
            before = fingerprint_of(self, write.base)
            schema = evolved(self.schema(write.base), delta_schema(tidied(schema or schema_of(rows))))
        sink = DeltaSink(self.location, schema, write.rows_per_file, self._committer(write, before))
        if isinstance(rows, pa.Table):
            sink.finish([sink.write([rows], None)])
        else:
            rows.write_datasink(sink, ray_remote_args=options or None)
        if sink.committed is None:
            raise TableError(NOTHING)
        return sink.committed

    def _committer(self, write: Write, before: Fingerprint) -> Callable[[list[Part], pa.Schema, Fingerprint], Commit]:
        def commit(parts: list[Part], schema: pa.Schema, new: Fingerprint) -> Commit:
            now_ms = int(time.time() * 1000)
            actions = [AddAction(name, size, {}, now_ms, True, stats(n)) for name, size, n, _, _ in parts]

            def add(table: DeltaTable | None, properties: CommitProperties) -> None:
                if table is None:
                    create_table_with_add_actions(
                        self.location, _as_delta_schema(schema), actions, commit_properties=properties
                    )
                else:
                    mode = "append" if write.mode == "append" and write.base is not None else "overwrite"
                    table.create_write_transaction(
                        actions, mode, _as_delta_schema(schema), commit_properties=properties
                    )

            version = self._commit(write, add, before + new, schema)
            return Commit(version, before + new, self.schema(version), sum(size for _, size, *_ in parts))

        return commit

    def _merge(self, rows: Any, write: Write) -> Commit:
        """Insert, upsert or delete by key, from rows that fit in this process's memory."""
        if write.base is None and write.mode == "delete":
            raise TableError(f"{self.location}: there is no version to delete from")
        new = as_delta(tidy(gathered(rows)))
        check_key(new, write.key, new.schema if write.base is None else self.schema(write.base))
        if write.base is None:
            return self.write(new, replace(write, mode="overwrite", key=()))
        before = self.schema(write.base)
        is_old, there = matching(self.scan(write.base, write.key), new, write.key)
        if write.mode == "insert":
            fresh = new.filter(pa.array(~is_old))
            return self.write(fresh, replace(write, mode="append")) if fresh.num_rows else self.annotate(write)
        schema = (
            evolved(before, new.schema) if write.mode == "upsert" else pa.schema(before.field(k) for k in write.key)
        )
        new = conform(new.select(write.key) if write.mode == "delete" else new, schema)
        gone = fingerprint(self.take(write.base, there)) if len(there) else Fingerprint()
        total = (
            fingerprint_of(self, write.base) - gone + (fingerprint(new) if write.mode == "upsert" else Fingerprint())
        )
        same = " AND ".join(f"t.`{name}` = s.`{name}`" for name in write.key)

        def merge(table: DeltaTable | None, properties: CommitProperties) -> None:
            assert table is not None, "a version is merged into"
            merger = table.merge(new, same, "s", "t", merge_schema=write.mode == "upsert", commit_properties=properties)
            if write.mode == "delete":
                merger.when_matched_delete().execute()
            else:
                merger.when_matched_update_all().when_not_matched_insert_all().execute()

        version = self._commit(write, merge, total)
        return Commit(version, total, self.schema(version), new.nbytes)

    def delete(self, where: Where, write: Write) -> Commit:
        assert write.base is not None, "rows are deleted from a version"
        gone = sum((fingerprint(batch) for batch in self.scan(write.base, where=where)), Fingerprint())
        total = fingerprint_of(self, write.base) - gone
        condition = sql(where)

        def delete(table: DeltaTable | None, properties: CommitProperties) -> None:
            assert table is not None, "rows are deleted from a version"
            table.delete(condition, commit_properties=properties)

        version = self._commit(write, delete, total)
        return Commit(version, total, self.schema(version), 0)

    def annotate(self, write: Write) -> Commit:
        assert write.base is not None, "a version is described"
        total, schema = fingerprint_of(self, write.base), self.schema(write.base)

        def nothing(table: DeltaTable | None, properties: CommitProperties) -> None:
            assert table is not None, "a version is described"
            table.create_write_transaction([], "append", _as_delta_schema(schema), commit_properties=properties)

        version = self._commit(replace(write, mode="append"), nothing, total)
        return Commit(version, total, schema, 0)

    def compact(self, write: Write) -> Commit:
        return self.annotate(write)  # a delete has written the files anew

    def _commit(
        self,
        write: Write,
        do: Callable[[DeltaTable | None, CommitProperties], None],
        total: Fingerprint,
        schema: pa.Schema | None = None,
    ) -> int:
        """Commit so that the table is the base and this one operation; raises Conflict."""
        properties = CommitProperties({**write.properties, ROWS: str(total)}, max_commit_retries=0)
        for _ in range(TRIES):
            table = self._latest_or_none()
            write.guard()
            try:
                if table is not None and write.mode != "overwrite" and write.base not in (None, table.version()):
                    table.restore(write.base)  # type: ignore[arg-type]  # not None, as just checked
                    table.update_incremental()
                if table is not None and write.mode == "append" and write.base is not None:
                    _add_columns(table, schema)
                at = -1 if table is None else table.version()
                do(table, properties)
            except CommitFailedError:
                continue
            except DeltaError as error:
                if "already exists" not in str(error):
                    raise TableError(f"{self.location}: {error}") from error
                continue
            version = self._made(properties, at)
            if version is not None:
                return version
        raise Conflict(f"{self.location}: other writers were faster {TRIES} times: try again when there are fewer")

    def _made(self, properties: CommitProperties, at: int) -> int | None:
        """Return the commit behind ``at`` where it is this one."""
        wanted = properties.custom_metadata or {}
        found = self.properties(at + 1)
        return at + 1 if all(found.get(name) == value for name, value in wanted.items()) else None

    # Reading.

    def read(self, version: int, columns: Sequence[str] | None = None, where: Where = (), **options: Any) -> Any:
        import ray.data

        files = self._files(version)
        schema = self.schema(version)
        names = schema.names if columns is None else list(columns)
        pieces = ray.data.from_items([{"file": file} for file in files], override_num_blocks=max(1, len(files)))
        task = ReadFile(schema, tuple(names), tuple(where))
        return pieces.map_batches(task, batch_format="pyarrow", batch_size=1, **options)

    def scan(
        self, version: int, columns: Sequence[str] | None = None, where: Where = (), batch_size: int = 16_384
    ) -> Iterator[pa.RecordBatch]:
        schema = self.schema(version)
        names = tuple(schema.names if columns is None else columns)
        for file in self._files(version):
            for table in self._told(ReadFile(schema, names, tuple(where)).batches(file, batch_size)):
                yield from table.to_batches()

    def take(self, version: int, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        found, at = [], 0
        wanted = pa.array(rows, pa.int64()).to_numpy()
        order = wanted.argsort(kind="stable")
        for batch in self.scan(version, columns):
            inside = wanted[order][(wanted[order] >= at) & (wanted[order] < at + batch.num_rows)]
            if len(inside):
                found.append(pa.Table.from_batches([batch]).take(pa.array(inside - at)))
            at += batch.num_rows
        names = None if columns is None else list(columns)
        schema = self.schema(version) if names is None else pa.schema(self.schema(version).field(n) for n in names)
        together = pa.concat_tables(found) if found else schema.empty_table()
        return together.take(pa.array(order.argsort(kind="stable")))

    def schema(self, version: int) -> pa.Schema:
        return tidied(pa.schema(self._at(version).schema().to_arrow()))

    def count(self, version: int, where: Where = ()) -> int:
        name = self.schema(version).names[0]
        columns = list(dict.fromkeys([column for column, _, _ in where])) or [name]
        return sum(batch.num_rows for batch in self.scan(version, columns, where))

    # History.

    def versions(self) -> tuple[TableVersion, ...]:
        table = self._latest_or_none()
        if table is None:
            return ()
        gone = set(json.loads(self._note("gone") or "[]"))
        commits = sorted(table.history(), key=lambda commit: int(commit["version"]))
        return tuple(
            TableVersion(int(commit["version"]), commit["timestamp"] / 1000, _texts(commit))
            for commit in commits
            if int(commit["version"]) not in gone
        )

    def properties(self, version: int) -> Mapping[str, str]:
        table = self._at(version)
        newest = table.history(1)
        return _texts(newest[0]) if newest else {}

    def protect(self, name: str, version: int) -> None:
        self._write_note(f"tag-{name}", json.dumps({"version": version}))

    def release(self, name: str) -> None:
        store, root = fs.FileSystem.from_uri(self.location)
        with suppress(FileNotFoundError):
            store.delete_file(f"{root}/{NOTES}/tag-{name}.json")

    def protected(self) -> Mapping[str, int]:
        store, root = fs.FileSystem.from_uri(self.location)
        notes = store.get_file_info(fs.FileSelector(f"{root}/{NOTES}", allow_not_found=True))
        names = [note.base_name.removesuffix(".json") for note in notes if note.base_name.startswith("tag-")]
        found = {name.removeprefix("tag-"): self._note(name) for name in names}
        return {name: int(json.loads(text)["version"]) for name, text in found.items() if text}

    def collect(self, leftovers: bool = False) -> Collected:
        table = self._latest_or_none()
        if table is None:
            return Collected(0, 0)
        before, n_bytes = {one.version for one in self.versions()}, size_of(self.location)
        keep = {*self.protected().values(), table.version()}
        table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=leftovers, keep_versions=sorted(keep))
        gone = set(json.loads(self._note("gone") or "[]")) | (before - keep)
        self._write_note("gone", json.dumps(sorted(gone)))
        return Collected(len(before - keep), n_bytes - size_of(self.location))

    def _files(self, version: int) -> list[str]:
        return sorted(self._at(version).file_uris())

    def _at(self, version: int) -> DeltaTable:
        try:
            return DeltaTable(self.location, version=version)
        except DeltaError as error:
            raise TableError(f"{self.location}: there is no table version {version}: {error}") from None

    def _told(self, batches: Iterator[pa.Table]) -> Iterator[pa.Table]:
        try:
            yield from batches
        except FileNotFoundError as error:
            raise TableError(f"{self.location}: the version's bytes were collected or erased: {error}") from None

    def _latest_or_none(self) -> DeltaTable | None:
        try:
            return DeltaTable(self.location)
        except TableNotFoundError:
            return None

    def _note(self, name: str) -> str:
        store, root = fs.FileSystem.from_uri(self.location)
        try:
            with store.open_input_stream(f"{root}/{NOTES}/{name}.json") as file:
                return str(file.read().decode())
        except FileNotFoundError:
            return ""

    def _write_note(self, name: str, text: str) -> None:
        store, root = fs.FileSystem.from_uri(self.location)
        store.create_dir(f"{root}/{NOTES}")
        part = f"{root}/{NOTES}/.{uuid.uuid4()}.part"
        with store.open_output_stream(part) as file:
            file.write(text.encode())
        store.move(part, f"{root}/{NOTES}/{name}.json")


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Reads one Parquet file of a table with the columns of a version of it; older files get nulls for newer ones."""

    schema: pa.Schema
    names: tuple[str, ...]
    where: tuple[tuple[str, str, Any], ...]

    def __call__(self, files: pa.Table) -> Iterator[pa.Table]:
        for file in files["file"].to_pylist():
            yield from self.batches(file, 65_536)

    def batches(self, file: str, batch_size: int) -> Iterator[pa.Table]:
        store, path = fs.FileSystem.from_uri(file)
        needed = [*self.names, *(name for name, _, _ in self.where if name not in self.names)]
        with store.open_input_file(path) as source:
            parquet = pq.ParquetFile(source)
            there = [name for name in needed if name in parquet.schema_arrow.names]
            wanted = pa.schema([self.schema.field(name) for name in needed])
            for batch in parquet.iter_batches(batch_size, columns=there):
                rows = conform(tidy(pa.Table.from_batches([batch])), wanted)
                rows = rows.filter(expression(self.where)) if self.where else rows
                if rows.num_rows:
                    yield rows.select(list(self.names))


def _add_columns(table: DeltaTable, schema: pa.Schema | None) -> None:
    there = {field.name for field in table.schema().fields}
    new = [field for field in schema or () if field.name not in there]
    if new:
        table.alter.add_columns(_as_delta_schema(pa.schema(new)).fields)
        table.update_incremental()


def _as_delta_schema(schema: pa.Schema) -> Schema:
    return Schema.from_arrow(schema)


def _texts(commit: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in commit.items() if isinstance(value, str) and name != "operation"}
