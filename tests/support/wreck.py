"""Logs whose files were torn, scrambled or bent, and what is read from them afterwards."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from aios.errors import StoreError
from aios.kernel.events import Event
from aios.kernel.ports import Snapshot
from aios.store.copying import Head
from aios.store.sql import SqlLog
from tests.support.kills import BATCH, event

SIDES = ("", "-wal", "-shm")


def written(path: Path, n: int, in_wal: int = 0, snapshot: bool = False) -> list[tuple[int, Event]]:
    """Write a log of n batches, the last ``in_wal`` of them in its write-ahead log alone; return what it holds.

    The files are left as a process leaves them that is killed.
    """
    live = path.with_name(f"live-{path.name}")
    log = SqlLog(f"sqlite:///{live}")
    epoch = log.begin()
    for i in range(n - in_wal):
        log.append(epoch, [event(k) for k in range(i * BATCH + 1, (i + 1) * BATCH + 1)])
    if snapshot:
        log.save_snapshot(epoch, (n - in_wal) * BATCH, bytes(range(256)) * 8)
    with log._engine.connect() as connection:  # all of it so far is in the file itself
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    for i in range(n - in_wal, n):
        log.append(epoch, [event(k) for k in range(i * BATCH + 1, (i + 1) * BATCH + 1)])
    copy(live, path)
    log.close()
    return [(k, event(k)) for k in range(1, n * BATCH + 1)]


def copy(source: Path, target: Path) -> None:
    """Copy the file and its write-ahead log, but not the memory that processes share."""
    for side in SIDES:
        beside = target.with_name(target.name + side)
        beside.unlink(missing_ok=True)
        if side != "-shm" and source.with_name(source.name + side).exists():
            shutil.copyfile(source.with_name(source.name + side), beside)


def torn(path: Path, work: Path, whole: list[tuple[int, Event]], least: int, n: int, seed: int) -> Counter[str]:
    """Tear or scramble the write-ahead log in n ways; count what was read then.

    ``prefix`` is an exact one, of whole batches, with at least the first ``least`` events, that can be written on.
    """
    chance, found = random.Random(seed), Counter[str]()
    wal = path.with_name(path.name + "-wal").read_bytes()
    for _ in range(n):
        copy(path, work)
        work.with_name(work.name + "-wal").write_bytes(_worse(wal, chance))
        try:
            log = SqlLog(f"sqlite:///{work}")
            read = list(log.read())
            exact = read == whole[: len(read)] and len(read) % BATCH == 0 and len(read) >= least
            if exact:
                exact = log.append(log.begin(), [event(len(read) + 1)]) == len(read) + 1
            log.close()
            found["prefix" if exact else "wrong"] += 1
        except StoreError as error:
            found[f"refused: {error.code}"] += 1
    return found


def _worse(wal: bytes, chance: random.Random) -> bytes:
    """Return a write-ahead log as a torn write leaves it: cut off, a piece of zeros or noise, or two swapped pieces."""
    at = chance.randrange(len(wal))
    size = min(len(wal) - at, chance.choice((1, 24, 512, 4096, 20_000)))
    kind = chance.randrange(4)
    if kind == 0:
        return wal[:at]
    if kind == 1:
        return wal[:at] + bytes(size) + wal[at + size :]
    if kind == 2:
        return wal[:at] + chance.randbytes(size) + wal[at + size :]
    other = chance.randrange(len(wal) - size + 1)
    bent = bytearray(wal)
    bent[at : at + size], bent[other : other + size] = wal[other : other + size], wal[at : at + size]
    return bytes(bent)


def flipped(path: Path, work: Path, whole: list[tuple[int, Event]], bits: Iterable[tuple[int, int]]) -> Counter[str]:
    """Flip one bit (byte, bit) of the file at a time; count what came of it.

    ``harmless`` is a bit that nothing depends on. ``silent`` is what must not be: an event, the end of the log or the
    snapshot is not as it was written, and nobody says so.
    """
    found, good = Counter[str](), path.read_bytes()
    head, snapshot = _ends(path)
    for byte, bit in bits:
        bent = bytearray(good)
        bent[byte] ^= 1 << bit
        for side in SIDES:
            work.with_name(work.name + side).unlink(missing_ok=True)
        work.write_bytes(bent)
        log = None
        try:
            log = SqlLog(f"sqlite:///{work}")
            same = list(log.read()) == whole and log.head() == head
            kept = log.load_snapshot()
            if same and kept is None and snapshot is not None:
                found["snapshot passed over"] += 1
            else:
                found["harmless" if same and kept == snapshot else "silent"] += 1
        except StoreError:
            found["noticed"] += 1
        finally:
            if log is not None:
                log.close()
    return found


def _ends(path: Path) -> tuple[Head, Snapshot | None]:
    log = SqlLog(f"sqlite:///{path}", look=True)
    try:
        return log.head(), log.load_snapshot()
    finally:
        log.close()
