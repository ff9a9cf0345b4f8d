"""Databases behind SQLAlchemy: a table or a query, read in parallel by ranges of a key, or only what is newer."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import ray.data
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from pipelines.ingest.progress import NO_METER, Meter
from pipelines.ingest.sources.allowed import Allowed
from pipelines.ingest.sources.errors import BadSource, first_line, listed
from pipelines.ingest.sources.files import with_types
from pipelines.ingest.sources.secret import secret, without
from pipelines.ingest.sources.spec import SourceSpec, SqlSpec
from pipelines.ingest.sources.tabular import to_table
from pipelines.run import Whereabouts

FETCH = 8_192
LOOKED_AT = 1_000
ARROW_OF = (
    (sa.Boolean, pa.bool_()), (sa.Integer, pa.int64()), (sa.Float, pa.float64()), (sa.Numeric, pa.float64()),
    (sa.DateTime, pa.timestamp("us")), (sa.Date, pa.date32()), (sa.LargeBinary, pa.binary()), (sa.String, pa.string()),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Range:
    """A part of the rows: those whose ``column`` is at least ``low`` and below ``high`` (None: no bound)."""

    low: Any = None
    high: Any = None
    nulls: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """What is newer than ``after`` and not newer than ``upto``, by the watermark's column."""

    column: str
    after: Any
    upto: Any
    including: bool = False


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of a database that were found to be there: how they are split, their types, and the new watermark."""

    ranges: tuple[Range, ...]
    schema: pa.Schema
    window: Window | None
    n_rows: int


@dataclass(frozen=True, slots=True)
class ReadRanges:
    """Reads ranges inside a Ray task, each over a connection of its own."""

    source: SourceSpec
    records: Records
    allowed: Allowed
    whereabouts: Whereabouts | None = None
    meter: Meter = NO_METER

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[pa.Table]:
        if self.whereabouts is not None:
            self.whereabouts.say()
        for i in batch["part"]:
            yield from self._rows(self.records.ranges[int(i)])

    def _rows(self, part: Range) -> Iterator[pa.Table]:
        spec = _spec(self.source)
        with Database(spec, self.allowed) as database:
            n_before = 0
            for rows in database.rows(part, self.records.window):
                table = to_table(rows, self.records.schema, str(self.source), n_before)
                self.meter.read(len(rows), table.nbytes, len(rows) / max(1, self.records.n_rows))
                yield table
                n_before += len(rows)


def read_sql(
    source: SourceSpec,
    records: Records,
    allowed: Allowed,
    options: Mapping[str, float],
    whereabouts: Whereabouts | None,
    meter: Meter = NO_METER,
) -> ray.data.Dataset:
    n = len(records.ranges)
    parts = ray.data.from_items([{"part": i} for i in range(n)], override_num_blocks=n)
    return parts.map_batches(ReadRanges(source, records, allowed, whereabouts, meter), batch_size=None, **options)


def look(source: SourceSpec, allowed: Allowed, after: Any, keyed: bool) -> Records | None:
    """Ask the database what there is; None where nothing is newer than ``after``. Raises BadSource.

    Where rows have a key, those of the very watermark are read again: others may have come in at the same time.
    """
    spec = _spec(source)
    with Database(spec, allowed) as database:
        window = None
        if spec.watermark is not None:
            upto = database.largest(spec.watermark)
            if upto is None or (after is not None and not upto > after):
                return None
            window = Window(spec.watermark, after, upto, keyed)
        schema = with_types(database.schema(window), source)
        n_rows = database.count(window)
        if n_rows == 0 and window is None:
            raise BadSource(f"{source}: has no rows")
        return Records(database.ranges(window), schema, window, n_rows)


class Database:
    """A connection, read only as far as the database can be told so."""

    def __init__(self, spec: SqlSpec, allowed: Allowed) -> None:
        self._spec = spec
        self._password = secret(spec.password)
        self._name = f"{make_url(spec.url).render_as_string(hide_password=True)}"
        url = self._url(allowed)
        try:
            self._engine = sa.create_engine(url, connect_args=_timeouts(url, spec.timeout))
        except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
            raise BadSource(f"{self._name}: {first_line(error)}: see sql.url") from None
        except ModuleNotFoundError as error:
            raise BadSource(
                f"{self._name}: the driver {error.name!r} is not installed on this node: install it, such as "
                "aios[databases] for PostgreSQL"
            ) from None
        self._connection: sa.Connection | None = None

    def __enter__(self) -> Database:
        with self._told("cannot connect"):
            self._connection = self._engine.connect()
        return self

    def __exit__(self, *error: object) -> None:
        if self._connection is not None:
            self._connection.close()
        self._engine.dispose()

    def rows(self, part: Range, window: Window | None, most: int | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield rows in lists of bounded length."""
        query = self._query(window)
        if part.nulls:
            query = query.where(self._column(self._spec.partition).is_(None))
        if part.low is not None:
            query = query.where(self._column(self._spec.partition) >= part.low)
        if part.high is not None:
            query = query.where(self._column(self._spec.partition) < part.high)
        if most is not None:
            query = query.limit(most)
        with self._told("cannot be read"):
            assert self._connection is not None, "rows are read inside with"
            result = self._connection.execution_options(yield_per=FETCH).execute(query)
            for chunk in result.mappings().partitions(FETCH):
                yield [{name: plain(value) for name, value in row.items()} for row in chunk]

    def schema(self, window: Window | None) -> pa.Schema:
        """Return the columns, their types from the database where it says them, else from the first rows."""
        sample = next(self.rows(Range(), window, LOOKED_AT), [])
        known = self._declared()
        with self._told("cannot be read"):
            assert self._connection is not None, "asked inside with"
            names = list(self._connection.execute(self._query(window).limit(0)).keys())
        doubled = [name for i, name in enumerate(names) if name in names[:i]]
        if doubled:
            raise BadSource(f"{self._name}: two columns are called {doubled[0]!r}: rename one in the query")
        fields = []
        for name in names:
            values = [row[name] for row in sample if row[name] is not None]
            fields.append(pa.field(name, known.get(name) or _type_of(values)))
        return pa.schema(fields)

    def count(self, window: Window | None) -> int:
        return int(self._one(sa.select(sa.func.count()).select_from(self._query(window).subquery())))

    def largest(self, column: str) -> Any:
        return self._one(sa.select(sa.func.max(self._column(column))).select_from(self._rows()))

    def ranges(self, window: Window | None) -> tuple[Range, ...]:
        """Return ranges of the partition's column of like width, and one for rows that have none."""
        if self._spec.partition is None or self._spec.parts == 1:
            return (Range(),)
        name = self._column(self._spec.partition).name
        rows = self._query(window).subquery()
        column = rows.c[name]
        low, high, n_all, n_set = self._row(
            sa.select(sa.func.min(column), sa.func.max(column), sa.func.count(), sa.func.count(column))
        )
        if low is None:
            return (Range(),)
        cuts = cuts_between(low, high, self._spec.parts)
        if cuts is None:
            raise BadSource(
                f"{self._name}: sql.partition {self._spec.partition!r} holds {type(low).__name__}: name a column of "
                "whole numbers or times"
            )
        bounds = [None, *cuts, None]
        ranges = [Range(a, b) for a, b in pairwise(bounds)]
        return (*ranges, Range(nulls=True)) if n_set < n_all else tuple(ranges)

    def _query(self, window: Window | None) -> sa.Select[Any]:
        query = sa.select(sa.text("*")).select_from(self._rows())
        if window is None:
            return self._named(query)
        column = self._column(window.column)
        query = self._named(query).where(column <= window.upto)
        if window.after is not None:
            query = query.where(column >= window.after if window.including else column > window.after)
        return query

    def _named(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """Return the query with its columns by name, so that conditions on them can be written."""
        return sa.select(*(sa.column(name) for name in self._names())).select_from(self._rows())

    def _rows(self) -> Any:
        if self._spec.table is not None:
            schema, _, name = self._spec.table.rpartition(".")
            return sa.table(name, schema=schema or None)
        query = (self._spec.query or "").strip().rstrip(";").replace(":", "\\:")  # a colon is no parameter here
        return sa.text(f"({query}) AS aios_rows")

    def _names(self) -> list[str]:
        if not hasattr(self, "_columns"):
            with self._told("cannot be read"):
                assert self._connection is not None, "asked inside with"
                self._columns = list(
                    self._connection.execute(sa.select(sa.text("*")).select_from(self._rows()).limit(0)).keys()
                )
        return self._columns

    def _column(self, name: str | None) -> Any:
        if name not in self._names():
            raise BadSource(f"{self._name}: no column {name!r}: the columns are {listed(self._names(), 20)}")
        return sa.column(name)

    def _declared(self) -> dict[str, pa.DataType]:
        """Return the types that the database declares of a table's columns, where they are plain ones."""
        if self._spec.table is None:
            return {}
        schema, _, name = self._spec.table.rpartition(".")
        found: dict[str, pa.DataType] = {}
        with self._told("cannot be read"):
            assert self._connection is not None, "asked inside with"
            for column in sa.inspect(self._connection).get_columns(name, schema or None):
                for kind, arrow in ARROW_OF:
                    if isinstance(column["type"], kind):
                        zoned = getattr(column["type"], "timezone", False)
                        found[column["name"]] = pa.timestamp("us", "UTC") if zoned else arrow
                        break
        return found

    def _one(self, query: Any) -> Any:
        return plain(self._row(query)[0])

    def _row(self, query: Any) -> Sequence[Any]:
        with self._told("cannot be read"):
            assert self._connection is not None, "asked inside with"
            return [plain(value) for value in self._connection.execute(query).one()]

    def _url(self, allowed: Allowed) -> URL:
        url = make_url(self._spec.url)
        if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
            path = allowed.path(str(url.database))
            if not path.is_file():
                raise BadSource(f"{self._name}: no such file on this node: give a path that every node can read")
            return url.set(database=f"file:{path}", query={**url.query, "mode": "ro", "uri": "true"})
        return url.set(password=self._password) if self._password is not None else url

    def _told(self, what: str) -> _Told:
        return _Told(self._name, what, self._password)


class _Told:
    """Turns what a driver raises into the user's words, without the password."""

    def __init__(self, name: str, what: str, password: str | None) -> None:
        self._name, self._what, self._password = name, what, password

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, sa.exc.SQLAlchemyError):
            cause = getattr(error, "orig", None) or error
            why = without(first_line(cause), [self._password])
            raise BadSource(f"{self._name}: {self._what}: {why}") from None


def plain(value: Any) -> Any:
    """Return a database's value as one that Arrow takes."""
    match value:
        case decimal.Decimal():
            return float(value)
        case uuid.UUID():
            return str(value)
        case dict() | list():
            return json.dumps(value, ensure_ascii=False, default=str)
        case memoryview():
            return bytes(value)
        case dt.datetime() if value.tzinfo is not None:
            return value.astimezone(dt.UTC)
    return value


def cuts_between(low: Any, high: Any, n: int) -> list[Any] | None:
    """Return up to n - 1 values that cut ``low..high`` into ranges of like width; None where that makes no sense."""
    if isinstance(low, bool) or not isinstance(low, (int, float, dt.datetime, dt.date)):
        return None
    if isinstance(low, int):
        cuts = [low + (high - low + 1) * i // n for i in range(1, n)]
    else:
        cuts = [low + (high - low) * (i / n) for i in range(1, n)]
    return sorted({cut for cut in cuts if low < cut <= high})


def _spec(source: SourceSpec) -> SqlSpec:
    assert source.sql is not None, "a source of rows in a database"
    return source.sql


def _type_of(values: Sequence[Any]) -> pa.DataType:
    if not values:
        return pa.string()
    if {type(value) for value in values} == {int, float}:
        return pa.float64()
    try:
        type_ = pa.array(values).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()
    return pa.timestamp("us", type_.tz) if pa.types.is_timestamp(type_) else type_


def _timeouts(url: URL, timeout_s: float) -> dict[str, Any]:
    match url.get_backend_name():
        case "sqlite":
            return {"timeout": timeout_s}
        case "postgresql" | "mysql" | "mariadb":
            return {"connect_timeout": max(1, int(timeout_s))}
    return {}
