"""A backup has the log as it was at one moment, goes back into any database, and lets no zombie in."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from aios.errors import CorruptLog, StoreError, StoreFull, StoreUnavailable
from aios.kernel.ports import Snapshot, StaleEpoch
from aios.store import backups
from aios.store.backups import backup, backup_into, backups_in, how_to_restore, newest_sound
from aios.store.restoring import EPOCH_LEAP, restore
from aios.store.sql import SqlLog
from aios.store.verifying import verify
from tests.support.stores import change, events_of, fill, numbered, waits

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NewUrl = Callable[[str], str]


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A sound backup of nine events."""
    fill(url_of(tmp_path / "source.db"), 9).close()
    return backup(url_of(tmp_path / "source.db"), tmp_path / "copy.db", NOW).path


def test_a_backup_holds_the_same_chain_and_goes_back_into_any_database(
    url: str, new_url: NewUrl, tmp_path: Path
) -> None:
    log = fill(url, 5000)  # more than two pages
    log.save_snapshot(1, 4000, b"a state")
    made = backup(url, tmp_path / "copy.db", NOW)
    log.close()
    assert (made.head.seq, made.head.epoch) == (5000, 1)
    for kind in ("sqlite", "postgres"):
        target = new_url(kind)
        done = restore(made.path, target, NOW)
        assert (done.head.seq, done.head.checksum, done.kept, done.lost) == (5000, made.head.checksum, "", 0)
        again = SqlLog(target)
        assert list(again.read()) == numbered(5000)
        assert again.load_snapshot() == Snapshot(4000, b"a state")
        assert again.append(again.begin(), [waits(5001)]) == 5001
        again.close()


def test_a_backup_is_taken_of_one_moment_while_the_log_is_written(url: str, tmp_path: Path) -> None:
    """Batches of seven: no backup has a part of one, and each has at least what was acknowledged before it began."""
    log, stop, acknowledged = fill(url, 7), threading.Event(), [7]

    def write() -> None:
        while not stop.is_set():
            first = acknowledged[-1] + 1
            acknowledged.append(log.append(1, [waits(i) for i in range(first, first + 7)]))

    writer = threading.Thread(target=write)
    writer.start()
    for i in range(4):
        least = acknowledged[-1]
        made = backup(url, tmp_path / f"{i}.db", NOW)
        assert made.head.seq >= least
        assert made.head.seq % 7 == 0
        assert events_of(url_of(made.path)) == numbered(made.head.seq)
    stop.set()
    writer.join()
    log.close()


def test_a_backup_is_one_private_file_with_nothing_beside_it(copy: Path) -> None:
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in copy.parent.iterdir() if "copy" in path.name] == ["copy.db"]
    connection = sqlite3.connect(copy)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_backup_writes_over_nothing(copy: Path, tmp_path: Path) -> None:
    before = copy.read_bytes()
    with pytest.raises(StoreError, match=r"copy\.db is there already"):
        backup(url_of(tmp_path / "source.db"), copy, NOW)
    with pytest.raises(StoreError, match=r"no folder .*nowhere"):
        backup(url_of(tmp_path / "source.db"), tmp_path / "nowhere" / "copy.db", NOW)
    assert copy.read_bytes() == before


def test_a_damaged_log_gives_no_backup(tmp_path: Path) -> None:
    fill(url_of(tmp_path / "source.db"), 9).close()
    change(tmp_path / "source.db", "UPDATE events SET body = replace(body, 'event 5', 'event 6') WHERE seq = 5")
    with pytest.raises(CorruptLog, match="event 5"):
        backup(url_of(tmp_path / "source.db"), tmp_path / "copy.db", NOW)
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


def test_a_backup_does_not_take_the_last_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(url_of(tmp_path / "source.db"), 9).close()
    monkeypatch.setattr(backups, "SPARE_BYTES", 2**60)
    with pytest.raises(StoreFull, match=r"needs \d+ MiB in .* nothing was written"):
        backup(url_of(tmp_path / "source.db"), tmp_path / "copy.db", NOW)
    assert not (tmp_path / "copy.db").exists()


def test_a_store_of_the_first_schema_is_backed_up_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    fill(url_of(path), 9).close()
    change(path, "DROP TABLE snapshots")
    change(path, "UPDATE meta SET schema_version = 1")
    made = backup(url_of(path), tmp_path / "copy.db", NOW)
    assert events_of(url_of(made.path)) == numbered(9)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT schema_version FROM meta").fetchone() == (1,), "looking changes nothing"
    connection.close()


def test_a_log_with_events_is_replaced_by_force_alone_and_then_kept(url: str, copy: Path) -> None:
    fill(url, 20, "of the old log").close()
    with pytest.raises(StoreError, match="has 20 events; nothing was changed") as caught:
        restore(copy, url, NOW)
    assert f"aios store restore --force {copy}" in caught.value.hint
    assert len(events_of(url)) == 20
    done = restore(copy, url, NOW, force=True)
    assert (done.lost, done.head.seq) == (11, 9)
    assert events_of(url) == numbered(9)
    if url.startswith("sqlite"):
        assert len(events_of(url_of(Path(done.kept)))) == 20
    else:
        assert "_before_20261124t120000z of" in done.kept


@pytest.mark.parametrize("damage", [b"these are not the events" * 999, b"SQLite format 3\x00" + b"\xff" * 9000, b"x"])
def test_a_log_that_cannot_be_read_is_replaced_by_force_and_kept_as_it_was(
    tmp_path: Path, copy: Path, damage: bytes
) -> None:
    path = tmp_path / "aios.db"
    path.write_bytes(damage)
    with pytest.raises(StoreError, match="cannot be read"):
        restore(copy, url_of(path), NOW)
    done = restore(copy, url_of(path), NOW, force=True)
    assert Path(done.kept).read_bytes() == damage
    assert events_of(url_of(path)) == numbered(9)


def test_what_an_old_log_has_in_its_write_ahead_log_is_kept_with_it(tmp_path: Path, copy: Path) -> None:
    """And above all is not taken for the new log's."""
    path = tmp_path / "aios.db"
    live = fill(url_of(tmp_path / "live.db"), 20, "of the old log")
    for side in ("", "-wal"):  # as after kill -9
        (tmp_path / f"aios.db{side}").write_bytes((tmp_path / f"live.db{side}").read_bytes())
    live.close()
    done = restore(copy, url_of(path), NOW, force=True)
    assert events_of(url_of(path)) == numbered(9)
    assert len(events_of(url_of(Path(done.kept)))) == 20


def test_a_log_is_not_replaced_while_a_control_plane_uses_it(url: str, copy: Path) -> None:
    log = fill(url, 20)
    with pytest.raises(StoreUnavailable, match="a control plane uses it") as caught:
        restore(copy, url, NOW, force=True)
    assert "aios down" in caught.value.hint
    assert log.append(1, [waits(21)]) == 21
    log.close()
    assert restore(copy, url, NOW, force=True).lost == 12


def test_whoever_wrote_before_a_restore_is_refused_after_it(tmp_path: Path, copy: Path, new_url: NewUrl) -> None:
    """A backup of epoch 1 over a log of epoch 3: an old writer must not find its own epoch given anew."""
    url = new_url("postgres")
    for _ in range(3):
        zombie = fill(url, 9)
        zombie._holding.give_back()  # as where its connection broke unseen
    done = restore(copy, url, NOW, force=True)
    assert done.head.epoch == 3 + EPOCH_LEAP
    with pytest.raises(StaleEpoch):
        zombie.append(3, [waits(10)])
    successor = SqlLog(url)
    assert successor.begin() == 4 + EPOCH_LEAP
    for log in (zombie, successor):
        log.close()


@pytest.mark.parametrize("content", [b"", b"no backup at all" * 100])
def test_what_is_no_backup_is_not_restored(tmp_path: Path, content: bytes) -> None:
    source, target = tmp_path / "source.db", tmp_path / "aios.db"
    source.write_bytes(content)
    fill(url_of(target), 3).close()
    with pytest.raises(StoreError, match=r"source\.db"):
        restore(source, url_of(target), NOW, force=True)
    assert events_of(url_of(target)) == numbered(3)


def test_a_damaged_backup_is_not_restored(tmp_path: Path, copy: Path) -> None:
    change(copy, "UPDATE events SET at_s = 5.5 WHERE seq = 5")
    target = tmp_path / "aios.db"
    with pytest.raises(CorruptLog, match="no sound backup: event 5"):
        restore(copy, url_of(target), NOW)
    assert not target.exists()


def test_a_backup_of_a_newer_version_is_not_restored(tmp_path: Path, copy: Path) -> None:
    change(copy, "UPDATE meta SET schema_version = 99")
    with pytest.raises(StoreError, match="schema 99"):
        restore(copy, url_of(tmp_path / "aios.db"), NOW)


def test_the_log_itself_is_not_its_backup(copy: Path) -> None:
    with pytest.raises(StoreError, match="is the log itself"):
        restore(copy, url_of(copy), NOW, force=True)


def test_the_last_backups_stay_and_an_unchanged_log_needs_no_new_one(tmp_path: Path) -> None:
    url, folder = url_of(tmp_path / "aios.db"), tmp_path / "backups"
    made = []
    for hour in range(4):
        fill(url, 5 * (hour + 1)).close()
        made.append(backup_into(url, folder, 3, NOW + timedelta(hours=hour)))
        again = backup_into(url, folder, 3, NOW + timedelta(hours=hour, minutes=30))
        assert (again.new, again.path) == (False, made[-1].path)
    assert backups_in(folder) == [one.path for one in made[:0:-1]]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_killed_backup_left_is_removed_by_the_next(tmp_path: Path) -> None:
    url, folder = url_of(tmp_path / "aios.db"), tmp_path / "backups"
    folder.mkdir()
    (folder / ".aios-20261124T120000Z-9.db.77.part").write_bytes(b"half")
    (folder / ".aios-20261124T120000Z-9.db.77.part-wal").write_bytes(b"half")
    fill(url, 9).close()
    made = backup_into(url, folder, 3, NOW)
    assert list(folder.iterdir()) == [made.path]


def test_the_newest_backup_that_is_sound_is_named(tmp_path: Path) -> None:
    url, folder = url_of(tmp_path / "aios.db"), tmp_path / "back ups"
    assert "no sound backup" in how_to_restore(folder)
    made = []
    for hour in range(3):
        fill(url, 5 * (hour + 1)).close()
        made.append(backup_into(url, folder, 3, NOW + timedelta(hours=hour)).path)
    change(made[2], "DELETE FROM events WHERE seq = 7")
    found = newest_sound(folder)
    assert found is not None
    assert (found[0], found[1].seq) == (made[1], 10)
    assert f"aios store restore --force '{made[1]}'" in how_to_restore(folder)


BROKEN = [
    ("UPDATE events SET body = replace(body, 'event 5', 'event 6') WHERE seq = 5", 5, 4, "does not match its checksum"),
    ("DELETE FROM events WHERE seq = 5", 5, 4, "is missing"),
    ("DELETE FROM events WHERE seq > 7", 8, 7, "is missing"),
    ("UPDATE meta SET head_checksum = 'ab'", 9, 8, "not the one that was written last"),
    ("UPDATE events SET epoch = 0 WHERE seq = 5", 5, 4, "is of epoch 0"),
    ("DROP INDEX ix_events_workload", None, 9, ""),
]


@pytest.mark.parametrize("statement, seq, good, problem", BROKEN)
def test_verify_says_where_a_log_is_broken(
    tmp_path: Path, statement: str, seq: int | None, good: int, problem: str
) -> None:
    fill(url_of(tmp_path / "aios.db"), 9).close()
    change(tmp_path / "aios.db", statement)
    verdict = verify(url_of(tmp_path / "aios.db"))
    assert (verdict.broken_at, verdict.events, verdict.sound) == (seq, good, not problem)
    assert problem in verdict.problem
    assert ("aios store restore" in verdict.hint) is bool(problem)


def test_verify_tells_what_a_sound_log_holds(url: str) -> None:
    log = fill(url, 2500)
    log.save_snapshot(1, 2000, b"a state")
    head, verdict = log.head(), verify(url)
    log.close()
    assert (verdict.sound, verdict.events, verdict.epoch, verdict.last_event_s) == (True, 2500, 1, 2500.0)
    assert (verdict.head_checksum, verdict.snapshot) == (head.checksum, 2000)
