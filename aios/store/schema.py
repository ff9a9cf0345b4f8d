"""The tables of a log in a SQL database, how new ones are made, and how older ones are brought up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from aios.errors import CorruptLog, StoreError
from aios.store.chain import GENESIS
from aios.store.databases import RESTORE, creating

SCHEMA = 2
"""1: events and meta. 2: snapshots beside them."""

ROWS = 500
"""How many rows one statement takes: seven values each, of at most 32,766."""

EventRow = Row[tuple[int, int, float, str, str | None, str, str]]
MetaRow = Row[tuple[int, int, int, int, str]]

tables = sa.MetaData()
_Seq = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite keys its rows by INTEGER alone

events_table = sa.Table(
    "events",
    tables,
    sa.Column("seq", _Seq, primary_key=True, autoincrement=False),
    sa.Column("epoch", _Seq, nullable=False),
    sa.Column("at_s", sa.Double, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("workload", sa.Text, nullable=True, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
)
meta_table = sa.Table(
    "meta",
    tables,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("epoch", _Seq, nullable=False),
    sa.Column("head_seq", _Seq, nullable=False),
    sa.Column("head_checksum", sa.Text, nullable=False),
)
snapshots_table = sa.Table(
    "snapshots",
    tables,
    sa.Column("seq", _Seq, primary_key=True, autoincrement=False),
    sa.Column("epoch", _Seq, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
)


def insert_events(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows of events, each with all columns.

    SQLite's driver gives up the interpreter's lock and waits for it again at every statement: row by row, a large batch
    would wait for the planner's thread hundreds of times.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(events_table.insert(), rows)
        return
    names = [column.name for column in events_table.columns]
    one = f"({', '.join('?' * len(names))})"
    for at in range(0, len(rows), ROWS):
        some = rows[at : at + ROWS]
        order = f"INSERT INTO events ({', '.join(names)}) VALUES {', '.join([one] * len(some))}"
        connection.exec_driver_sql(order, tuple(row[name] for row in some for name in names))


def prepare(engine: Engine, name: str) -> None:
    """Make the tables where there are none, and those that this version adds; raises StoreError for a newer schema."""
    with engine.connect() as connection:
        new = not is_store(connection)
        schema = 0 if new else schema_of(connection, name)
    if schema >= SCHEMA:
        return
    with creating(engine) as connection:  # another process may have been quicker: all of this may be done twice
        tables.create_all(connection)
        if connection.execute(meta_table.select()).first() is None:
            head = {"epoch": 0, "head_seq": 0, "head_checksum": GENESIS}
            connection.execute(meta_table.insert().values(id=1, schema_version=SCHEMA, **head))
        connection.execute(
            meta_table.update().where(meta_table.c.schema_version < SCHEMA).values(schema_version=SCHEMA)
        )


def refuse_stranger(engine: Engine, name: str) -> int:
    """Return the version of the tables; raises StoreError where there are none, or newer ones than are known here."""
    with engine.connect() as connection:
        if not is_store(connection):
            raise StoreError(f"{name} is a database, but no event log of AIOS", hint="name the file or URL of a log")
        return schema_of(connection, name)


def is_store(connection: Connection) -> bool:
    """Return whether there is a log in this database."""
    return sa.inspect(connection).has_table(meta_table.name)


def schema_of(connection: Connection, name: str) -> int:
    """Return the version of the tables; raises StoreError where this version of AIOS does not know it."""
    schema = read_meta(connection, name).schema_version
    if schema > SCHEMA:
        raise StoreError(
            f"the log {name} has schema {schema}, this version of AIOS knows {SCHEMA}",
            hint="start the newer version of AIOS that wrote it",
        )
    return int(schema)


def read_meta(connection: Connection, name: str, lock: bool = False) -> MetaRow:
    """Return the row that holds the epoch and the head of the log; raises CorruptLog."""
    query = meta_table.select()
    row = connection.execute(query.with_for_update() if lock else query).first()
    if row is None or not all(isinstance(value, int) for value in row[:4]):
        raise CorruptLog(f"the log {name} has lost its head", hint=RESTORE)
    return row
