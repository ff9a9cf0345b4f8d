"""A log copied from one database into another, row by row, each verified on its way: the same chain, the same head."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection, Engine

from aios.store.schema import SCHEMA, insert_events, meta_table, read_meta, schema_of, snapshots_table, tables
from aios.store.walk import Walk


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a log: its last event's number, checksum and time, and the epoch that writes."""

    seq: int
    checksum: str
    epoch: int
    at_s: float | None = None


def copy_log(source: Engine, name: str, target: Connection, epoch: int = 0) -> Head:
    """Copy everything of one moment into empty tables that are made here; raises CorruptLog, and then nothing counts.

    Parameters
    ----------
    epoch : int
        The least epoch of the copy.
    """
    tables.create_all(target)
    walk, at_s = Walk(name), None
    with source.connect() as connection:
        schema, meta = schema_of(connection, name), read_meta(connection, name)
        for page in walk.pages(connection):
            if page:
                insert_events(target, [dict(row._mapping) for row in page])
                at_s = page[-1].at_s
        walk.end(meta)
        kept = connection.execute(snapshots_table.select()).all() if schema > 1 else ()
    for row in kept:
        target.execute(snapshots_table.insert().values(dict(row._mapping)))
    head = Head(walk.seq, walk.checksum, max(meta.epoch, epoch), at_s)
    target.execute(
        meta_table.insert().values(
            id=1, schema_version=SCHEMA, epoch=head.epoch, head_seq=head.seq, head_checksum=head.checksum
        )
    )
    return head


def head_of(engine: Engine, name: str) -> Head:
    """Return the end of a log as its head has it; nothing is verified."""
    with engine.connect() as connection:
        schema_of(connection, name)
        meta = read_meta(connection, name)
    return Head(meta.head_seq, meta.head_checksum, meta.epoch)


def verified_head(engine: Engine, name: str) -> Head:
    """Follow the whole chain and return its end; raises CorruptLog."""
    walk, at_s = Walk(name), None
    with engine.connect() as connection:
        schema_of(connection, name)
        meta = read_meta(connection, name)
        for page in walk.pages(connection):
            at_s = page[-1].at_s if page else at_s
    walk.end(meta)
    return Head(walk.seq, walk.checksum, meta.epoch, at_s)
