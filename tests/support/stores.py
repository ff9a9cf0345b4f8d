"""Logs for tests of the store: small ones of known events, in any database, and a look at what they hold."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from aios.kernel.events import Event, Waits, WorkloadId
from aios.store.sql import SqlLog


def waits(n: int, detail: str = "") -> Event:
    return Waits(float(n), WorkloadId(f"w-{n % 3}"), "capacity", detail or f"event {n}")


def fill(url: str, n: int, detail: str = "") -> SqlLog:
    """Append events up to number n as a new control plane would, and return its log, still open."""
    log = SqlLog(url)
    epoch = log.begin()
    last = log.append(epoch, [])
    log.append(epoch, [waits(i, detail) for i in range(last + 1, n + 1)])
    return log


def events_of(url: str) -> list[tuple[int, Event]]:
    log = SqlLog(url, look=True)
    try:
        return list(log.read())
    finally:
        log.close()


def numbered(n: int) -> list[tuple[int, Event]]:
    return [(i, waits(i)) for i in range(1, n + 1)]


def change(path: Path, statement: str, *values: object) -> None:
    """Alter a file behind its log's back."""
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def fill_up(path: Path) -> None:
    """Leave no room on a disk."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        with suppress(OSError):
            while True:
                os.write(handle, bytes(4096))
    finally:
        os.close(handle)
