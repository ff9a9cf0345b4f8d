"""A control plane that begins with a snapshot believes what one believes that has folded the whole log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aios.adapters.sim import SimExecutor
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning
from aios.control.snapshots import Snapshots
from aios.kernel.evolve import evolve, replay
from aios.kernel.ports import Accepted, ApplyTenants, Log, StopWork
from aios.kernel.state import State
from aios.simulate import run_until_quiet
from aios.store import folded
from aios.store.codec import loads as event_of
from aios.store.folded import UnreadableState, dumps, loads
from aios.store.memory import MemoryLog
from aios.store.sql import SqlLog
from tests.sim import world
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit
from tests.support.silence import silence

OLD_LOGS = Path(__file__).parents[1] / "contract" / "logs"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield


def plane(log: Log, every: int = 3) -> tuple[Loop, SimExecutor]:
    cluster = SimExecutor([node("n1"), node("n2")])
    loop = Loop(
        log,
        cluster,
        InlinePlanning(first_fit),
        poll_s=3600.0,
        snapshots=Snapshots(dumps, loads, every=every, beside=False),
    )
    loop.start()
    return loop, cluster


def busy(log: Log) -> Loop:
    """Return a control plane under which some work has ended, and some waits."""
    loop, cluster = plane(log)
    loop.submit(ApplyTenants((tenant("team"),)))
    loop.submit(submit(want("a", 2, cpu=3), want("b", needs=("a",)), key="first"))
    run_until_quiet(loop, cluster)
    loop.submit(submit(want("c", 2, cpu=4), want("d", 2, cpu=4)))
    loop.turn()
    loop.turn()
    return loop


@pytest.mark.parametrize("seed", range(12))
def test_a_state_comes_back_as_it_was_wherever_in_a_log_with_faults_it_was_taken(seed: int) -> None:
    schedule = world.World(seed)
    schedule.run()
    events = schedule.events()
    whole, state = replay(events), State()
    step = max(1, len(events) // 10)
    for n, event in enumerate(events, start=1):
        state = evolve(event, state)
        if n % step == 0:
            again, logged_s = loads(dumps(state, event.at_s))
            assert (again, logged_s) == (state, event.at_s)
            assert replay(events[n:], again) == whole


def test_control_planes_that_die_and_go_on_from_snapshots_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator's judge looks on: the state is the fold of the whole log, and all that was accepted ends."""
    found: list[bool] = []

    class Counted(Snapshots):
        def load(self, log: Log) -> tuple[State, float] | None:
            saved = super().load(log)
            found.append(saved is not None)
            return saved

    def loop(*parts: Any, **more: Any) -> Loop:
        return Loop(*parts, **{**more, "snapshots": Counted(dumps, loads, every=15, beside=False)})

    monkeypatch.setattr(world, "Loop", loop)
    for seed in range(100, 106):
        world.World(seed).run()
    assert sum(found) > 6, "most began with a snapshot"


@pytest.mark.parametrize("name", [path.name for path in sorted(OLD_LOGS.iterdir())])
def test_the_state_of_an_old_log_comes_back_as_it_was(name: str) -> None:
    state = replay(event_of(line) for line in (OLD_LOGS / name).read_text(encoding="utf-8").splitlines())
    assert loads(dumps(state, 1.0)) == (state, 1.0)


@pytest.mark.parametrize("durable", [False, True])
def test_a_successor_folds_only_what_came_after_the_snapshot(durable: bool, tmp_path: Path) -> None:
    log = SqlLog(f"sqlite:///{tmp_path / 'aios.db'}") if durable else MemoryLog()
    before = busy(log).state
    saved = log.load_snapshot()
    assert saved is not None
    assert saved.sequence > before.version - 10
    asked: list[int] = []
    read = log.read

    def watched(after: int = 0) -> object:
        asked.append(after)
        return read(after)

    log.read = watched  # type: ignore[method-assign, assignment]
    successor, _ = plane(log)
    assert asked == [saved.sequence]
    assert successor.state.live == before.live
    assert successor.state == replay(event for _, event in read())
    log.close()


def test_a_key_that_was_answered_before_the_snapshot_gets_the_same_answer_after_it() -> None:
    log = MemoryLog()
    first = busy(log).state.keys["first"]
    successor, _ = plane(log)
    reply = successor.submit(submit(want("a", 2, cpu=3), want("b", needs=("a",)), key="first"))
    successor.turn()
    assert reply.result(0) == Accepted(first, existing=True)


def test_a_clock_that_was_set_back_does_not_turn_the_log_back_after_a_snapshot() -> None:
    log = MemoryLog()
    latest_s = max(event.at_s for _, event in (busy(log), log.read())[1])
    successor, _ = plane(log)
    assert successor.now_s() >= latest_s > 0.0


def test_work_that_was_saved_can_be_stopped_by_the_successor() -> None:
    log = MemoryLog()
    waiting = busy(log).state.live[-1]
    successor, cluster = plane(log)
    successor.submit(StopWork(waiting))
    run_until_quiet(successor, cluster)
    assert successor.state.workloads[waiting].status.value == "STOPPED"


@pytest.mark.parametrize("harm", ["torn", "flipped", "nonsense", "older", "elsewhere"])
def test_a_snapshot_that_cannot_be_used_is_passed_over_and_the_log_folded_whole(
    harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MemoryLog()
    loop = busy(log)
    saved = log.load_snapshot()
    assert saved is not None
    middle = len(saved.body) // 2
    bodies = {
        "torn": saved.body[:middle],
        "flipped": saved.body[:middle] + bytes([saved.body[middle] ^ 1]) + saved.body[middle + 1 :],
        "nonsense": b"nothing",
        "older": saved.body,
        "elsewhere": dumps(State(version=1), 0.0),
    }
    epoch = log.begin()
    log.save_snapshot(epoch, saved.sequence, bodies[harm])
    if harm == "older":
        monkeypatch.setattr(folded, "fold_digest", lambda: "of other sources")
    successor, _ = plane(log)
    assert successor.state.workloads == loop.state.workloads
    assert successor.state == replay(event for _, event in log.read())


def test_a_state_of_other_sources_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    body = dumps(State(), 0.0)
    monkeypatch.setattr(folded, "fold_digest", lambda: "of other sources")
    with pytest.raises(UnreadableState, match="another version of AIOS wrote it"):
        loads(body)


def test_a_log_that_takes_no_snapshot_still_takes_events() -> None:
    class Full(MemoryLog):
        def save_snapshot(self, epoch: int, sequence: int, body: bytes) -> None:
            raise OSError("no space left on the device")

    log = Full()
    loop = busy(log)
    assert len(loop.state.live) == 2
    assert log.load_snapshot() is None


def test_a_snapshot_is_written_beside_the_turns() -> None:
    log = MemoryLog()
    epoch = log.begin()
    loop, _ = plane(log, every=10**9)
    beside = Snapshots(dumps, loads, every=1)
    beside.consider(log, epoch + 1, loop.state, 0.0)
    assert beside._thread is not None
    beside._thread.join(30.0)
    assert beside.load(log) == (loop.state, 0.0)
