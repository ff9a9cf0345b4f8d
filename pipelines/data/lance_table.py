"""Tables in the Lance format, on its public interface alone.

A commit of Lance is laid on top of whatever stands newest. So a writer whose base is not the newest first lays a
copy of its base on top (``Restore`` moves no data), and looks afterwards whether its own commit came right behind;
where somebody else came between, it begins again. What was laid on top in vain is never published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import lance
import pyarrow as pa

from pipelines.data.address import size_of
from pipelines.data.evolution import conform, evolved, tidied, tidy
from pipelines.data.fingerprint import Fingerprint, fingerprint
from pipelines.data.keys import NOTHING, check_key, gathered, matching, schema_of
from pipelines.data.table import ROWS, Collected, Commit, Conflict, TableError, TableVersion, Write, fingerprint_of
from pipelines.data.where import Where, sql

TRIES = 50
BATCH_BYTES = 32 * 2**20
"""About how much is read at once."""
Operation = lance.LanceOperation.BaseOperation


class LanceTable:
    """A Lance table at a path or URL; see ``Table`` for what each method promises."""

    format = "lance"

    def __init__(self, location: str) -> None:
        self.location = location

    # Writing.

    def write(self, rows: Any, write: Write, **options: Any) -> Commit:
        if write.mode in ("insert", "upsert", "delete"):
            return self._merge(rows, write)
        from pipelines.data.lance_sink import LanceSink

        schema, onto, before = write.schema, None, Fingerprint()
        if write.mode == "append" and write.base is not None:
            before = fingerprint_of(self, write.base)
            schema = evolved(self.schema(write.base), tidied(schema or schema_of(rows)))
            onto = self._brought_on_top(write, schema).version
            write = replace(write, base=onto)
        sink = LanceSink(self.location, onto, schema, write.rows_per_file, self._committer(write, before))
        if isinstance(rows, pa.Table):
            sink.finish([sink.write([rows], None)])
        else:
            rows.write_datasink(sink, ray_remote_args=options or None)
        if sink.committed is None:
            raise TableError(NOTHING)
        return sink.committed

    def _committer(
        self, write: Write, before: Fingerprint
    ) -> Callable[[list[Any], pa.Schema, Fingerprint, int], Commit]:
        def commit(fragments: list[Any], schema: pa.Schema, new: Fingerprint, n_bytes: int) -> Commit:
            operation: Operation
            if write.mode == "append" and write.base is not None:
                operation = lance.LanceOperation.Append(fragments)
            else:
                operation = lance.LanceOperation.Overwrite(schema, fragments)
            after = self._commit(write, lambda _: operation, before + new, schema)
            return Commit(after.version, before + new, after.schema, n_bytes)

        return commit

    def _merge(self, rows: Any, write: Write) -> Commit:
        """Insert, upsert or delete by key, from rows that fit in this process's memory."""
        if write.base is None and write.mode == "delete":
            raise TableError(f"{self.location}: there is no version to delete from")
        new = tidy(gathered(rows))
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
        added = fingerprint(new) if write.mode == "upsert" else Fingerprint()
        total = fingerprint_of(self, write.base) - gone + added

        def operation(ds: lance.LanceDataset) -> Operation:
            builder = ds.merge_insert(list(write.key))
            if write.mode == "delete":
                builder = builder.when_matched_delete()
            else:
                builder = builder.when_matched_update_all().when_not_matched_insert_all()
            return builder.execute_uncommitted(new)[0].operation

        after = self._commit(write, operation, total, schema if write.mode == "upsert" else before)
        return Commit(after.version, total, after.schema, new.nbytes)

    def delete(self, where: Where, write: Write) -> Commit:
        assert write.base is not None, "rows are deleted from a version"
        gone = sum((fingerprint(batch) for batch in self.scan(write.base, where=where)), Fingerprint())
        total = fingerprint_of(self, write.base) - gone

        def operation(ds: lance.LanceDataset) -> Operation:
            changed, empty = [], []
            for fragment in ds.get_fragments():
                after = fragment.delete(sql(where))
                if after is None:
                    empty.append(fragment.fragment_id)
                elif after.to_json() != fragment.metadata.to_json():
                    changed.append(after)
            return lance.LanceOperation.Delete(changed, empty, sql(where))

        after = self._commit(write, operation, total, self.schema(write.base))
        return Commit(after.version, total, after.schema, 0)

    def compact(self, write: Write) -> Commit:
        assert write.base is not None, "a version is compacted"
        total = fingerprint_of(self, write.base)
        ds = self._brought_on_top(write)
        ds.optimize.compact_files(materialize_deletions=True, materialize_deletions_threshold=0.0, num_threads=2)
        ds = self._latest()
        actual = sum((fingerprint(batch) for batch in self.scan(ds.version)), Fingerprint())
        if actual != total:
            raise TableError(
                f"{self.location}: compaction changed the rows ({actual} for {total}): nothing was published"
            )
        return self._annotate(replace(write, mode="append", base=ds.version), total)

    def annotate(self, write: Write) -> Commit:
        assert write.base is not None, "a version is described"
        return self._annotate(replace(write, mode="append"), fingerprint_of(self, write.base))

    def _annotate(self, write: Write, total: Fingerprint) -> Commit:
        after = self._commit(write, lambda _: lance.LanceOperation.Append([]), total, None)
        return Commit(after.version, total, after.schema, 0)

    def _commit(
        self, write: Write, operation: Callable[[Any], Operation], total: Fingerprint, schema: pa.Schema | None
    ) -> lance.LanceDataset:
        """Commit so that the table is the base and this one operation; raises Conflict."""
        properties = {**write.properties, ROWS: str(total)}
        for _ in range(TRIES):
            ds = self._latest_or_none()
            write.guard()
            try:
                if write.mode != "overwrite" and write.base is not None:
                    ds = self._on_top(ds, write, schema)
                at = 0 if ds is None else ds.version
                after = self._append(at, operation(ds), properties)
            except OSError as error:
                if not _is_conflict(error):
                    raise
                continue
            if write.mode == "overwrite" or write.base is None or after.version == at + 1:
                return after
        raise self._outrun()

    def _brought_on_top(self, write: Write, schema: pa.Schema | None = None) -> Any:
        """Return the table with the base on top, however many others write meanwhile; raises Conflict."""
        for _ in range(TRIES):
            try:
                return self._on_top(self._latest(), write, schema)
            except OSError as error:
                if not _is_conflict(error):
                    raise
        raise self._outrun()

    def _outrun(self) -> Conflict:
        return Conflict(f"{self.location}: other writers were faster {TRIES} times: try again when there are fewer")

    def _on_top(self, ds: lance.LanceDataset | None, write: Write, schema: pa.Schema | None = None) -> Any:
        """Return the table with the base as its newest commit, and the new columns that it is to get."""
        assert ds is not None, f"{self.location} has a version {write.base} and is gone"
        if ds.version != write.base:
            ds = self._append(ds.version, lance.LanceOperation.Restore(write.base), {})
        new = [field for field in schema or () if field.name not in ds.schema.names]
        if new:
            ds.add_columns(new)
            ds.checkout_latest()
        return ds

    def _append(self, at: int, operation: Operation, properties: Mapping[str, str]) -> lance.LanceDataset:
        transaction = lance.Transaction(at, operation, transaction_properties=dict(properties))
        return lance.LanceDataset.commit(self.location, transaction, max_retries=0, enable_stable_row_ids=True)

    # Reading.

    def read(self, version: int, columns: Sequence[str] | None = None, where: Where = (), **options: Any) -> Any:
        import ray.data
        from ray.data.expressions import col

        needed = None if columns is None else list(dict.fromkeys([*columns, *(name for name, _, _ in where)]))
        few = self._at(version).head(16, columns=needed)
        batch = max(16, min(65_536, BATCH_BYTES * few.num_rows // max(few.nbytes, 1)))
        scanner = {"batch_size": batch}  # small ones cost Ray a block each
        rows = ray.data.read_lance(self.location, version=version, columns=needed, scanner_options=scanner, **options)
        for name, operator, value in where:
            rows = rows.filter(expr=_COMPARED[operator](col(name), value), **options)
        return rows if columns is None or needed == list(columns) else rows.select_columns(list(columns))

    def scan(
        self, version: int, columns: Sequence[str] | None = None, where: Where = (), batch_size: int = 16_384
    ) -> Iterator[pa.RecordBatch]:
        chosen = None if columns is None else list(columns)
        yield from self._at(version).to_batches(columns=chosen, filter=sql(where) or None, batch_size=batch_size)

    def take(self, version: int, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        ds = self._at(version)
        lacking = sorted(set(columns or ()) - set(ds.schema.names))
        if lacking:  # Lance would panic
            raise TableError(f"{self.location}: no column {lacking[0]!r}: the columns are {', '.join(ds.schema.names)}")
        return ds.take(pa.array(rows, pa.int64()), columns=None if columns is None else list(columns))

    def schema(self, version: int) -> pa.Schema:
        return self._at(version).schema

    def count(self, version: int, where: Where = ()) -> int:
        return int(self._at(version).count_rows(sql(where) or None))

    # History.

    def versions(self) -> tuple[TableVersion, ...]:
        ds = self._latest_or_none()
        if ds is None:
            return ()
        found = ((v["version"], v["timestamp"].timestamp()) for v in ds.versions())
        return tuple(TableVersion(number, at_s, self.properties(number)) for number, at_s in found)

    def properties(self, version: int) -> Mapping[str, str]:
        transaction = self._at(version).read_transaction(version)
        return dict(transaction.transaction_properties or {}) if transaction is not None else {}

    def protect(self, name: str, version: int) -> None:
        tags = self._latest().tags
        if name in tags.list():
            tags.update(name, version)
        else:
            tags.create(name, version)

    def release(self, name: str) -> None:
        tags = self._latest().tags
        if name in tags.list():
            tags.delete(name)

    def protected(self) -> Mapping[str, int]:
        ds = self._latest_or_none()
        return {} if ds is None else {name: int(tag["version"]) for name, tag in ds.tags.list().items()}

    def collect(self, leftovers: bool = False) -> Collected:
        ds = self._latest_or_none()
        if ds is None:
            return Collected(0, 0)
        before = len(ds.versions()), size_of(self.location)
        ds.cleanup_old_versions(
            older_than=timedelta(0), delete_unverified=leftovers, error_if_tagged_old_versions=False
        )
        return Collected(before[0] - len(self._latest().versions()), before[1] - size_of(self.location))

    def _at(self, version: int) -> lance.LanceDataset:
        try:
            return lance.dataset(self.location, version=version)
        except (ValueError, OSError) as error:
            if not _is_missing(error):
                raise
            raise TableError(
                f"{self.location}: there is no table version {version} any more: its bytes were collected or erased"
            ) from None

    def _latest(self) -> lance.LanceDataset:
        return lance.dataset(self.location)

    def _latest_or_none(self) -> lance.LanceDataset | None:
        try:
            return self._latest()
        except (ValueError, OSError) as error:
            if not _is_missing(error):
                raise
            return None


_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "in": lambda column, value: column.is_in(list(value)),
}


def _is_missing(error: Exception) -> bool:
    return "not found" in str(error).lower()


def _is_conflict(error: Exception) -> bool:
    text = str(error).lower()
    return "conflict" in text or "already exists" in text or ("0.manifest" in text and "not found" in text)
