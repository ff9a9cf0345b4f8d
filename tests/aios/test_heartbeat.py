"""Signs of life: who hangs is found within half a minute, who is only busy or not looked at is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aios.adapters.folder import Folder, Held
from aios.adapters.heartbeat import (
    BEAT_S,
    EXAMINE_S,
    REACH_S,
    SILENT_S,
    WORKER,
    Beat,
    Living,
    Watch,
    _answered,
    _examine,
    beats_of,
    kill_named,
)
from aios.adapters.processes import started_at, this_machine
from aios.errors import StaleFence
from placement.model import NodeId, Resources

WHO = Living(WORKER, "abc", 7, 99)
Seen = tuple[bool, tuple[str, int] | None]


def hung_after(look: Callable[[float], Seen], until_s: float = 120.0, every_s: float = 1.0) -> tuple[float, str] | None:
    """Return when a process that gave its last sign at 0 is said to hang, and why."""
    clock = [0.0]
    watch = Watch(lambda who: who, lambda _: look(clock[0]), lambda: clock[0])
    watch.look({WHO: 1})
    while clock[0] < until_s:
        clock[0] += every_s
        if hung := watch.look({WHO: 1}):
            return clock[0], hung[WHO]
    return None


@pytest.mark.parametrize(
    ("look", "why"),
    [
        (lambda _: (True, ("T", 5)), "its process is stopped"),
        (lambda _: (True, None), "its process is gone"),
    ],
)
def test_who_is_silent_and_stopped_or_gone_is_found_within_half_a_minute(
    look: Callable[[float], Seen], why: str
) -> None:
    found = hung_after(look)
    assert found is not None
    assert SILENT_S <= found[0] <= 30.0 - BEAT_S
    assert found[1].startswith(why)


def test_a_node_that_lives_may_be_slow_to_answer_but_not_for_ever() -> None:
    found = hung_after(lambda _: (False, None))
    assert found is not None
    assert found[1].startswith("its node abc does not answer")
    assert REACH_S < found[0] <= SILENT_S + REACH_S + BEAT_S
    assert hung_after(lambda now_s: (now_s > SILENT_S + REACH_S - BEAT_S, ("S", int(now_s)))) is None


def test_a_process_of_this_machine_is_looked_at_without_ray() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        who = Living(WORKER, "abc", child.pid, started_at(child.pid) or 0, this_machine())
        assert Living.of_name(who.file_name) == who
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        there, seen = _answered(_examine(who))
        assert there
        assert seen[0] == "T"
    finally:
        child.kill()
        child.wait()
    assert _answered(_examine(who)) == (True, None)


def test_who_is_silent_and_idle_hangs_and_who_is_silent_and_busy_does_not() -> None:
    found = hung_after(lambda _: (True, ("S", 5)))
    assert found is not None
    assert found[1].startswith("its process does nothing")
    assert found[0] <= SILENT_S + 4 * EXAMINE_S
    assert hung_after(lambda now_s: (True, ("S", int(now_s * 100)))) is None
    assert hung_after(lambda _: (True, ("R", 5))) is None, "it waits for a CPU"


def test_a_sign_begins_the_count_anew() -> None:
    now_s = 0.0
    watch = Watch(lambda who: who, lambda _: (True, ("T", 1)), lambda: now_s)
    for second in range(200):
        now_s = float(second)
        assert watch.look({WHO: second // int(SILENT_S - 1)}) == {}


def test_a_pause_of_the_watching_process_harms_nobody() -> None:
    now_s = 0.0
    watch = Watch(lambda who: who, lambda _: (True, ("T", 1)), lambda: now_s)
    watch.look({WHO: 1})
    now_s = 3600.0
    assert watch.look({WHO: 1}) == {}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path, "w-1", 1)
    folder.prepare(Held(4, (NodeId("n"),), (Resources.parse({"CPU": 1}),)))
    return folder


def test_a_sign_under_another_fence_is_none(folder: Folder) -> None:
    Beat(folder, 4, WHO).begin()
    assert list(beats_of(folder, 4, {WORKER})) == [WHO]
    assert beats_of(folder, 5, {WORKER}) == {}
    (folder.beats / "worker@half").touch()
    assert list(beats_of(folder, 4, {WORKER})) == [WHO]


def test_who_was_given_up_gives_no_sign_and_writes_nothing_more(folder: Folder) -> None:
    beat = Beat(folder, 4, WHO)
    beat.begin()
    assert beat.renew()
    folder.check_fence(4)
    folder.end(folder.latest())
    assert not beat.renew()
    with pytest.raises(StaleFence, match="was ended before this write"):
        folder.check_fence(4)


def test_a_newer_fence_silences_an_old_attempt(folder: Folder) -> None:
    beat = Beat(folder, 4, WHO)
    beat.begin()
    Folder(folder.storage, "w-1", 2).prepare(Held(9, (NodeId("n"),), (Resources.parse({"CPU": 1}),)))
    assert not beat.renew()


def test_a_pid_that_is_another_process_now_is_not_killed() -> None:
    assert kill_named([(os.getpid(), 1)]) == 0
