"""A backup put in the place of a log: verified first, the old log kept beside it, and no zombie let in by it.

A control plane of before, paused or cut off, may come back to find the restored log. Its epoch is over, since a
restored log goes on far beyond all epochs that were ever given; fences follow the epoch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aios.errors import CorruptLog, StoreError
from aios.store.backups import looking, sync_folder, write_copy
from aios.store.copying import Head, copy_log, head_of, verified_head
from aios.store.databases import creating, display_name, explained, open_engine, sqlite_file, sqlite_url
from aios.store.holding import Holding
from aios.store.schema import is_store

EPOCH_LEAP = 1_000_000
_SIDES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought: the log, its end, and where the old one is now."""

    store: str
    source: str
    head: Head
    kept: str = ""
    lost: int = 0
    """How many events the old log had beyond the backup, as far as it can be told."""


def restore(source: Path, url: str, now: datetime, force: bool = False) -> Restored:
    """Put the backup ``source`` in the place of the log at ``url``.

    Parameters
    ----------
    force : bool
        Where there is a log with events, or something damaged, keep it beside under another name and go on.

    Raises
    ------
    CorruptLog
        The backup is damaged.
    StoreUnavailable
        A control plane uses the log.
    StoreError
        There is something at ``url`` already, or ``source`` is no backup.
    """
    name, stamp = display_name(url), f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    with _looking_at_backup(source) as (backup, sound):
        file = sqlite_file(url)
        if file is not None:
            with explained(f"restore {name}"):
                _refuse_itself(source, file)
                file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(url, name):
            old = _head_there(url, file, name)
            if not force and old is not None and (not isinstance(old, Head) or old.seq > 0):
                has = f"has {old.seq} events" if isinstance(old, Head) else "cannot be read"
                raise StoreError(
                    f"the log {name} is there already, and {has}; nothing was changed",
                    hint="to keep it under another name and go on: aios store restore --force " + str(source),
                )
            epoch = max(sound.epoch, old.epoch if isinstance(old, Head) else 0) + EPOCH_LEAP
            into = _into_file if file is not None else _into_database
            head, kept = into(backup, str(source), url, epoch, stamp, old is not None)
    lost = max(0, old.seq - head.seq) if isinstance(old, Head) else 0
    return Restored(name, str(source), head, kept, lost)


@contextmanager
def _looking_at_backup(source: Path) -> Iterator[tuple[Engine, Head]]:
    try:
        with looking(sqlite_url(source)) as backup:
            head = verified_head(backup, str(source))
    except CorruptLog as error:
        hint = "name another backup: `aios store list`; nothing was changed"
        raise CorruptLog(f"{source} is no sound backup: {error.message}", seq=error.seq, hint=hint) from None
    with looking(sqlite_url(source)) as backup:
        yield backup, head


@contextmanager
def _alone(url: str, name: str) -> Iterator[None]:
    holding = Holding(url)
    with explained(f"restore {name}"):
        holding.take(alone=True)
    try:
        yield
    finally:
        holding.give_back()


def _head_there(url: str, file: Path | None, name: str) -> Head | StoreError | None:
    """Return the end of the log that is there, why it cannot be read, or None where there is none."""
    try:
        if file is not None and (not file.exists() or file.stat().st_size == 0):
            return None
        engine = open_engine(url, look=True)
        try:
            with explained(f"read the log {name}"):
                with engine.connect() as connection:
                    if file is None and not is_store(connection):
                        return None
                return head_of(engine, name)
        finally:
            engine.dispose()
    except StoreError as error:
        if file is None and not isinstance(error, CorruptLog):
            raise
        return error


def _into_file(backup: Engine, source: str, url: str, epoch: int, stamp: str, keep: bool) -> tuple[Head, str]:
    """Write the new file whole, give the old one another name, then let the new one take its place."""
    path = Path(str(sqlite_file(url)))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside = path.with_name(f"{path.name}.before-{stamp}")
    try:
        head = write_copy(backup, source, part, epoch)
        with explained(f"restore {path}"):
            if keep:
                _set_aside(path, beside)
            os.replace(part, path)
            sync_folder(path.parent)
    finally:
        for left in (part, *(part.with_name(part.name + side) for side in _SIDES)):
            left.unlink(missing_ok=True)
    return head, str(beside) if keep else ""


def _set_aside(path: Path, beside: Path) -> None:
    """Give a file and what SQLite has beside it another name: the old log is whole under it before the first goes."""
    if beside.exists():
        raise StoreError(f"{beside} is there already", hint="try again in a second")
    sides = [side for side in _SIDES if path.with_name(path.name + side).exists()]
    try:
        for side in ("", *sides):
            os.link(path.with_name(path.name + side), beside.with_name(beside.name + side))
    except OSError:  # a file system without hard links
        for side in (*sides, ""):
            os.replace(path.with_name(path.name + side), beside.with_name(beside.name + side))
    sync_folder(path.parent)
    for side in sides:
        path.with_name(path.name + side).unlink(missing_ok=True)


def _into_database(backup: Engine, source: str, url: str, epoch: int, stamp: str, keep: bool) -> tuple[Head, str]:
    """Move the old tables into a schema of their own and write new ones, in one transaction."""
    engine, name, schema = open_engine(url), display_name(url), ""
    try:
        with explained(f"restore {name}"):
            with creating(engine) as connection:
                if keep:
                    schema = f"{connection.scalar(sa.select(sa.func.current_schema()))}_before_{stamp.lower()}"
                    _move_tables(connection, schema)
                head = copy_log(backup, source, connection, epoch)
            again = verified_head(engine, name)
    finally:
        engine.dispose()
    if again != head:
        raise StoreError(f"{name} is not what was written to it", hint="check that database")
    return head, f"the schema {schema} of {name}" if keep else ""


def _move_tables(connection: Connection, schema: str) -> None:
    connection.execute(sa.schema.CreateSchema(schema))
    there = sa.inspect(connection).get_table_names()
    for table in ("events", "meta", "snapshots"):
        if table in there:
            connection.exec_driver_sql(f'ALTER TABLE {table} SET SCHEMA "{schema}"')


def _refuse_itself(source: Path, file: Path) -> None:
    with suppress(FileNotFoundError):
        if source.samefile(file):
            raise StoreError(f"{source} is the log itself, not a backup of it", hint="name a backup")
