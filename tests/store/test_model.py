"""The store beside a plain list: any order of take-overs, appends, crashes, snapshots, backups and restores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from aios.errors import StoreError
from aios.kernel.events import Event
from aios.kernel.ports import Log, Snapshot, StaleEpoch
from aios.store.backups import backup
from aios.store.memory import MemoryLog
from aios.store.restoring import restore
from aios.store.sql import SqlLog
from aios.store.verifying import verify
from tests.support.stores import waits

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MEMORY = Path("/dev/shm")
"""Where there is one, a disk in memory: what a real one keeps through a crash is tested elsewhere."""


@dataclass(slots=True)
class Writer:
    """A control plane: its epoch in each log, and its own connection to the file, None once it has crashed."""

    epoch: int
    memory_epoch: int
    log: SqlLog | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A backup, and what it must bring back."""

    path: Path
    events: tuple[Event, ...]
    snapshot: Snapshot | None


@dataclass(slots=True)
class Model:
    events: list[Event] = field(default_factory=list)
    snapshot: Snapshot | None = None


class Stores(RuleBasedStateMachine):
    """A log in memory and one in a file take the same calls; both must say what the list says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.path = Path(self.folder.name) / "state" / "aios.db"
        self.url = f"sqlite:///{self.path}"
        self.memory, self.model = MemoryLog(), Model()
        self.reader = SqlLog(self.url)
        self.writers: list[Writer] = []
        self.backups: list[Kept] = []
        self.n_events, self.moment = 0, NOW

    # -- writers come and go

    @rule()
    def a_control_plane_takes_over(self) -> None:
        log = SqlLog(self.url)
        epoch, memory_epoch = log.begin(), self.memory.begin()
        assert epoch > max((writer.epoch for writer in self.writers), default=0)
        self.writers.append(Writer(epoch, memory_epoch, log))

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def one_crashes(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        if writer.log is not None:
            writer.log.close()
            writer.log = None

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def one_comes_back_and_still_believes_that_it_writes(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.writers))
        if writer.log is None:
            writer.log = SqlLog(self.url)

    # -- they write

    @precondition(lambda self: self.writers)
    @rule(n=st.integers(0, 5))
    def the_newest_appends(self, n: int) -> None:
        new = self._new(n)
        last = len(self.model.events) + n
        assert self._newest_log().append(self.writers[-1].epoch, new) == last
        assert self.memory.append(self.writers[-1].memory_epoch, new) == last
        self.model.events += new

    @precondition(lambda self: len(self.writers) > 1)
    @rule(data=st.data(), n=st.integers(0, 3))
    def an_older_one_appends_in_vain(self, data: st.DataObject, n: int) -> None:
        old = data.draw(st.sampled_from(self.writers[:-1]))
        for log, epoch in self._both(old):
            with pytest.raises(StaleEpoch):
                log.append(epoch, self._new(n))

    @precondition(lambda self: self.writers)
    @rule(ahead=st.integers(1, 3))
    def nobody_appends_under_an_epoch_that_was_not_given(self, ahead: int) -> None:
        for log, epoch in self._both(self.writers[-1]):
            with pytest.raises(StaleEpoch):
                log.append(epoch + ahead, self._new(1))

    @precondition(lambda self: self.writers and self.model.events)
    @rule(data=st.data(), body=st.binary(max_size=40))
    def the_newest_saves_a_snapshot(self, data: st.DataObject, body: bytes) -> None:
        self.model.snapshot = Snapshot(data.draw(st.integers(1, len(self.model.events))), body)
        for log, epoch in self._both(self.writers[-1]):
            log.save_snapshot(epoch, self.model.snapshot.sequence, body)

    @precondition(lambda self: self.writers)
    @rule(beyond=st.integers(1, 3))
    def no_snapshot_is_saved_of_what_is_not_there(self, beyond: int) -> None:
        for log, epoch in self._both(self.writers[-1]):
            with pytest.raises(ValueError, match="there is no event"):
                log.save_snapshot(epoch, len(self.model.events) + beyond, b"")

    @precondition(lambda self: len(self.writers) > 1 and self.model.events)
    @rule(data=st.data())
    def an_older_one_saves_no_snapshot(self, data: st.DataObject) -> None:
        for log, epoch in self._both(data.draw(st.sampled_from(self.writers[:-1]))):
            with pytest.raises(StaleEpoch):
                log.save_snapshot(epoch, 1, b"late")

    # -- backups

    @precondition(lambda self: len(self.backups) < 3)
    @rule()
    def a_backup_is_made(self) -> None:
        path = Path(self.folder.name) / f"backup-{len(self.backups)}.db"
        assert backup(self.url, path, self.moment).head.seq == len(self.model.events)
        self.backups.append(Kept(path, tuple(self.model.events), self.model.snapshot))

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def a_restore_under_a_control_plane_that_lives_is_refused(self, data: st.DataObject) -> None:
        holder = SqlLog(self.url)
        self.writers.append(Writer(holder.begin(), self.memory.begin(), holder))
        with pytest.raises(StoreError, match="a control plane uses it"):
            restore(data.draw(st.sampled_from(self.backups)).path, self.url, self.moment, force=True)

    @precondition(lambda self: self.backups)
    @rule(data=st.data())
    def a_backup_is_restored(self, data: st.DataObject) -> None:
        """All that was given since is gone, and no epoch of before is good any more."""
        kept = data.draw(st.sampled_from(self.backups))
        for writer in self.writers:
            if writer.log is not None:
                writer.log.close()
                writer.log = None
        self.reader.close()
        self.moment += timedelta(seconds=1)
        done = restore(kept.path, self.url, self.moment, force=True)
        assert done.lost == max(0, len(self.model.events) - len(kept.events))
        self.model = Model(list(kept.events), kept.snapshot)
        self.reader = SqlLog(self.url)
        self._restore_memory()
        self.a_control_plane_takes_over()

    # -- what must hold

    @rule(after=st.integers(0, 15))
    def reading_goes_on_after_a_number(self, after: int) -> None:
        wanted = list(enumerate(self.model.events, start=1))[after:]
        assert list(self.reader.read(after)) == list(self.memory.read(after)) == wanted

    @rule(n=st.integers(0, 2))
    def a_workload_is_read_by_itself(self, n: int) -> None:
        wanted = [(i, e) for i, e in enumerate(self.model.events, start=1) if e.workload == f"w-{n}"]  # type: ignore[union-attr]  # all are Waits
        assert list(self.reader.read_workload(wanted[0][1].workload)) == wanted if wanted else True  # type: ignore[union-attr]

    @invariant()
    def both_hold_what_the_list_holds(self) -> None:
        wanted = list(enumerate(self.model.events, start=1))
        assert list(self.reader.read()) == list(self.memory.read()) == wanted
        assert self.reader.load_snapshot() == self.memory.load_snapshot() == self.model.snapshot

    def teardown(self) -> None:
        for writer in self.writers:
            if writer.log is not None:
                writer.log.close()
        self.reader.close()
        found = verify(self.url)
        assert (found.events, found.problem) == (len(self.model.events), "")
        self.folder.cleanup()

    # -- helpers

    def _new(self, n: int) -> list[Event]:
        """Return events that were never given before."""
        first, self.n_events = self.n_events + 1, self.n_events + n
        return [waits(i) for i in range(first, first + n)]

    def _newest_log(self) -> SqlLog:
        writer = self.writers[-1]
        if writer.log is None:  # it lost its connection, and nobody has taken over since
            writer.log = SqlLog(self.url)
        return writer.log

    def _both(self, writer: Writer) -> Sequence[tuple[Log, int]]:
        log = self._newest_log() if writer is self.writers[-1] else writer.log or self.reader
        return (log, writer.epoch), (self.memory, writer.memory_epoch)

    def _restore_memory(self) -> None:
        """Put the log in memory where a restore would: other events, and an epoch beyond all that were given."""
        given = max((writer.memory_epoch for writer in self.writers), default=0)
        self.memory = MemoryLog()
        epoch = 0
        while epoch <= given:
            epoch = self.memory.begin()
        self.memory.append(epoch, self.model.events)
        if self.model.snapshot is not None:
            self.memory.save_snapshot(epoch, self.model.snapshot.sequence, self.model.snapshot.body)


def test_memory_and_sqlite_say_what_a_list_says_through_crashes_backups_and_restores() -> None:
    run_state_machine_as_test(Stores, settings=settings(max_examples=20, stateful_step_count=25, deadline=None))
