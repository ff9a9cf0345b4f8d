"""What kill -9, torn writes, bent bits and a full disk leave of a log: all that was acknowledged, or a clear word."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from aios.errors import StoreError, StoreFull
from aios.store.backups import backup
from aios.store.sql import SqlLog
from tests.store.test_backup import NOW
from tests.support import wreck
from tests.support.silence import silence
from tests.support.stores import events_of, fill_up, numbered, waits

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kills", [40])
def test_nothing_acknowledged_is_lost_by_writers_that_are_killed_at_any_moment(url: str, kills: int) -> None:
    """``python -m benchmarks.store --kills 500`` does it more often."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kills", url, str(kills), "7"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == kills
    assert found["in_the_log"] >= found["acknowledged"] > kills
    assert {key: found[key] for key in ("lost", "torn", "changed", "snapshots_lost")} == {
        "lost": 0, "torn": 0, "changed": 0, "snapshots_lost": 0,
    }  # fmt: skip


def test_a_torn_or_scrambled_write_ahead_log_opens_to_an_exact_prefix(tmp_path: Path) -> None:
    path = tmp_path / "aios.db"
    whole = wreck.written(path, 60, in_wal=40)
    found = wreck.torn(path, tmp_path / "work.db", whole, least=20 * wreck.BATCH, n=120, seed=3)
    assert found == {"prefix": 120}


def test_no_bent_bit_passes_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "aios.db"
    whole = wreck.written(path, 8, snapshot=True)
    chance, n_bytes = random.Random(5), path.stat().st_size
    bits = [(chance.randrange(n_bytes), chance.randrange(8)) for _ in range(500)]
    with silence():
        found = wreck.flipped(path, tmp_path / "work.db", whole, bits)
    assert found["silent"] == 0
    assert found["noticed"] > 50
    assert found["snapshot passed over"] > 5


def append_until_refused(log: SqlLog, epoch: int) -> tuple[int, StoreError]:
    """Return the last event that was acknowledged, and why the next one was not."""
    last = 0
    while True:
        try:
            last = log.append(epoch, [waits(n) for n in range(last + 1, last + 9)])
        except StoreError as error:
            return last, error


def test_on_a_full_disk_all_that_was_acknowledged_stays_and_it_goes_on_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    log = SqlLog(f"sqlite:///{small_disk / 'aios.db'}")
    epoch = log.begin()
    last, error = append_until_refused(log, epoch)
    assert "full; nothing was written" in error.message
    assert (error.code, error.http_status) == ("store_full", 507)
    assert list(log.read()) == numbered(last)
    with pytest.raises(StoreError):
        log.save_snapshot(epoch, last, bytes(300_000))
    with pytest.raises(StoreFull):
        backup(f"sqlite:///{small_disk / 'aios.db'}", small_disk / "copy.db", NOW)
    ballast.unlink()
    assert log.append(epoch, [waits(last + 1)]) == last + 1
    log.close()
    assert events_of(f"sqlite:///{small_disk / 'aios.db'}") == numbered(last + 1)


def test_a_control_plane_that_finds_its_disk_full_says_so(small_disk: Path) -> None:
    SqlLog(f"sqlite:///{small_disk / 'aios.db'}").close()
    fill_up(small_disk / "ballast")
    with pytest.raises(StoreError) as caught:
        SqlLog(f"sqlite:///{small_disk / 'aios.db'}").begin()
    assert caught.value.http_status in (503, 507)
    (small_disk / "ballast").unlink()
    assert SqlLog(f"sqlite:///{small_disk / 'aios.db'}").begin() == 1
