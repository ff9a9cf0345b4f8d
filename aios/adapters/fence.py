"""Fences: numbers on shared storage that only rise, so that a write of an attempt of the past is refused."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aios.errors import StaleFence


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by one with this text: a reader sees the old or the new one, after a crash too."""
    with _written_beside(path, text) as name:
        os.replace(name, path)


def write_once(path: Path, text: str) -> bool:
    """Make a file whole or not at all, and only where there is none; returns whether this call made it."""
    with _written_beside(path, text) as name:
        try:
            os.link(name, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def _written_beside(path: Path, text: str) -> Iterator[str]:
    """Give the name of a durable file with this text in the same folder; what is left under it is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def read_fence(path: Path) -> int:
    """Return the fence, 0 where none was set yet."""
    try:
        return int(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0


def raise_fence(path: Path, fence: int) -> int:
    """Set the fence unless it is higher already; returns what it is now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(".fence.lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        current = read_fence(path)
        if fence > current:
            write_atomically(path, str(fence))
    return max(fence, current)


def check_fence(path: Path, fence: int, name: str) -> None:
    """Raise ``StaleFence`` where a newer attempt has been granted."""
    current = read_fence(path)
    if fence < current:
        raise StaleFence(
            f"{name} holds fence {fence}, and {current} has been given since",
            hint="a newer attempt of this workload is current; this one ends without writing",
        )
