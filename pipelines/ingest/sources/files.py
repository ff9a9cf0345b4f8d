"""Files read by Ray Data: a list of parts is dealt out, and each task yields the rows of its parts piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from pipelines.ingest.progress import NO_METER, Meter
from pipelines.ingest.sources import media, tabular
from pipelines.ingest.sources.errors import BadSource, first_line, listed, shown
from pipelines.ingest.sources.listing import File, Files
from pipelines.ingest.sources.spec import SourceSpec
from pipelines.ingest.sources.tfrecord import read_tfrecord
from pipelines.run import Whereabouts

LOOKED_AT = 16
"""Files whose beginning is read to learn the types, before any row is."""
PART_BYTES = 64 << 20
PARTS_PER_CPU = 8
TYPES = {
    "int": "int64", "integer": "int64", "float": "float64", "double": "float64", "text": "string", "str": "string",
    "boolean": "bool", "timestamp": "timestamp[us]", "date": "date32[day]", "datetime": "timestamp[us]",
}  # fmt: skip


def type_of(name: str) -> pa.DataType:
    """Return the Arrow type that a user wrote, such as ``int64``, ``string``, ``timestamp[us, UTC]``."""
    text = TYPES.get(name.strip().lower(), name.strip())
    if text.startswith("timestamp[") and "," in text:
        unit, _, zone = text[len("timestamp[") : -1].partition(",")
        return pa.timestamp(unit.strip(), zone.strip().removeprefix("tz=").strip())
    try:
        return pa.type_for_alias(text)
    except ValueError:
        raise BadSource(
            f"type {name!r} is not known: use int64, float64, string, bool, date, timestamp[us], timestamp[us, UTC], …"
        ) from None


@dataclass(frozen=True, slots=True)
class Part:
    """One file, or a range of a Parquet file's row groups."""

    file: File
    groups: tuple[int, int] | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class ReadParts:
    """Reads parts inside a Ray task."""

    source: SourceSpec
    files: Files
    parts: tuple[tuple[Part, ...], ...]
    schema: pa.Schema | None
    whereabouts: Whereabouts | None = None
    meter: Meter = NO_METER

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[Any]:
        if self.whereabouts is not None:
            self.whereabouts.say()
        for i in batch["part"]:
            for part in self.parts[int(i)]:
                yield from self._rows(part)

    def _rows(self, part: Part) -> Iterator[Any]:
        try:
            n_before = n_rows = n_bytes = 0
            for rows in read_part(part, self.source, self.files, self.schema):
                if isinstance(rows, pa.Table):
                    rows = conform(_named(part), rows, self.schema, self.source, n_before)
                    n_before += rows.num_rows
                n_rows, n_bytes = n_rows + _n_rows(rows), n_bytes + _n_bytes(rows)
                yield rows
            share = part.file.size * part.share / max(1, self.files.size)
            self.meter.read(n_rows, n_bytes, share)
        except BadSource as error:
            if self.source.bad_files == "stop":
                raise
            if self.whereabouts is not None:
                self.whereabouts.reporter.log(f"skipped: {error}")


@dataclass(frozen=True, slots=True)
class FileRows:
    """A Ray Dataset and, where the beginnings tell them, its columns."""

    dataset: Any
    schema: pa.Schema | None


def _n_rows(rows: Any) -> int:
    return rows.num_rows if isinstance(rows, pa.Table) else len(next(iter(rows.values())))


def _n_bytes(rows: Any) -> int:
    return rows.nbytes if isinstance(rows, pa.Table) else sum(column.nbytes for column in rows.values())


def _named(part: Part) -> str:
    groups = f" (from row group {part.groups[0]})" if part.groups else ""
    return part.file.shown + groups


def read_files(
    source: SourceSpec,
    files: Files,
    options: Mapping[str, float],
    n_cpus: int,
    whereabouts: Whereabouts | None,
    meter: Meter = NO_METER,
) -> FileRows:
    """Return the rows of all files; nothing but the beginnings is read before the rows are asked for."""
    schema = schema_of(source, files)
    dealt = deal(files, max(1, n_cpus) * PARTS_PER_CPU)
    read = ReadParts(source, files, tuple(dealt), schema, whereabouts, meter)
    parts = ray.data.from_items([{"part": i} for i in range(len(dealt))], override_num_blocks=len(dealt))
    return FileRows(parts.map_batches(read, batch_size=None, **options), schema)


def deal(files: Files, n: int) -> list[tuple[Part, ...]]:
    """Group files into about ``n`` tasks of like size: ten thousand small ones go together, large ones alone."""
    parts = [part for file in files.files for part in _split(file, files)]
    limit = max(1, min(PART_BYTES, -(-files.size // n)))
    dealt: list[tuple[Part, ...]] = []
    current: list[Part] = []
    size = 0
    for part in parts:
        current.append(part)
        size += part.file.size if part.groups is None else limit
        if size >= limit:
            dealt.append(tuple(current))
            current, size = [], 0
    return [*dealt, tuple(current)] if current else dealt


def _split(file: File, files: Files) -> list[Part]:
    if files.format != "parquet" or file.size <= PART_BYTES:
        return [Part(file)]
    with files.filesystem.open_input_file(file.path) as opened:
        try:
            n_groups = pq.ParquetFile(opened).metadata.num_row_groups
        except (pa.ArrowInvalid, OSError) as error:
            raise BadSource(
                f"{file.shown}: not readable as parquet: {first_line(error)}: is it half-written?"
            ) from None
    step = max(1, -(-n_groups * PART_BYTES // file.size))
    bounds = [(i, min(i + step, n_groups)) for i in range(0, n_groups, step)]
    return [Part(file, groups, (groups[1] - groups[0]) / n_groups) for groups in bounds]


def read_part(part: Part, source: SourceSpec, files: Files, schema: pa.Schema | None) -> Iterator[Any]:
    """Yield the rows of a part: Arrow tables, or batches of arrays."""
    name = part.file.shown
    plain = files.format in ("parquet", "avro", "tfrecord", "images", "audio", "video")
    open_ = partial(_open, files, part.file, None if plain else "detect")
    match files.format:
        case "csv":
            csv = source.csv
            if csv.delimiter is None and ".tsv" in name.lower():
                csv = csv.model_copy(update={"delimiter": "\t"})
            yield from tabular.read_csv(name, open_, schema, csv, min(tabular.BLOCK, part.file.size + 4096))
        case "json":
            yield from tabular.read_json(name, open_, None if source.columns_differ == "fill" else schema)
        case "parquet":
            yield from tabular.read_parquet(name, open_, part.groups)
        case "avro":
            yield from tabular.read_avro(name, open_, None)
        case "text":
            yield from tabular.read_text(name, open_)
        case "tfrecord":
            yield from read_tfrecord(name, open_, None)
        case "images":
            yield media.read_image(name, open_, source.media)
        case "audio":
            yield media.read_audio(name, open_)
        case "video":
            yield from media.read_video(name, open_, source.media)
        case "webdataset":
            yield from media.read_webdataset(name, open_, source.media, None)


def _open(files: Files, file: File, compression: str | None) -> Any:
    try:
        return (
            files.filesystem.open_input_stream(file.path, compression=compression)
            if compression
            else files.filesystem.open_input_file(file.path)
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise BadSource(f"{file.shown}: cannot be opened: {first_line(error)}: was it taken away?") from None


def schema_of(source: SourceSpec, files: Files) -> pa.Schema | None:
    """Return the columns that all files share, from the beginnings of some; None for pictures, sound and video.

    Types that differ only in width become the wider one; ``types`` has the last word.
    """
    if files.format in ("images", "audio", "video", "webdataset"):
        if files.format == "images" and source.media.size is None:
            _same_size(source, files)
        return None
    step = max(1, len(files.files) // LOOKED_AT)
    schemas: list[tuple[str, pa.Schema]] = []
    for file in files.files[::step][:LOOKED_AT]:
        try:
            head = next(iter(_head(source, files, file)))
        except BadSource:
            if source.bad_files == "stop":
                raise
            continue
        except StopIteration:
            continue
        schemas.append((file.shown, head))
    if not schemas:
        raise BadSource(f"{listed([f.shown for f in files.files], 3)}: has no rows")
    if source.columns_differ == "stop":
        for name, schema in schemas[1:]:
            _same_columns(name, schema.names, schemas[0][0], schemas[0][1].names)
    _unique_names(*schemas[0])
    return with_types(_shared([schema for _, schema in schemas]), source)


def _shared(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return all columns with the type that holds the values of every file looked at.

    Where there is none, the type of the first: reading the others then names the row.
    """
    shared: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema.remove_metadata():
            known = shared.setdefault(field.name, field)
            try:
                both = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                continue
            shared[field.name] = both.field(0)
    return pa.schema([pa.field(field.name, field.type) for field in shared.values()])


def with_types(schema: pa.Schema, source: SourceSpec) -> pa.Schema:
    """Return a schema with the types that the user gave; what is unknown is text."""
    if unknown := [name for name in source.types if name not in schema.names]:
        raise BadSource(
            f"types has {unknown[0]!r}, no column of the source: the columns are {listed(schema.names, 20)}"
        )
    fields = []
    for field in schema:
        type_ = type_of(source.types[field.name]) if field.name in source.types else field.type
        if pa.types.is_null(type_):
            type_ = pa.string()
        fields.append(pa.field(field.name, type_))
    return pa.schema(fields)


def _head(source: SourceSpec, files: Files, file: File) -> Iterator[pa.Schema]:
    """Yield the schema of a file's beginning."""
    if files.format == "parquet":
        with _open(files, file, None) as opened:
            try:
                yield pq.read_schema(opened)
            except (pa.ArrowInvalid, OSError) as error:
                raise BadSource(
                    f"{file.shown}: not readable as parquet: {first_line(error)}: is it half-written?"
                ) from None
        return
    for rows in read_part(Part(file), source, files, None):
        schema = rows.schema
        if files.format == "csv":  # Arrow takes text that is not UTF-8 for bytes; reading it as text names the row
            schema = pa.schema(
                [pa.field(f.name, pa.string() if pa.types.is_binary(f.type) else f.type) for f in schema]
            )
        yield schema
        return


def _same_columns(name: str, names: Sequence[str], first: str, expected: Sequence[str]) -> None:
    missing = [column for column in expected if column not in names]
    extra = [column for column in names if column not in expected]
    if missing or extra:
        what = f"lacks the column {missing[0]!r}" if missing else f"has the column {extra[0]!r}"
        raise BadSource(
            f"{name}: {what}, unlike {first}: give all files the same columns, or write columns_differ: fill"
        )


def _unique_names(name: str, schema: pa.Schema) -> None:
    import unicodedata

    seen: dict[str, str] = {}
    for column in schema.names:
        plain = unicodedata.normalize("NFC", column).strip()
        if not plain:
            raise BadSource(f"{name}: has a column without a name: name each column, or give csv: {{columns: [...]}}")
        if plain in seen:
            same = "twice" if seen[plain] == column else f"beside {shown(seen[plain])}, which looks the same"
            raise BadSource(f"{name}: has the column {column!r} {same}: name each column once")
        seen[plain] = column


def conform(name: str, rows: pa.Table, schema: pa.Schema | None, source: SourceSpec, n_before: int = 0) -> pa.Table:
    """Return rows in the shared columns and types; raises BadSource that names file, column and row."""
    if schema is None or rows.schema.equals(schema):
        return rows
    if source.columns_differ == "stop":
        _same_columns(name, rows.schema.names, "the files before", schema.names)
    elif extra := [column for column in rows.schema.names if column not in schema.names]:
        raise BadSource(
            f"{name}: has the column {extra[0]!r}, which none of the files looked at first has: add it by types"
        )
    arrays = []
    for field in schema:
        if field.name not in rows.schema.names:
            arrays.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows[field.name]
        try:
            arrays.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise BadSource(_misfit(name, column, field, error, n_before)) from None
    return pa.Table.from_arrays(arrays, schema=schema)


def _misfit(name: str, column: pa.ChunkedArray, field: pa.Field, error: Exception, n_before: int) -> str:
    for i, value in enumerate(column):
        try:
            value.cast(field.type)
        except (pa.ArrowException, ValueError):
            return (
                f"{name}: row {n_before + i + 1}, column {field.name!r}: {shown(value.as_py())} is no {field.type}; "
                f"if that is right, write types: {{{field.name}: string}}"
            )
    return f"{name}: column {field.name!r} is {column.type}, not {field.type}: {first_line(error)}"


def _same_size(source: SourceSpec, files: Files) -> None:
    some = files.files[:: max(1, len(files.files) // LOOKED_AT)][:LOOKED_AT]
    read = []
    for file in some:
        try:
            read.append((file.shown, media.read_image(file.shown, partial(_open, files, file, None), source.media)))
        except BadSource:
            if source.bad_files == "stop":
                raise
    media.check_shapes([rows["image"][0] for _, rows in read], [name for name, _ in read])
