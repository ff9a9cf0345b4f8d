"""What differs between the databases that can hold the log: opening one, its transactions, its errors."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url

from aios.errors import CorruptLog, StoreAnswerLost, StoreError, StoreFull, StoreUnavailable

BUSY_TIMEOUT_MS = 5000
CONNECT_S = 10

RESTORE = "see `aios store verify`; then put a backup in its place: aios store restore --force BACKUP"

_TABLES_LOCK = 0x41494F53
_FULL = frozenset({sqlite3.SQLITE_FULL, "53100"})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, "XX001", "XX002"})
_HELD = "another process holds it: try again, and stop that process if it stays"
_ARGS: Mapping[str, Any] = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
_CLOSED = "make the file and its directory writable for this user"
_HINTS: Mapping[int | str | None, str] = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
}


def display_name(url: str) -> str:
    """Return how messages call the database: a path, or the URL without its password; raises StoreError."""
    parsed = _parse(url)
    return parsed.database or "" if _is_sqlite(parsed) else parsed.render_as_string(hide_password=True)


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite log, None for another database; raises StoreError."""
    parsed = _parse(url)
    return Path(str(parsed.database)) if _is_sqlite(parsed) else None


def sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def open_engine(url: str, look: bool = False) -> Engine:
    """Return an engine on a durable database where each reading transaction sees one snapshot; raises StoreError.

    With ``look`` it only reads and makes nothing: what is not there is an error, what is damaged shows when read.
    """
    parsed = _parse(url)
    if _is_sqlite(parsed):
        return _open_sqlite(parsed, look)
    try:
        return sa.create_engine(
            parsed, pool_pre_ping=True, isolation_level="REPEATABLE READ", connect_args={"connect_timeout": CONNECT_S}
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{parsed.drivername} needs the module {error.name}", hint="install it: pip install 'aios[postgres]'"
        ) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a transaction that may take a row's lock and then sees what its former holder wrote."""
    options: Mapping[str, Any] = {"aios_writing": True}
    if not _is_sqlite(engine.url):
        options = {"isolation_level": "READ COMMITTED"}
    with engine.execution_options(**options).begin() as connection:
        yield connection


@contextmanager
def creating(engine: Engine) -> Iterator[Connection]:
    """Give a writing transaction that no other one of these overlaps: tables are not made twice."""
    with writing(engine) as connection:
        if not _is_sqlite(engine.url):  # SQLite has one writer at a time anyway
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_TABLES_LOCK)))
        yield connection


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the driver's errors into ours: what failed, whether anything was written, and what to do."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        what = f"cannot {doing}: {' '.join(str(error.orig).split())}"
        raise _explain(error, what, writing=doing.startswith("write")) from error
    except UnicodeDecodeError as error:  # SQLite quotes what it finds where its own words should be
        raise CorruptLog(f"cannot {doing}: it is damaged where the tables are described", hint=RESTORE) from error
    except OSError as error:
        raise StoreUnavailable(
            f"cannot {doing}: {error.strerror or error}",
            hint="check the path and its owner, or choose another state directory",
        ) from error


def _explain(error: sa.exc.DBAPIError, what: str, writing: bool) -> StoreError:
    code, nothing = _code(error), "; nothing was written" if writing else ""
    if code in _DAMAGED or isinstance(error, sa.exc.IntegrityError):  # a number that the head says is free
        return CorruptLog(what, hint=RESTORE)
    if code in _FULL:
        return StoreFull(f"{what}{nothing}", hint="free some space on that disk and try again")
    if error.connection_invalidated:
        hint = "read the log again before another try" if writing else "try again"
        return StoreAnswerLost(f"{what}; the connection was lost", hint=hint)
    return StoreUnavailable(f"{what}{nothing}", hint=_HINTS.get(code, "check the database and try again"))


def _code(error: sa.exc.DBAPIError) -> int | str | None:
    """Return SQLite's primary error code, or PostgreSQL's SQLSTATE."""
    extended: int | None = getattr(error.orig, "sqlite_errorcode", None)
    state: str | None = getattr(error.orig, "sqlstate", None)
    return extended & 0xFF if extended is not None else state


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _parse(url: str) -> URL:
    """Return the URL with our driver; raises StoreError where it names no durable database."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError as error:
        raise StoreError(f"{url!r} is no database URL", hint="write sqlite:////path/aios.db") from error
    if _is_sqlite(parsed) and parsed.database not in (None, "", ":memory:"):
        return parsed
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed
    raise StoreError(
        f"{parsed.render_as_string(hide_password=True)} is no durable event log",
        hint="write sqlite:////path/aios.db or postgresql://user@host/database",
    )


def _open_sqlite(url: URL, look: bool) -> Engine:
    path = Path(str(url.database))
    if look:
        _refuse_missing(path)
        engine = sa.create_engine(
            f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true", connect_args=dict(_ARGS)
        )
    else:
        _private_file(path)
        engine = sa.create_engine(url, connect_args=dict(_ARGS))
    sa.event.listen(engine, "connect", _configure_reader if look else _configure_writer)
    sa.event.listen(engine, "begin", _begin_sqlite)
    damage = "" if look else damage_of(engine, "quick_check")
    if damage:
        raise CorruptLog(f"the log {path} is damaged: {damage}", hint=RESTORE)
    return engine


def damage_of(engine: Engine, check: str = "integrity_check") -> str:
    """Return what SQLite finds wrong with its file; nothing for another database, which looks after its own."""
    if not _is_sqlite(engine.url):
        return ""
    with engine.connect() as connection:
        verdict = str(connection.exec_driver_sql(f"PRAGMA {check}(1)").scalar())
    return "" if verdict == "ok" else " ".join(verdict.split())


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        what = f"{path} is a directory, not an event log" if path.is_dir() else f"there is no event log at {path}"
        raise StoreError(what, hint="name the file of a log; `aios store list` names the backups that were made")


def _private_file(path: Path) -> None:
    """Make the file, 0600 in a directory of 0700 where that is new too; its side files take after it.

    A file that is there is never opened here: closing it would end the locks that this process holds on it for SQLite.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _configure_writer(connection: sqlite3.Connection, record: object) -> None:
    _configure_reader(connection, record)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _configure_reader(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # so that BEGIN is ours: see _begin_sqlite
    connection.text_factory = _any_text
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


def _any_text(raw: bytes) -> str:
    """Read damaged text too, so that it is the checksum that tells."""
    return raw.decode("utf-8", "surrogateescape")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at the start of a writing transaction: upgraded later, it could fail halfway."""
    writing = connection.get_execution_options().get("aios_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
