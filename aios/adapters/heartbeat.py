"""Signs of life: who stopped without a word is found out, and who was given up finds that out and leaves.

Ray never notices a process that is stopped, nor a copy that goes on behind a cut network. So the supervisor of an
attempt and each of its workers keeps a file of its own in the attempt's folder and renews it; the control plane watches
supervisors, and a supervisor its workers. The file carries the attempt's fence, and is renewed only while that fence is
current and the attempt is open: a process that finds it is not ends itself.

Silence alone is no proof, since code that holds Python's lock keeps its process from giving a sign. So who is silent is
looked at on its node: stopped, or without any use of a CPU, counts as hung; busy counts as alive.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from aios.adapters.fence import write_atomically
from aios.adapters.folder import Folder
from aios.adapters.processes import signal_all, started_at, state_of, this_machine

BEAT_S = 2.0
"""How often a sign of life is given."""
SILENT_S = 18.0
"""How long it may be missing before its process is looked at."""
EXAMINE_S = 8.0
"""How long a process may then be without any use of a CPU."""
REACH_S = 45.0
"""How long a node may take to answer such a look, which begins a process on it; that a node died Ray says itself."""
LOOK_S = 5.0
"""The most silence that counts between two looks: who did not look cannot say that nobody spoke."""

STOPPED, BUSY = frozenset("Tt"), frozenset("RD")
"""States of a process: told to stop; and running or waiting for a CPU or a disk."""

SUPERVISOR, WORKER = "supervisor", "worker"


@dataclass(frozen=True, slots=True, order=True)
class Living:
    """A process that gives signs of life: what it is, and where. Pid and start time name it on its machine."""

    role: str
    node: str
    pid: int
    started: int
    machine: str = ""

    @property
    def file_name(self) -> str:
        return ".".join([f"{self.role}@{self.node}", str(self.pid), str(self.started), *filter(None, [self.machine])])

    @classmethod
    def of_name(cls, name: str) -> Living | None:
        role, at, rest = name.partition("@")
        parts = rest.split(".")
        if not at or len(parts) not in (3, 4) or not (parts[1].isdecimal() and parts[2].isdecimal()):
            return None
        return cls(role, parts[0], int(parts[1]), int(parts[2]), *parts[3:])

    @classmethod
    def this_process(cls, role: str) -> Living:
        pid = os.getpid()
        return cls(role, str(ray.get_runtime_context().get_node_id()), pid, started_at(pid) or 0, this_machine())


@dataclass(frozen=True, slots=True)
class Alive:
    """Travels to workers; called in one, it has that process give signs of life until the attempt is over.

    ``leaves`` says what happens when the attempt was given up: the process ends, or only falls silent where other
    attempts use it too.
    """

    folder: Folder
    fence: int

    def __call__(self, role: str = WORKER, *, leaves: bool = True) -> None:
        key = (str(self.folder.path), role)
        with _beating_lock:
            if key in _beating:
                return
            _beating.add(key)
        beat = Beat(self.folder, self.fence, Living.this_process(role))
        try:
            beat.begin()
        except OSError:  # storage does not take it now; who never gave a sign is not missed
            return
        threading.Thread(target=beat.run, args=(leaves,), name="aios-alive", daemon=True).start()


_beating: set[tuple[str, str]] = set()
_beating_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Beat:
    """The signs of life of one process for one attempt."""

    folder: Folder
    fence: int
    who: Living

    @property
    def path(self) -> Path:
        return self.folder.beats / self.who.file_name

    def begin(self) -> None:
        self.folder.beats.mkdir(exist_ok=True)
        write_atomically(self.path, str(self.fence))

    def renew(self) -> bool:
        """Give a sign of life; returns False, and gives none, where the attempt has been given up."""
        if self.folder.closed() or self.folder.current_fence() > self.fence:
            return False
        with suppress(FileNotFoundError):  # taken away: this process is not missed any more
            os.utime(self.path)
        return True

    def end(self) -> None:
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def run(self, leaves: bool) -> None:
        while True:
            time.sleep(BEAT_S)
            try:
                open_ = self.renew()
            except (OSError, ValueError):  # storage may answer again
                continue
            if not open_:
                self.end()
                if leaves:
                    os._exit(1)
                return


def beats_of(folder: Folder, fence: int, roles: Collection[str]) -> dict[Living, int]:
    """Return when each process of an attempt gave its last sign, as the storage has it; a foreign fence is no sign."""
    try:
        names = os.listdir(folder.beats)
    except FileNotFoundError:
        return {}
    found = {}
    for name in names:
        who = Living.of_name(name)
        if who is None or who.role not in roles:
            continue
        path = folder.beats / name
        with suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8") == str(fence):
                found[who] = path.stat().st_mtime_ns
    return found


@dataclass(slots=True)
class _Heard:
    sign: int
    silent_s: float = 0.0
    looked: Look | None = None
    ticks: int | None = None
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Look:
    """A look at a process that is on its way."""

    answer: Any
    asked_s: float


class Watch:
    """Tells, look by look, which processes hang.

    It measures silence by its own clock and counts it only while it looks, so that neither a jump of some clock nor a
    pause of the watching process harms anybody.
    """

    def __init__(
        self, examine: Callable[[Living], Any], answered: Callable[[Any], tuple[bool, Any]], now_s: Callable[[], float]
    ) -> None:
        self._examine, self._answered, self._now_s = examine, answered, now_s
        self._heard: dict[Living, _Heard] = {}
        self._looked_s = now_s()

    def look(self, signs: Mapping[Living, int]) -> dict[Living, str]:
        """Return who hangs and why, given the latest signs of all who are watched."""
        now_s = self._now_s()
        passed_s, self._looked_s = min(now_s - self._looked_s, LOOK_S), now_s
        self._heard = {who: one for who, one in self._heard.items() if who in signs}
        hung = {}
        for who, sign in signs.items():
            one = self._heard.get(who)
            if one is None or one.sign != sign:
                self._heard[who] = _Heard(sign)
                continue
            one.silent_s += passed_s
            if one.silent_s >= SILENT_S and (why := self._why(who, one, now_s)):
                hung[who] = f"{why} (no sign of life for {one.silent_s:.0f} s)"
        return hung

    def _why(self, who: Living, one: _Heard, now_s: float) -> str:
        """Return what a look at a silent process has shown; empty while nothing is proved."""
        if one.looked is None:
            if one.ticks is None or now_s > one.seen_s + EXAMINE_S:
                one.looked = Look(self._examine(who), now_s)
            return ""
        there, answer = self._answered(one.looked.answer)
        if not there:
            return f"its node {who.node[:8]} does not answer" if now_s > one.looked.asked_s + REACH_S else ""
        one.looked = None
        if answer is None:
            return "its process is gone"
        state, ticks = answer
        if state in STOPPED:
            return "its process is stopped"
        if state in BUSY or one.ticks not in (None, ticks):  # it holds Python's lock, or waits for a CPU
            one.silent_s, one.ticks = SILENT_S / 2, None
            return ""
        if one.ticks == ticks and one.silent_s > SILENT_S + 2 * EXAMINE_S:
            return "its process does nothing"
        one.ticks, one.seen_s = ticks, now_s
        return ""


def watch() -> Watch:
    """Return a watch that looks at processes through Ray."""
    return Watch(_examine, _answered, time.monotonic)


@dataclass(frozen=True, slots=True)
class Known:
    """A look that needed no asking."""

    value: tuple[str, int] | None


def _examine(who: Living) -> Any:
    if who.machine and who.machine == this_machine():  # a node that is busy to the brim need not begin a process for it
        return Known(state_of(who.pid, who.started))
    return _on_node(who.node, state_of, who.pid, who.started)


def _answered(look: Any) -> tuple[bool, Any]:
    if isinstance(look, Known):
        return True, look.value
    done, _ = ray.wait([look], timeout=0)
    if not done:
        return False, None
    try:
        return True, ray.get(look)
    except RayError:  # its node is gone, which Ray says
        return False, None


def reap(who: Iterable[Living]) -> list[Any]:
    """Have processes killed on their nodes, stopped ones too; what comes back keeps the request alive."""
    by_node: dict[str, list[tuple[int, int]]] = {}
    for one in who:
        by_node.setdefault(one.node, []).append((one.pid, one.started))
    return [_on_node(node, kill_named, named) for node, named in by_node.items()]


def kill_named(named: Sequence[tuple[int, int]]) -> int:
    """Kill processes of this machine by pid and start time; returns how many there were."""
    there = [pid for pid, started in named if started_at(pid) == started]
    signal_all(there, signal.SIGKILL)
    return len(there)


def _on_node(node: str, function: Callable[..., Any], *args: Any) -> Any:
    task = ray.remote(function).options(
        num_cpus=0, max_retries=0, label_selector={"ray.io/node-id": node}, scheduling_strategy="DEFAULT"
    )
    return task.remote(*args)
