"""What every event log promises; each implementation runs all of it."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from aios.kernel.events import Event, Submitted, Waits, Work, WorkloadId
from aios.kernel.ports import Log, Snapshot, StaleEpoch
from aios.store.memory import MemoryLog
from aios.store.sql import SqlLog
from tests.support.building import want
from tests.support.postgres import schema_of_its_own

Opener = Callable[[], Log]
"""Opens the same log again, as another control plane would."""


def waits(n: int) -> Event:
    return Waits(float(n), WorkloadId(f"w-{n % 3}"), "capacity", f"event {n}")


def batch(first: int, n: int) -> list[Event]:
    return [waits(i) for i in range(first, first + n)]


KINDS = ["memory", "sqlite", "postgres"]
DURABLE = ["sqlite", "postgres"]
N_RUNS = {"memory": 25, "sqlite": 25, "postgres": 12}


@contextmanager
def opener_of(kind: str, url: str) -> Iterator[Opener]:
    """Give what opens one log again and again; a SQL log is at ``url``, and empty."""
    if kind == "memory":
        log = MemoryLog()
        yield lambda: log
        return
    with ExitStack() as stack:

        def open_again() -> Log:
            again = SqlLog(url)
            stack.callback(again.close)
            return again

        yield open_again


@contextmanager
def url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Give the URL of a log that is not there yet; none for the one in memory."""
    if kind == "postgres":
        with schema_of_its_own(request.getfixturevalue("postgres_server")) as url:
            yield url
    else:
        yield f"sqlite:///{folder / 'state' / f'{uuid4().hex}.db'}" if kind == "sqlite" else ""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reopen(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    with url_of(kind, request, tmp_path) as url, opener_of(kind, url) as opener:
        yield opener


@pytest.fixture(params=DURABLE)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with url_of(str(request.param), request, tmp_path) as made:
        yield made


def test_events_are_read_in_the_order_in_which_they_were_appended(reopen: Opener) -> None:
    log = reopen()
    epoch = log.begin()
    assert log.append(epoch, batch(1, 2)) == 2
    assert log.append(epoch, batch(3, 3)) == 5
    assert list(log.read()) == [(n, waits(n)) for n in range(1, 6)]


def test_a_new_log_is_empty(reopen: Opener) -> None:
    assert list(reopen().read()) == []


@pytest.mark.parametrize("after, numbers", [(0, [1, 2, 3, 4]), (1, [2, 3, 4]), (3, [4]), (4, []), (9, [])])
def test_reading_goes_on_after_a_number(reopen: Opener, after: int, numbers: list[int]) -> None:
    log = reopen()
    log.append(log.begin(), batch(1, 4))
    assert [n for n, _ in log.read(after)] == numbers


def test_appending_nothing_changes_nothing(reopen: Opener) -> None:
    log = reopen()
    epoch = log.begin()
    assert log.append(epoch, []) == 0
    log.append(epoch, batch(1, 2))
    assert log.append(epoch, []) == 2
    assert len(list(log.read())) == 2


def test_each_take_over_gets_a_higher_epoch(reopen: Opener) -> None:
    epochs = [reopen().begin() for _ in range(4)]
    assert epochs == sorted(set(epochs))
    assert epochs[0] >= 1


def test_an_older_writer_is_refused_even_before_the_new_one_writes(reopen: Opener) -> None:
    old, new = reopen(), reopen()
    old_epoch = old.begin()
    old.append(old_epoch, batch(1, 2))
    new_epoch = new.begin()
    with pytest.raises(StaleEpoch):
        old.append(old_epoch, batch(3, 3))
    assert new.append(new_epoch, batch(3, 1)) == 3
    with pytest.raises(StaleEpoch):
        old.append(old_epoch, [])
    assert list(old.read()) == list(new.read()) == [(n, waits(n)) for n in (1, 2, 3)]


@pytest.mark.parametrize("ahead", [-1, 1])
def test_an_epoch_that_was_not_given_is_refused(reopen: Opener, ahead: int) -> None:
    log = reopen()
    epoch = log.begin()
    with pytest.raises(StaleEpoch):
        log.append(epoch + ahead, batch(1, 1))
    assert list(log.read()) == []


def test_a_reader_sees_whole_batches_in_order_while_another_writes(reopen: Opener) -> None:
    size, n_batches = 7, 60
    writer, reader = reopen(), reopen()
    epoch = writer.begin()
    done = threading.Event()

    def write() -> None:
        try:
            for i in range(n_batches):
                writer.append(epoch, batch(1 + i * size, size))
        finally:
            done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while True:
        last_look = done.is_set()
        numbers = [n for n, _ in reader.read()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) % size == 0
        assert len(numbers) >= seen
        seen = len(numbers)
        if last_look:
            break
    thread.join()
    assert seen == size * n_batches


def test_a_reader_that_stopped_halfway_does_not_hold_up_the_writer(reopen: Opener) -> None:
    log = reopen()
    epoch = log.begin()
    log.append(epoch, batch(1, 10))
    half = log.read()
    assert [next(half)[0] for _ in range(3)] == [1, 2, 3]
    assert log.append(epoch, batch(11, 1)) == 11
    assert [n for n, _ in half][:7] == [4, 5, 6, 7, 8, 9, 10]


def test_one_workload_is_read_by_itself_from_its_submission_on(reopen: Opener) -> None:
    log = reopen()
    work = Work(WorkloadId("w-1"), "one", "script", "team", 0, want("one").demand, "{}", "0")
    submitted = Submitted(1.0, work)
    log.append(log.begin(), [waits(3), submitted, *batch(4, 5)])
    assert list(reopen().read_workload(work.id)) == [(2, submitted), (3, waits(4)), (6, waits(7))]
    assert list(log.read_workload(WorkloadId("w-"))) == []


def test_a_new_log_has_no_snapshot(reopen: Opener) -> None:
    assert reopen().load_snapshot() is None


def test_a_snapshot_is_kept_and_replaces_the_one_before_it(reopen: Opener) -> None:
    log = reopen()
    epoch = log.begin()
    log.append(epoch, batch(1, 5))
    for sequence, body in ((3, b"after three"), (5, bytes(range(256)) * 40)):
        log.save_snapshot(epoch, sequence, body)
        assert log.load_snapshot() == reopen().load_snapshot() == Snapshot(sequence, body)
    assert len(list(log.read(5))) == 0


def test_a_snapshot_by_an_older_writer_is_refused(reopen: Opener) -> None:
    old, new = reopen(), reopen()
    epoch = old.begin()
    old.append(epoch, batch(1, 2))
    old.save_snapshot(epoch, 1, b"in time")
    new.begin()
    with pytest.raises(StaleEpoch):
        old.save_snapshot(epoch, 2, b"late")
    assert new.load_snapshot() == Snapshot(1, b"in time")


@pytest.mark.parametrize("sequence", [0, 3])
def test_a_snapshot_of_an_event_that_is_not_there_is_refused(reopen: Opener, sequence: int) -> None:
    log = reopen()
    epoch = log.begin()
    log.append(epoch, batch(1, 2))
    with pytest.raises(ValueError, match=f"no event {sequence}"):
        log.save_snapshot(epoch, sequence, b"")
    assert log.load_snapshot() is None


class LogModel(RuleBasedStateMachine):
    """Any sequence of calls, beside a list that says what must come out."""

    kind = "memory"
    new_url: Callable[[], AbstractContextManager[str]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        url = self.stack.enter_context(type(self).new_url())
        self.open = self.stack.enter_context(opener_of(self.kind, url))
        self.log = self.open()
        self.epochs: list[int] = [0]
        self.expected: list[Event] = []
        self.snapshot: Snapshot | None = None

    @rule()
    def begin(self) -> None:
        epoch = self.log.begin()
        assert epoch > self.epochs[-1]
        self.epochs.append(epoch)

    @precondition(lambda self: len(self.epochs) > 1)
    @rule(n=st.integers(0, 4))
    def append(self, n: int) -> None:
        new = batch(len(self.expected) + 1, n)
        assert self.log.append(self.epochs[-1], new) == len(self.expected) + n
        self.expected += new

    @precondition(lambda self: len(self.epochs) > 1)
    @rule(data=st.data())
    def append_of_an_older_epoch(self, data: st.DataObject) -> None:
        old = data.draw(st.sampled_from(self.epochs[:-1]))
        with pytest.raises(StaleEpoch):
            self.log.append(old, batch(1, 2))

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), body=st.binary(max_size=50))
    def save_snapshot(self, data: st.DataObject, body: bytes) -> None:
        self.snapshot = Snapshot(data.draw(st.integers(1, len(self.expected))), body)
        self.log.save_snapshot(self.epochs[-1], self.snapshot.sequence, body)

    @precondition(lambda self: self.expected and len(self.epochs) > 1)
    @rule(data=st.data())
    def snapshot_of_an_older_epoch(self, data: st.DataObject) -> None:
        with pytest.raises(StaleEpoch):
            self.log.save_snapshot(data.draw(st.sampled_from(self.epochs[:-1])), 1, b"late")

    @rule()
    def another_control_plane_opens_it(self) -> None:
        self.log = self.open()

    @rule(after=st.integers(0, 12))
    def read(self, after: int) -> None:
        assert [event for _, event in self.log.read(after)] == self.expected[after:]

    @rule(n=st.integers(0, 2))
    def read_workload(self, n: int) -> None:
        of_it = [(i, event) for i, event in enumerate(self.expected, start=1) if event == waits(i) and i % 3 == n]
        assert list(self.log.read_workload(WorkloadId(f"w-{n}"))) == of_it

    @invariant()
    def all_is_there(self) -> None:
        assert list(self.log.read()) == list(enumerate(self.expected, start=1))
        assert self.log.load_snapshot() == self.snapshot

    def teardown(self) -> None:
        self.stack.close()


def test_any_sequence_of_calls_gives_what_a_list_would(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    new_url = partial(url_of, kind, request, tmp_path)
    model = type("Model", (LogModel,), {"kind": kind, "new_url": staticmethod(new_url)})
    run_state_machine_as_test(
        model, settings=settings(max_examples=N_RUNS[kind], stateful_step_count=20, deadline=None)
    )


# What only holds across processes: these need a log on a disk.

WRITER = """
import sys
from aios.kernel.events import Waits
from aios.store.memory import MemoryLog
from aios.store.sql import SqlLog
from tests.support.postgres import schema_of_its_own
log = SqlLog(sys.argv[1])
epoch = log.begin()
last = 0
while True:
    batch = [Waits(float(n), f"w-{n % 3}", "capacity", f"event {n}") for n in range(last + 1, last + 4)]
    last = log.append(epoch, batch)
    print(last, flush=True)
"""

OLD_WRITER = """
import sys
from aios.kernel.events import Waits
from aios.kernel.ports import StaleEpoch
from aios.store.memory import MemoryLog
from aios.store.sql import SqlLog
from tests.support.postgres import schema_of_its_own
log = SqlLog(sys.argv[1])
epoch = log.begin()
print(log.append(epoch, [Waits(1.0, "w-1", "capacity", "event 1")]), flush=True)
sys.stdin.readline()
try:
    log.append(epoch, [Waits(2.0, "w-2", "capacity", "late")])
    print("written")
except StaleEpoch:
    print("refused")
"""


def start(script: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_what_was_acknowledged_is_there_after_kill_9(url: str, seed: int) -> None:
    acknowledged = 0
    kill_after = random.Random(seed).randrange(1, 120)
    with start(WRITER, url) as writer:
        assert writer.stdout is not None
        for n_lines, line in enumerate(writer.stdout, start=1):
            acknowledged = int(line)
            if n_lines == kill_after:
                writer.send_signal(signal.SIGKILL)  # wherever it is by now; lines still in the pipe were acknowledged
    assert writer.returncode == -signal.SIGKILL
    log = SqlLog(url)
    found = list(log.read())
    assert len(found) >= acknowledged >= 3 * kill_after
    assert len(found) % 3 == 0, "a batch is there in part"
    assert found == [(n, waits(n)) for n in range(1, len(found) + 1)]
    assert log.append(log.begin(), batch(len(found) + 1, 1)) == len(found) + 1
    log.close()


def test_a_writer_in_another_process_is_refused_once_it_is_succeeded(url: str) -> None:
    with start(OLD_WRITER, url) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == "1\n"
        log = SqlLog(url)
        epoch = log.begin()
        answer, _ = old.communicate("go on\n", timeout=60)
    assert answer == "refused\n"
    assert log.append(epoch, batch(2, 1)) == 2
    assert [event for _, event in log.read()] == [waits(1), waits(2)]
    log.close()


def test_two_processes_that_open_a_new_log_at_once_share_it(url: str) -> None:
    script = "import sys; from aios.store.sql import SqlLog; log = SqlLog(sys.argv[1]); print(log.begin())"
    starting = [start(script, url) for _ in range(3)]
    epochs = [process.communicate(timeout=60)[0] for process in starting]
    assert sorted(epochs) == ["1\n", "2\n", "3\n"]
