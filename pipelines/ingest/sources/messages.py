"""Messages of streams as rows: a column for each field, one schema for all micro-batches."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from pipelines.ingest.sources.errors import BadSource, first_line, shown
from pipelines.ingest.sources.spec import StreamSpec
from pipelines.ingest.sources.tabular import to_table


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows of a stream, and the position behind them, which must be committed in the same transaction.

    ``committed`` is called after the commit; a broker hears nothing of it before.
    """

    rows: pa.Table
    position: Mapping[str, Any]
    n_messages: int
    n_bytes: int
    committed: Callable[[], None] = field(default=lambda: None)


class Stream(Protocol):
    """A connection to a broker.

    ``batches`` yields micro-batches from a position on until the spec's ``until`` or ``stop`` says enough; it does not
    begin the next one before the last one's ``committed`` was called or it is closed.
    """

    def batches(self, position: Mapping[str, Any], stop: Callable[[], bool]) -> Iterator[MicroBatch]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its payload, and where it came from."""

    payload: bytes
    about: Mapping[str, Any]

    def pack(self) -> bytes:
        """Return the message as the spool keeps it."""
        about = json.dumps(dict(self.about)).encode()
        return len(about).to_bytes(4, "little") + about + self.payload

    @classmethod
    def unpack(cls, content: bytes) -> Message:
        end = 4 + int.from_bytes(content[:4], "little")
        return cls(content[end:], json.loads(content[4:end]))


@dataclass(slots=True)
class Parser:
    """Turns messages into rows; the schema grows with the fields that it has seen, and their types stay."""

    spec: StreamSpec
    types: Mapping[str, pa.DataType]
    log: Callable[[str], None]
    schema: pa.Schema | None = None

    def table(self, messages: Sequence[Message]) -> pa.Table:
        """Return the rows of a micro-batch; a bad message is skipped or ends it, as the spec says."""
        rows = []
        for message in messages:
            try:
                rows.append(self._row(message))
            except BadSource as error:
                if self.spec.bad_messages == "stop":
                    raise
                self.log(f"skipped: {error}")
        if not rows:
            return (self.schema or pa.schema([])).empty_table()
        return self._settled(rows)

    def _row(self, message: Message) -> dict[str, Any]:
        about = dict(message.about)
        where = ", ".join(f"{name} {value}" for name, value in about.items())
        if self.spec.value == "bytes":
            return {"value": message.payload, **about}
        try:
            text = message.payload.decode()
        except UnicodeDecodeError as error:
            raise BadSource(f"message ({where}): byte {error.start}: not UTF-8: write value: bytes") from None
        if self.spec.value == "text":
            return {"value": text, **about}
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadSource(f"message ({where}): {shown(text)} is not JSON: {first_line(error)}") from None
        if not isinstance(value, dict):
            raise BadSource(f"message ({where}): {shown(text)} is no object with a field for each column")
        return {**value, **{f"_{name}" if name in value else name: v for name, v in about.items()}}

    def _settled(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Return rows in the schema so far; a new field widens it, another type is an error that names the row."""
        names = list(dict.fromkeys([*(self.schema.names if self.schema else ()), *(k for row in rows for k in row)]))
        fields = []
        for name in names:
            known = self.schema.field(name).type if self.schema is not None and name in self.schema.names else None
            type_ = self.types.get(name) or known or _seen(rows, name)
            if type_ is not None:
                fields.append(pa.field(name, type_))
        schema = pa.schema(fields)
        left_out = [name for name in names if name not in schema.names]  # null in every message so far
        table = to_table([{k: v for k, v in row.items() if k not in left_out} for row in rows], schema, "messages")
        self.schema = schema
        return table


def _seen(rows: Sequence[Mapping[str, Any]], name: str) -> pa.DataType | None:
    """Return the type of a column from its first values; whole and broken numbers together are broken ones."""
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return None
    if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        return pa.int64() if all(isinstance(v, int) for v in values) else pa.float64()
    if isinstance(values[0], (dict, list)):
        return pa.string() if isinstance(values[0], dict) else pa.array(values).type
    return pa.array(values[:1]).type


def schema_text(schema: pa.Schema | None) -> str:
    """Return a schema as text that a version can carry."""
    return "" if schema is None else base64.b64encode(schema.serialize().to_pybytes()).decode()


def schema_from(text: str) -> pa.Schema | None:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))) if text else None
