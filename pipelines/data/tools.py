"""What ``aios data`` does with rows, in the process of whoever asks; see ``aios.tables`` for the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from aios.engines import WorkloadFailed
from aios.errors import Rejected
from pipelines.data.address import Address, is_local, size_of
from pipelines.data.compare import compare, survey
from pipelines.data.fingerprint import Fingerprint, content_hash, fingerprint
from pipelines.data.manifest import MANIFEST, manifest_of
from pipelines.data.reading import opened
from pipelines.data.table import TableError, Write
from pipelines.data.where import Where, parse

PIECE = 2**20


class Tools:
    """The tools over every table format there is."""

    def sample(self, uri: str, n: int, seed: int, where: Sequence[str]) -> list[dict[str, Any]]:
        with _told(uri):
            table, version = opened(uri)
            conditions = _where(where, table.schema(version))
            draw = np.random.default_rng(seed)
            if conditions:
                found = pa.Table.from_batches(list(table.scan(version, None, conditions)), table.schema(version))
                chosen = np.sort(draw.choice(found.num_rows, min(n, found.num_rows), replace=False))
                return [_plain(row) for row in found.take(pa.array(chosen, pa.int64())).to_pylist()]
            total = table.count(version)
            rows = np.sort(draw.choice(total, min(n, total), replace=False)).tolist()
            return [_plain(row) for row in table.take(version, rows).to_pylist()]

    def columns(self, uri: str) -> dict[str, dict[str, Any]]:
        with _told(uri):
            return {name: column.shown() for name, column in survey(*opened(uri)).items()}

    def diff(self, before: str, after: str) -> dict[str, Any]:
        with _told(before):
            one = survey(*opened(before))
        with _told(after):
            two = survey(*opened(after))
        return compare(one, two)

    def profile(self, uri: str, path: Path, name: str) -> None:
        from pipelines.data.profile import write_profile

        with _told(uri):
            table, version = opened(uri)
            write_profile(table.scan(version), path, name)

    def export(self, uri: str, path: Path, where: Sequence[str]) -> int:
        with _told(uri):
            table, version = opened(uri)
            schema = table.schema(version)
            conditions = _where(where, schema)
            part = path.with_name(f".{path.name}.part")
            n = 0
            with _writer(path.suffix.lower(), part, schema) as write:
                for batch in table.scan(version, None, conditions):
                    write(batch)
                    n += batch.num_rows
            part.replace(path)
            return n

    def verify(self, uri: str, digest: str) -> dict[str, Any]:
        with _told(uri):
            table, version = opened(uri)
            if table.format == "parquet":
                from pipelines.files import digest_of

                actual = digest_of(Path(uri)) if not (Path(uri) / "manifest.json").exists() else digest
                return {"recorded": digest, "actual": actual, "same": actual == digest}
            total = sum((fingerprint(batch) for batch in table.scan(version)), Fingerprint())
            actual = content_hash(total, table.schema(version))
            return {"recorded": digest, "actual": actual, "same": actual == digest, "rows": total.rows}

    def erase(self, uri: str, where: Sequence[str], by: str) -> dict[str, Any]:
        with _told(uri):
            table, version = opened(uri)
            conditions = _where(where, table.schema(version))
            if not conditions:
                raise Rejected("nothing says which rows", hint="give --where COLUMN=VALUE")
            n = table.count(version, conditions)
            if not n:
                return {"rows": 0, "uri": uri}
            manifest = manifest_of(uri)
            done = table.delete(conditions, Write("delete", version, {"aios.run": f"erase by {by}"}))
            rows = manifest.get("rows") or {}
            manifest |= {"mode": "erase", "total_rows": done.fingerprint.rows, "fingerprint": str(done.fingerprint)}
            manifest["rows"] = _rows_again(table, done.version, rows)
            manifest["erased"] = {"rows": n, "columns": [name for name, _, _ in conditions], "by": by}
            properties = {MANIFEST: json.dumps(manifest, sort_keys=True, default=str)}
            clean = table.compact(Write("append", done.version, properties))
            address = Address(table.format, table.location, clean.version)
            digest = content_hash(clean.fingerprint, clean.schema)
            return {"rows": n, "uri": str(address), "digest": digest, "meta": manifest}

    def protect(self, uris: Mapping[str, str]) -> None:
        for name, uri in uris.items():
            table, version = opened(uri)
            table.protect(name, version)

    def collect(self, uri: str, keep: Sequence[str], apply: bool, leftovers: bool) -> dict[str, Any]:
        with _told(uri):
            table, _ = opened(uri)
            if table.format == "parquet":
                return {"versions": 0, "bytes": 0, "released": []}
            wanted = {Address.parse(one).version for one in keep}
            tags = table.protected()
            released = sorted(name for name, version in tags.items() if version not in wanted)
            if not apply:
                there = [one.version for one in table.versions()]
                gone = [version for version in there[:-1] if version not in wanted]
                return {"versions": len(gone), "bytes": None, "released": released}
            for version in wanted - set(tags.values()):
                table.protect(f"keep.{version}", version)
            for name in released:
                table.release(name)
            done = table.collect(leftovers)
            return {
                "versions": done.versions,
                "bytes": done.bytes,
                "released": released,
                "left": size_of(table.location),
            }

    def find_text(self, uri: str, text: str) -> list[str]:
        address = Address.parse(uri)
        if not is_local(address.location):
            raise Rejected(f"{address.location} is no folder of this machine", hint="look with the store's own tools")
        files = (path for path in sorted(Path(address.location).rglob("*")) if path.is_file())
        return [str(path) for path in files if _holds(path, text.encode())]


def _holds(path: Path, wanted: bytes) -> bool:
    with path.open("rb") as file:
        before = b""
        while piece := file.read(PIECE):
            if wanted in before + piece:
                return True
            before = piece[-len(wanted) :]
    return False


def _rows_again(table: Any, version: int, rows: Mapping[str, int]) -> dict[str, int]:
    from pipelines.data.describe import rows_by_side

    return rows_by_side(table, version) if rows else {}


def _where(texts: Sequence[str], schema: pa.Schema) -> Where:
    try:
        return [parse(text, schema) for text in texts]
    except ValueError as error:
        raise Rejected(str(error), hint="aios data show NAME lists the columns") from None


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turn what a table says into an error of the command."""
    address = Address.parse(uri)
    if is_local(address.location) and not Path(address.location).exists():
        raise Rejected(
            f"{address.location} is not on this machine", hint="run this where the shared storage is mounted"
        )
    try:
        yield
    except TableError as error:
        raise Rejected(str(error)) from None
    except WorkloadFailed as error:
        raise Rejected(error.message) from None


@contextmanager
def _writer(suffix: str, path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    if suffix == ".parquet":
        with pyarrow.parquet.ParquetWriter(path, schema) as parquet:
            yield parquet.write_batch
    elif suffix == ".csv":
        with pyarrow.csv.CSVWriter(path, schema) as csv:
            yield csv.write
    elif suffix in (".jsonl", ".json"):
        with path.open("w", encoding="utf-8") as file:

            def write(batch: pa.RecordBatch) -> None:
                for row in batch.to_pylist():
                    file.write(json.dumps(_plain(row), ensure_ascii=False) + "\n")

            yield write
    else:
        raise Rejected(f"{path.name}: no format {suffix or 'without an ending'}", hint="use .parquet, .csv or .jsonl")


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
