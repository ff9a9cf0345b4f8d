"""Who uses a log: control planes hold it together, and a restore alone; the system lets go for a process that died.

Two control planes may hold a log at once, since it is the epoch that decides which of them writes. For a SQLite file it
is a lock on a file beside it, for PostgreSQL an advisory lock of a connection that stays open.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from aios.errors import StoreUnavailable
from aios.store.databases import open_engine, sqlite_file

_KEY = 0x41494F54
_RESTORING = "a backup is being put in its place just now: try again when that is done"
_IN_USE = "end the control plane first (aios down), so that nothing it accepts is lost"


class Holding:
    """One process's hold on the log at ``url``; taken and given back any number of times."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = sqlite_file(url)
        self._handle: int | None = None
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def take(self, alone: bool = False) -> None:
        """Hold the log, together with others or alone; raises StoreUnavailable where others do not let us."""
        self.give_back()
        held = self._lock_file(self._file, alone) if self._file is not None else self._lock_database(alone)
        if not held:
            self.give_back()
            what = "a control plane uses it" if alone else "it is held for a restore"
            raise StoreUnavailable(f"the log cannot be taken: {what}", hint=_IN_USE if alone else _RESTORING)

    def give_back(self) -> None:
        """Let go; the locks end with what they are on."""
        if self._handle is not None:
            os.close(self._handle)
        if self._connection is not None:
            self._connection.close()
        if self._engine is not None:
            self._engine.dispose()
        self._handle = self._connection = self._engine = None

    def _lock_file(self, file: Path, alone: bool) -> bool:
        self._handle = os.open(file.with_name(f"{file.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _lock_database(self, alone: bool) -> bool:
        self._engine = open_engine(self._url).execution_options(isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        schema = sa.func.hashtext(sa.func.current_schema())
        lock = sa.func.pg_try_advisory_lock if alone else sa.func.pg_try_advisory_lock_shared
        return bool(self._connection.scalar(sa.select(lock(_KEY, schema))))
