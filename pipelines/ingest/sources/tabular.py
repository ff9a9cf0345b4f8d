"""Readers of rows: CSV, JSON, Parquet, Avro and text, as Arrow tables piece by piece; errors name row and column."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipelines.ingest.sources.errors import BadSource, first_line, shown
from pipelines.ingest.sources.spec import CsvOptions

BLOCK = 8 << 20
LARGEST_ROW = 512 << 20
ROWS = 16_384
STRADDLES = re.compile(r"straddl|block_size|CSV parser got out of sync")
OF_COLUMN = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?(.*)", re.DOTALL)
MISFIT = re.compile(r"(?:Row #(\d+): )?Expected (\d+) columns, got (\d+)")

Table = pa.Table
Open = Callable[[], Any]


def read_csv(
    name: str, open_: Open, schema: pa.Schema | None, options: CsvOptions, block: int = BLOCK
) -> Iterator[Table]:
    """Yield the rows of a CSV file; ``schema`` are the types that all files of the source share."""
    n_rows = 0
    while True:
        n_again = n_rows
        try:
            with _text(name, open_, options.encoding) as file:
                for batch in _csv(file, schema, options, block):
                    new = batch.slice(min(n_again, batch.num_rows))
                    n_again -= batch.num_rows - new.num_rows
                    n_rows += new.num_rows
                    if new.num_rows:
                        yield pa.Table.from_batches([new])
            return
        except UnicodeDecodeError as error:
            raise BadSource(
                f"{name}: after row {n_rows}: not {options.encoding}: byte {error.object[error.start]:#04x}: "
                "say how it is written by csv: {encoding: …}"
            ) from None
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if STRADDLES.search(str(error)) and block < LARGEST_ROW:
                block *= 8  # a row longer than a block: once more from the start, past the rows that were read
                continue
            raise _csv_problem(name, error, schema, options, n_rows) from None


def _csv(file: Any, schema: pa.Schema | None, options: CsvOptions, block: int) -> Iterator[pa.RecordBatch]:
    convert = pacsv.ConvertOptions(strings_can_be_null=True, timestamp_parsers=[pacsv.ISO8601])
    if schema is not None:
        convert.column_types = schema
    if options.null_values is not None:
        convert.null_values = list(options.null_values)
    read = pacsv.ReadOptions(block_size=block, use_threads=False, column_names=options.columns)
    parse = pacsv.ParseOptions(delimiter=options.delimiter or ",", newlines_in_values=True)
    with pacsv.open_csv(file, read, parse, convert) as reader:
        yield from reader


def _csv_problem(name: str, error: Exception, schema: pa.Schema | None, options: CsvOptions, n_rows: int) -> BadSource:
    text = first_line(error)
    header = 0 if options.columns else 1
    if match := OF_COLUMN.search(str(error)):
        column = schema.names[int(match[1])] if schema is not None and int(match[1]) < len(schema) else f"#{match[1]}"
        row = f"row {int(match[2]) - header}, " if match[2] else f"after row {n_rows}, "
        what = match[3].strip().splitlines()[0]
        if "UTF8" in what:
            return BadSource(
                f"{name}: {row}column {column!r}: not UTF-8: say how it is written, such as csv: {{encoding: latin-1}}"
            )
        return BadSource(f"{name}: {row}column {column!r}: {what}; if that is right, write types: {{{column}: string}}")
    if match := MISFIT.search(str(error)):
        row = f"row {int(match[1]) - header}" if match[1] else f"after row {n_rows}"
        return BadSource(
            f"{name}: {row}: has {match[3]} columns, not {match[2]} as the rows before: is it half-written?"
        )
    if "Empty CSV" in text:
        return BadSource(f"{name}: has no rows")
    return BadSource(f"{name}: after row {n_rows}: not readable as csv: {text}")


@contextmanager
def _text(name: str, open_: Open, encoding: str) -> Iterator[Any]:
    """Open a file as UTF-8 bytes, whatever it is written in."""
    try:
        codec = codecs.lookup(encoding)
    except LookupError:
        raise BadSource(f"csv.encoding {encoding!r}: no such encoding: use utf-8, utf-16, latin-1, cp1252, …") from None
    with open_() as file:
        quotes = _Quotes(file if codec.name == "utf-8" else pa.transcoding_input_stream(file, codec.name, "utf-8"))
        yield quotes
        if quotes.n % 2:
            raise BadSource(f'{name}: ends inside a quoted value (an odd number of "): is it half-written?')


def read_json(name: str, open_: Open, schema: pa.Schema | None) -> Iterator[Table]:
    """Yield the rows of a JSON file: one object a line, or one array of objects."""
    with open_() as raw:
        file = io.BufferedReader(_Raw(raw), 1 << 20)
        start = file.peek(64).lstrip(b"\xef\xbb\xbf").lstrip()[:1]
        rows = _array(name, file.read()) if start == b"[" else _lines(name, file)
        pending: list[dict[str, Any]] = []
        n_bytes = n_before = 0
        for size, row in rows:
            pending.append(row)
            n_bytes += size
            if len(pending) >= ROWS or n_bytes >= BLOCK:
                yield to_table(pending, schema, name, n_before)
                n_before += len(pending)
                pending, n_bytes = [], 0
        if pending:
            yield to_table(pending, schema, name, n_before)
        elif n_before == 0:
            raise BadSource(f"{name}: has no rows")


class _Raw(io.RawIOBase):
    """An Arrow file as Python's, so that its lines can be read."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        got = self._file.read(len(buffer))
        buffer[: len(got)] = got
        return len(got)


class _Quotes(_Raw):
    """Counts quotes as they are read: Arrow takes a value that is never closed for one that ends with the file."""

    n = 0

    def readinto(self, buffer: Any) -> int:
        got = super().readinto(buffer)
        self.n += bytes(buffer[:got]).count(b'"')
        return got


def _lines(name: str, file: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(file, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            yield len(line), _object(name, number, _parse(name, text, f"line {number}"))


def _array(name: str, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    values = _parse(name, content.removeprefix(b"\xef\xbb\xbf"), "the array")
    for number, value in enumerate(values, 1):
        yield 0, _object(name, number, value)


def _parse(name: str, text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise BadSource(f"{name}: {where}: byte {error.start}: not UTF-8: write it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise BadSource(f"{name}: {where}: not JSON: {first_line(error)}: is it half-written?") from None


def _object(name: str, number: int, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSource(f"{name}: row {number}: is {shown(value)}, not an object with a field for each column")
    return value


def to_table(rows: list[dict[str, Any]], schema: pa.Schema | None, name: str, n_before: int = 0) -> Table:
    """Return rows as a table of the schema (None: as they are); raises BadSource naming row and column."""
    columns = schema.names if schema is not None else list(dict.fromkeys(key for row in rows for key in row))
    if schema is not None:
        for i, row in enumerate(rows):
            if extra := [key for key in row if key not in schema.names]:
                raise BadSource(
                    f"{name}: row {n_before + i + 1}: column {extra[0]!r} is new here; the rows before have "
                    f"{shown(', '.join(schema.names))}: give one schema to all rows, or write columns_differ: fill"
                )
    arrays = []
    for column in columns:
        values = [row.get(column) for row in rows]
        type_ = schema.field(column).type if schema is not None else None
        arrays.append(_array_of(values, type_, column, name, n_before))
    return pa.table(arrays, names=columns)


def _array_of(values: list[Any], type_: pa.DataType | None, column: str, name: str, n_before: int) -> pa.Array:
    try:
        return _convert(values, type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, ValueError) as error:
        for i, value in enumerate(values):  # slowly, to name the row
            try:
                _convert([value], type_ or _convert(values[:1], None).type)
            except (pa.ArrowException, OverflowError, ValueError):
                wanted = str(type_ or _convert(values[:1], None).type)
                raise BadSource(
                    f"{name}: row {n_before + i + 1}, column {column!r}: {shown(value)} is no {wanted}; "
                    f"if that is right, write types: {{{column}: string}}"
                ) from None
        raise BadSource(f"{name}: column {column!r}: {first_line(error)}") from None


def _convert(values: list[Any], type_: pa.DataType | None) -> pa.Array:
    if type_ is not None and pa.types.is_string(type_):
        values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
    elif type_ is not None and pa.types.is_floating(type_):
        values = [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in values]
    elif type_ is not None and pa.types.is_temporal(type_) and any(isinstance(v, str) for v in values):
        return pa.array(values, pa.string()).cast(type_)
    return pa.array(values, type_)


def read_parquet(
    name: str, open_: Open, groups: tuple[int, int] | None = None, batch_rows: int = ROWS
) -> Iterator[Table]:
    """Yield the rows of a Parquet file, or of a range of its row groups."""
    with open_() as raw:
        try:
            file = pq.ParquetFile(raw)
            chosen = range(*groups) if groups else range(file.metadata.num_row_groups)
            for batch in file.iter_batches(batch_size=batch_rows, row_groups=list(chosen), use_threads=False):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, OSError, pa.ArrowNotImplementedError) as error:
            raise BadSource(f"{name}: not readable as parquet: {first_line(error)}: is it half-written?") from None


def read_avro(name: str, open_: Open, schema: pa.Schema | None) -> Iterator[Table]:
    """Yield the rows of an Avro file, block by block."""
    import fastavro

    n_rows = 0
    with open_() as raw:
        pending: list[dict[str, Any]] = []
        try:
            for record in fastavro.reader(io.BufferedReader(_Raw(raw), 1 << 20)):
                pending.append(_object(name, n_rows + len(pending) + 1, record))
                if len(pending) >= ROWS:
                    yield to_table(pending, schema, name, n_rows)
                    n_rows, pending = n_rows + len(pending), []
        except (ValueError, EOFError, KeyError, IndexError, StopIteration, OSError) as error:
            at = n_rows + len(pending)
            raise BadSource(
                f"{name}: after row {at}: not readable as avro: {first_line(error)}: is it half-written?"
            ) from None
        if pending or n_rows == 0:
            yield to_table(pending, schema, name, n_rows)


def read_text(name: str, open_: Open) -> Iterator[Table]:
    """Yield the lines of a text file."""
    number = 0
    with open_() as raw:
        pending: list[str] = []
        for number, line in enumerate(io.BufferedReader(_Raw(raw), 1 << 20), 1):
            try:
                pending.append(line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n"))
            except UnicodeDecodeError as error:
                raise BadSource(f"{name}: row {number}, byte {error.start}: not UTF-8: write it as UTF-8") from None
            if len(pending) >= ROWS:
                yield pa.table({"text": pending})
                pending = []
        if pending:
            yield pa.table({"text": pa.array(pending, pa.string())})
