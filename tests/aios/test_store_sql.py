"""A log in a SQL database keeps its promises when files are damaged, full, locked or somebody else's."""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aios.errors import CorruptLog, StoreError, StoreFull, StoreUnavailable, UnreadableEvent
from aios.kernel.events import EpochStarted, Event, Finished, Waits, WorkloadId
from aios.kernel.ports import Snapshot
from aios.store import databases, sql, walk
from aios.store.codec import loads
from aios.store.sql import SqlLog

SAMPLE = Path(__file__).parents[1] / "contract" / "logs" / "v1.jsonl"


def waits(n: int, detail: str = "") -> Event:
    return Waits(float(n), WorkloadId(f"w-{n % 3}"), "capacity", detail or f"event {n}")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "aios.db"


@pytest.fixture
def log(path: Path) -> Iterator[SqlLog]:
    made = SqlLog(f"sqlite:///{path}")
    yield made
    made.close()


def written(path: Path, n: int = 9) -> None:
    """Write a log of n events and leave nothing but its file."""
    log = SqlLog(f"sqlite:///{path}")
    log.append(log.begin(), [waits(i) for i in range(1, n + 1)])
    log.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


def test_a_log_of_all_event_types_is_still_there_when_it_is_opened_again(log: SqlLog, path: Path) -> None:
    events = [loads(line) for line in SAMPLE.read_text().splitlines()]
    log.append(log.begin(), events)
    log.close()
    assert [event for _, event in SqlLog(f"sqlite:///{path}").read()] == events


def test_the_events_of_one_workload_are_found_by_it(log: SqlLog) -> None:
    events = [loads(line) for line in SAMPLE.read_text().splitlines()]
    log.append(log.begin(), events)
    of_one = list(log.read_workload(WorkloadId("train-digits-1")))
    assert [type(event).__name__ for _, event in of_one] == [
        "Submitted", "Waits", "Granted", "AttemptStarted", "PlacementDiffered", "CheckpointSaved", "PreemptionOrdered",
        "AttemptEnded", "Requeued", "AttemptEnded", "Published", "Finished",
    ]  # fmt: skip
    assert dict(of_one).items() <= dict(log.read()).items()
    assert list(log.read_workload(WorkloadId("train"))) == []


def test_long_logs_are_read_over_several_pages(log: SqlLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "PAGE", 4)
    epoch = log.begin()
    for n in (8, 9):  # a last page that is full, and one that is not
        log.append(epoch, [waits(i) for i in range(len(list(log.read())) + 1, n + 1)])
        assert list(log.read()) == [(i, waits(i)) for i in range(1, n + 1)]
        assert [i for i, _ in log.read_workload(WorkloadId("w-0"))] == list(range(3, n + 1, 3))


def test_only_its_owner_can_read_the_log(log: SqlLog, path: Path) -> None:
    old_mask = os.umask(0)
    try:
        log.append(log.begin(), [waits(1)])
    finally:
        os.umask(old_mask)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = sorted(path.parent.iterdir())
    assert len(files) >= 2, "the write-ahead log stands beside the file"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    written(path)
    path.chmod(0o644)
    SqlLog(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_commit_reaches_the_disk(log: SqlLog) -> None:
    with log._engine.connect() as connection:  # the settings are what durability rests on
        asked = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in (
            "journal_mode", "synchronous", "busy_timeout", "foreign_keys")}  # fmt: skip
    assert asked == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 5000, "foreign_keys": 1}


DAMAGE = [
    pytest.param("UPDATE events SET body = replace(body, 'event 5', 'event 6') WHERE seq = 5", 5, id="body"),
    pytest.param("UPDATE events SET at_s = 5.5 WHERE seq = 5", 5, id="time"),
    pytest.param("UPDATE events SET epoch = 2 WHERE seq = 5", 5, id="epoch"),
    pytest.param("UPDATE events SET epoch = 'one' WHERE seq = 5", 5, id="epoch's type"),
    pytest.param("UPDATE events SET workload = 'w-9' WHERE seq = 5", 5, id="workload"),
    pytest.param("UPDATE events SET workload = NULL WHERE seq = 5", 5, id="no workload"),
    pytest.param("UPDATE events SET type = 'Finished' WHERE seq = 5", 5, id="type"),
    pytest.param("UPDATE events SET checksum = 'ab' WHERE seq = 5", 5, id="checksum"),
    pytest.param("UPDATE events SET body = CAST(x'ff00fe' AS TEXT) WHERE seq = 5", 5, id="no text"),
    pytest.param("DELETE FROM events WHERE seq = 5", 5, id="one lost"),
    pytest.param("DELETE FROM events WHERE seq < 3", 1, id="first ones lost"),
    pytest.param("DELETE FROM events WHERE seq > 7", 8, id="last ones lost"),
    pytest.param("DELETE FROM events", 1, id="all lost"),
    pytest.param("UPDATE meta SET head_seq = 8", 9, id="head too early"),
    pytest.param("UPDATE meta SET head_checksum = 'ab'", 9, id="head's checksum"),
    pytest.param("UPDATE meta SET epoch = 0", 9, id="epoch fell"),
]


@pytest.mark.parametrize("statement, seq", DAMAGE)
def test_an_event_that_was_changed_is_named_and_never_repaired(path: Path, statement: str, seq: int) -> None:
    written(path)
    change(path, statement)
    log = SqlLog(f"sqlite:///{path}")
    before = path.read_bytes()
    for _ in range(2):
        good = []
        with pytest.raises(CorruptLog, match=f"event {seq} of the log {path}") as caught:
            good.extend(log.read())
        assert caught.value.seq == seq
        assert "backup" in caught.value.hint
        assert good == [(i, waits(i)) for i in range(1, len(good) + 1)]
    assert path.read_bytes() == before


def test_a_head_that_lags_behind_its_events_is_not_written_over(path: Path) -> None:
    written(path)
    change(path, "UPDATE meta SET head_seq = 8")
    log = SqlLog(f"sqlite:///{path}")
    with pytest.raises(CorruptLog):
        log.append(log.begin(), [waits(9, "another one")])


def test_events_that_changed_places_are_noticed(path: Path) -> None:
    written(path)
    for old, new in ((4, 100), (5, 4), (100, 5)):
        change(path, "UPDATE events SET seq = ? WHERE seq = ?", new, old)
    with pytest.raises(CorruptLog, match="event 4"):
        list(SqlLog(f"sqlite:///{path}").read())


def test_a_workload_s_events_are_verified_too(path: Path) -> None:
    written(path)
    change(path, "UPDATE events SET body = replace(body, 'event 6', 'event 7') WHERE seq = 6")
    with pytest.raises(CorruptLog, match="event 6"):
        list(SqlLog(f"sqlite:///{path}").read_workload(WorkloadId("w-0")))


def test_no_flipped_bit_passes_in_silence(path: Path, tmp_path: Path) -> None:
    written(path, n=60)
    whole = path.read_bytes()
    expected = [(i, waits(i)) for i in range(1, 61)]
    copy = tmp_path / "flipped.db"
    noticed = 0
    chance = random.Random(7)
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        copy.write_bytes(flipped)
        for side in ("-wal", "-shm"):
            copy.with_name(copy.name + side).unlink(missing_ok=True)
        log = None
        try:
            log = SqlLog(f"sqlite:///{copy}")
            assert list(log.read()) == expected  # a bit in unused space changes nothing
        except StoreError:
            noticed += 1
        finally:
            if log is not None:
                log.close()
    assert noticed > 100


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"these are not the events" * 500)
    with pytest.raises(CorruptLog, match="not a database"):
        SqlLog(f"sqlite:///{path}")


def test_a_full_disk_writes_nothing_and_says_so(path: Path) -> None:
    written(path)
    log = SqlLog(f"sqlite:///{path}")
    epoch = log.begin()
    with log._engine.connect() as connection:  # no more pages than now, on the one pooled connection
        connection.exec_driver_sql("PRAGMA max_page_count=1")
    with pytest.raises(StoreFull, match=r"full; nothing was written") as caught:
        log.append(epoch, [waits(i, "x" * 5000) for i in range(10, 20)])
    assert "free some space" in caught.value.hint
    assert len(list(log.read())) == 9
    with log._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")
    assert log.append(epoch, [waits(10)]) == 10


FILLED = """
import resource, signal, sys
from aios.errors import StoreError
from aios.kernel.events import Waits
from aios.store.sql import SqlLog
log = SqlLog(sys.argv[1])
epoch = log.begin()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
last = 0
try:
    while True:
        last = log.append(epoch, [Waits(float(n), "w-1", "capacity", "x" * 2000) for n in range(last, last + 4)])
except StoreError as error:
    print(last, sum(1 for _ in log.read()))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(log.append(epoch, [Waits(0.0, "w-1", "capacity", "there is room again")]))
"""


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY, reason="limited already")
def test_when_the_file_cannot_grow_all_that_was_acknowledged_stays_and_it_goes_on_later(path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FILLED, f"sqlite:///{path}"], cwd=root, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    last, readable, later = map(int, done.stdout.split())
    assert last == readable > 0
    assert later == last + 1
    assert len(list(SqlLog(f"sqlite:///{path}").read())) == later


def test_a_log_that_somebody_holds_is_waited_for_and_then_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_MS", 50)
    written(path)
    log = SqlLog(f"sqlite:///{path}")
    epoch = log.begin()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked; nothing was written") as caught:
        log.append(epoch, [waits(10)])
    assert caught.value.http_status == 503
    assert len(list(log.read())) == 9, "readers are not held up"
    SqlLog(f"sqlite:///{path}").close()  # nor is one that only opens it
    other.execute("ROLLBACK")
    other.close()
    assert log.append(epoch, [waits(10)]) == 10


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_batch_with_one_event_that_cannot_be_kept_is_not_kept_at_all(log: SqlLog, bad: int) -> None:
    epoch = log.begin()
    events: list[Event] = [waits(1), waits(2), waits(3)]
    events[bad] = Finished(1.0, WorkloadId("w-1"), status=3)  # type: ignore[arg-type]  # that is what is bad
    with pytest.raises(TypeError, match=r"Finished\.status"):
        log.append(epoch, events)
    assert list(log.read()) == []


BROKEN_SNAPSHOTS = [
    pytest.param("UPDATE snapshots SET body = x'6162'", id="body"),
    pytest.param("UPDATE snapshots SET body = 'text'", id="text"),
    pytest.param("UPDATE snapshots SET seq = 4", id="of another event"),
    pytest.param("UPDATE snapshots SET seq = 400", id="of an event that is not there"),
    pytest.param("UPDATE snapshots SET epoch = 7", id="epoch"),
    pytest.param("UPDATE snapshots SET epoch = 'one'", id="epoch's type"),
    pytest.param("UPDATE snapshots SET checksum = 'ab'", id="checksum"),
]


@pytest.mark.parametrize("statement", BROKEN_SNAPSHOTS)
def test_a_broken_snapshot_is_passed_over_and_said_so(
    log: SqlLog, path: Path, statement: str, capsys: pytest.CaptureFixture[str]
) -> None:
    epoch = log.begin()
    log.append(epoch, [waits(i) for i in range(1, 10)])
    log.save_snapshot(epoch, 5, b"a state")
    change(path, statement)
    assert log.load_snapshot() is None
    assert "snapshot_ignored" in capsys.readouterr().out
    assert len(list(log.read())) == 9
    log.save_snapshot(epoch, 6, b"a newer state")
    assert log.load_snapshot() == Snapshot(6, b"a newer state")


def test_a_snapshot_of_another_log_is_passed_over(log: SqlLog, path: Path, tmp_path: Path) -> None:
    """As after a restore: the numbers are the same, the events are not."""
    written(path)
    other = SqlLog(f"sqlite:///{tmp_path / 'other.db'}")
    epoch = other.begin()
    other.append(epoch, [waits(i, "of another log") for i in range(1, 10)])
    other.save_snapshot(epoch, 5, b"another state")
    connection = sqlite3.connect(path)
    connection.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
    connection.execute("INSERT INTO main.snapshots SELECT * FROM other.snapshots")
    connection.commit()
    connection.close()
    assert log.load_snapshot() is None


def test_a_store_of_the_first_schema_gets_what_it_lacks_and_keeps_its_events(path: Path) -> None:
    written(path)
    change(path, "DROP TABLE snapshots")
    change(path, "UPDATE meta SET schema_version = 1")
    log = SqlLog(f"sqlite:///{path}")
    assert [event for _, event in log.read()] == [waits(i) for i in range(1, 10)]
    assert log.load_snapshot() is None
    epoch = log.begin()
    log.save_snapshot(epoch, 9, b"a state")
    log.close()
    again = SqlLog(f"sqlite:///{path}")
    assert again.load_snapshot() == Snapshot(9, b"a state")
    assert again.append(epoch, [waits(10)]) == 10


def test_a_log_of_a_newer_schema_is_refused(path: Path) -> None:
    written(path)
    change(path, "UPDATE meta SET schema_version = 99")
    with pytest.raises(StoreError, match="schema 99") as caught:
        SqlLog(f"sqlite:///{path}")
    assert "newer version" in caught.value.hint


def test_an_event_of_a_newer_version_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SqlLog(f"sqlite:///{path}")
    epoch = log.begin()
    log.append(epoch, [waits(1)])
    monkeypatch.setattr(sql, "dumps", lambda event: '{"type":"Teleported"}')
    log.append(epoch, [EpochStarted(1.0, 1, "9.9")])
    with pytest.raises(UnreadableEvent, match=r"event 2 of .*'Teleported'") as caught:
        list(log.read())
    assert "newer version" in caught.value.hint


@pytest.mark.parametrize(
    "url, message",
    [
        ("sqlite://", "no durable event log"),
        ("sqlite:///:memory:", "no durable event log"),
        ("mysql://host/aios", "no durable event log"),
        ("aios.db", "no database URL"),
    ],
)
def test_a_url_that_cannot_hold_a_log_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        SqlLog(url)
    assert "sqlite:////path/aios.db" in caught.value.hint


def test_a_directory_that_cannot_be_made_is_reported_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=f"{tmp_path}/file/aios.db") as caught:
        SqlLog(f"sqlite:///{tmp_path}/file/aios.db")
    assert "state directory" in caught.value.hint


def test_a_password_is_never_shown() -> None:
    assert "hunter2" not in databases.display_name("postgresql://me:hunter2@db/aios")


def test_a_copy_of_the_file_is_a_backup(path: Path, tmp_path: Path) -> None:
    written(path)
    copy = shutil.copy(path, tmp_path / "backup.db")
    assert [i for i, _ in SqlLog(f"sqlite:///{copy}").read()] == list(range(1, 10))


def test_a_hundred_thousand_events_are_read_in_a_few_seconds(log: SqlLog) -> None:
    """The bound is generous; about 2 s of CPU time are usual."""
    events = [loads(line) for line in SAMPLE.read_text().splitlines()] * 50
    epoch = log.begin()
    for _ in range(20):
        log.append(epoch, events)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert sum(1 for _ in log.read()) == 20 * len(events) >= 20_000
    spent_s = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    assert spent_s < 10 * (20 * len(events) / 100_000)
