"""Processes of this machine as Linux shows them: who came from whom, who listens where, and ending them."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A listening TCP port: ``host`` is an address, or ``*`` for all interfaces."""

    host: str
    port: int
    process: str

    @property
    def loopback(self) -> bool:
        return self.host.startswith("127.") or self.host == "::1"


def adopt_orphans() -> None:
    """Make this process the parent of its descendants whose own parent ends, so that none gets out of sight."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> None:
    """Collect children that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def started_at(pid: int) -> int | None:
    """Return when a process began, in ticks since boot, which with its pid names it; None where it has ended."""
    stat = _stat(pid)
    return None if stat is None or stat[0] == "Z" else int(stat[19])


@cache
def this_machine() -> str:
    """Return a name of what numbers this process's pids: the machine since its start, and the namespace; empty where
    the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return hashlib.sha256(f"{boot} {os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:12]
    except OSError:
        return ""


def state_of(pid: int, started: int) -> tuple[str, int] | None:
    """Return a process's state letter (``T``: stopped) and the CPU time it has used, in ticks; None where it ended."""
    stat = _stat(pid)
    if stat is None or stat[0] == "Z" or int(stat[19]) != started:
        return None
    return stat[0], int(stat[11]) + int(stat[12])


def descendants(pid: int) -> set[int]:
    """Return the living processes that come from ``pid``, itself not among them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None and stat[0] != "Z":
            children.setdefault(int(stat[1]), []).append(int(entry))
    found: set[int] = set()
    todo = [pid]
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo.extend(new)
    return found


def kill_descendants(pid: int, timeout_s: float = 10.0) -> None:
    """Kill all that comes from ``pid`` until nothing is left; what the kernel holds fast is left after a while."""
    deadline_s = time.monotonic() + timeout_s
    while (alive := descendants(pid)) and time.monotonic() < deadline_s:
        signal_all(alive, signal.SIGKILL)
        reap()
        time.sleep(0.01)


def signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_gone(pid: int, started: int, timeout_s: float) -> bool:
    """Wait until a process has ended; returns whether it has."""
    deadline_s = time.monotonic() + timeout_s
    while started_at(pid) == started:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def listeners(pids: Iterable[int]) -> tuple[Listener, ...]:
    """Return what these processes listen on."""
    owner: dict[str, str] = {}
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
            for link in os.scandir(f"/proc/{pid}/fd"):
                target = os.readlink(link.path)
                if target.startswith("socket:["):
                    owner[target[8:-1]] = name
        except OSError:  # it ended while we looked
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in owner:
                host, port = fields[1].split(":")
                found.add(Listener(_address(host), int(port, 16), owner[fields[9]]))
    return tuple(sorted(found))


def _address(raw: str) -> str:
    if set(raw) == {"0"}:
        return "*"
    if len(raw) == 8:
        return ".".join(str(byte) for byte in reversed(bytes.fromhex(raw)))
    if raw == "0" * 24 + "01000000":
        return "::1"
    if raw.startswith("0000000000000000FFFF0000"):
        return _address(raw[24:])
    return "::" + raw.lower()


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on (0: state, 1: parent, 19: start time)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
