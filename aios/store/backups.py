"""Backups of a log: files of SQLite that hold the same chain, whatever database the log itself is in.

A backup is taken from one moment of a log that may be written meanwhile, each event verified on its way, read again as
a whole once it is on the disk, and only then given its name.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from aios.errors import StoreError, StoreFull
from aios.store.copying import Head, copy_log, head_of, verified_head
from aios.store.databases import creating, display_name, explained, open_engine, sqlite_url
from aios.store.schema import refuse_stranger

SPARE_BYTES = 64 * 2**20
"""What a backup leaves free on its disk: the log itself may be there, too."""
_NAME = re.compile(r"aios-\d{8}T\d{6}Z-(\d+)\.db")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made: where, of which log, up to which event."""

    path: Path
    store: str
    head: Head
    n_bytes: int
    new: bool = True
    """False where the newest one had everything already."""


def backup(url: str, destination: Path, now: datetime) -> Backup:
    """Copy the log at ``url`` to a new file; into a folder, under a name of its own.

    Raises
    ------
    StoreError
        There is no log at ``url``, or something is at the destination already.
    CorruptLog
        The log is damaged; earlier backups are as they were.
    StoreFull
        There is no room; nothing is left at the destination.
    """
    name = display_name(url)
    with looking(url) as source:
        found = head_of(source, name)
        path = destination / name_of(found, now) if destination.is_dir() else destination
        return _write(source, name, path)


def backup_into(url: str, folder: Path, keep: int, now: datetime) -> Backup:
    """Make a backup in a folder of them unless the newest has everything; then let go of all but the last ``keep``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(".aios-*.part*"):  # of one that was killed
        left.unlink(missing_ok=True)
    name = display_name(url)
    with looking(url) as source:
        found = head_of(source, name)
        for newest in backups_in(folder)[:1]:
            if _head(newest) == found:
                os.utime(newest)
                return Backup(newest, name, found, newest.stat().st_size, new=False)
        made = _write(source, name, folder / name_of(found, now))
    for old in backups_in(folder)[keep:]:
        old.unlink(missing_ok=True)
    return made


def _write(source: Engine, name: str, path: Path) -> Backup:
    _refuse_taken(path)
    _refuse_full(source, path)
    with _becoming(path) as part:
        head = write_copy(source, name, part)
        n_bytes = part.stat().st_size
    return Backup(path, name, head, n_bytes)


def backups_in(folder: Path) -> list[Path]:
    """Return the backups that were made into a folder, the newest first."""
    with suppress(OSError):
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
        return sorted(found, key=lambda path: path.name, reverse=True)
    return []


def newest_sound(folder: Path) -> tuple[Path, Head] | None:
    """Return the newest backup of a folder whose chain is whole, None where there is none."""
    for path in backups_in(folder):
        with suppress(StoreError), looking(sqlite_url(path)) as engine:
            return path, verified_head(engine, str(path))
    return None


def how_to_restore(folder: Path) -> str:
    """Return what to do about a damaged log, with the command for the newest sound backup where there is one."""
    found = newest_sound(folder)
    if found is None:
        return (
            f"there is no sound backup in {folder}: put one of elsewhere in its place with "
            "`aios store restore --force BACKUP`, or start with another log (AIOS_STORE_URL)"
        )
    path, head = found
    return f"restore the newest backup, which has {head.seq} events: aios store restore --force {quote(str(path))}"


def name_of(head: Head, now: datetime) -> str:
    return f"aios-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{head.seq}.db"


@contextmanager
def looking(url: str) -> Iterator[Engine]:
    """Give an engine that only reads the log at ``url``; raises StoreError where there is none that is known here."""
    name = display_name(url)
    with explained(f"read the log {name}"):
        engine = open_engine(url, look=True)
        try:
            refuse_stranger(engine, name)
            yield engine
        finally:
            engine.dispose()


def write_copy(source: Engine, name: str, path: Path, epoch: int = 0) -> Head:
    """Write a log into a new SQLite file, durable and read again before this returns."""
    target = open_engine(sqlite_url(path))
    try:
        with explained(f"write {path}"):
            with creating(target) as connection:
                head = copy_log(source, name, connection, epoch)
            with target.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            target.dispose()
            _settle(path)
    finally:
        target.dispose()
    with looking(sqlite_url(path)) as copy:
        again = verified_head(copy, str(path))
    if again != head:
        raise StoreError(f"{path} is not what was written to it", hint="check that disk, and choose another one")
    return head


def _settle(path: Path) -> None:
    """Make one plain file of it, without a write-ahead log, and have it on the disk."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        connection.close()
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _becoming(path: Path) -> Iterator[Path]:
    """Give the name of a file that becomes ``path`` when the block ends well; what is left under it is removed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        _refuse_taken(path)
        os.rename(part, path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}", hint="choose another place") from error
    finally:
        for left in (part, *(part.with_name(part.name + side) for side in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _head(path: Path) -> Head | None:
    """Return the end of a backup; None where it cannot be read."""
    with suppress(StoreError), looking(sqlite_url(path)) as engine:
        return head_of(engine, str(path))
    return None


def _refuse_taken(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise StoreError(f"{path} is there already", hint="name a file that does not exist, or a folder")
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent} to write a backup to", hint=f"mkdir -p {path.parent}")


def _refuse_full(source: Engine, path: Path) -> None:
    """Refuse a backup that would take the last room on its disk."""
    sizes = {
        "sqlite": sa.text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
        "postgresql": sa.text("SELECT pg_total_relation_size('events')"),
    }
    with source.connect() as connection:
        n_bytes = int(connection.scalar(sizes[source.dialect.name]) or 0)
    free = shutil.disk_usage(path.parent).free
    if free < n_bytes + SPARE_BYTES:
        need = (n_bytes + SPARE_BYTES) // 2**20 + 1
        raise StoreFull(
            f"a backup needs {need} MiB in {path.parent}, {free // 2**20} MiB are free; nothing was written",
            hint="free some space there, or choose another place",
        )
