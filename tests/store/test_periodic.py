"""Backups are made now and then by a process of their own, and what became of them is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aios.store.backups import backups_in
from aios.store.periodic import FIRST_S, Backups
from tests.support.polling import eventually
from tests.support.silence import silence
from tests.support.stores import change, events_of, fill, numbered


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_backup_is_made_beside_and_its_age_is_told(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path / 'aios.db'}", Clock()
    log = fill(url, 9)
    backups = Backups(url, tmp_path / "backups", 3600.0, 2, clock)
    assert backups.info() == {"backups": str(tmp_path / "backups")}
    with silence():
        backups.make()
    (made,) = backups_in(tmp_path / "backups")
    assert events_of(f"sqlite:///{made}") == numbered(9)
    clock.now_s = made.stat().st_mtime + 90.0
    assert backups.info() == {"backups": str(tmp_path / "backups"), "backup": str(made), "backup_age_s": 90}
    log.close()


def test_the_next_one_is_due_by_the_age_of_the_newest_whoever_made_it(tmp_path: Path) -> None:
    clock = Clock()
    backups = Backups("sqlite:////nowhere/aios.db", tmp_path, 3600.0, 2, clock)
    assert backups.due_s() == clock.now_s + FIRST_S
    newest = tmp_path / "aios-20261124T120000Z-9.db"
    newest.touch()
    os.utime(newest, (clock.now_s - 600, clock.now_s - 600))
    assert backups.due_s() == clock.now_s + 3000
    with silence():
        backups.make()  # there is no such log
    assert "no event log at /nowhere/aios.db" in backups.info()["backup_problem"]
    os.utime(newest, (clock.now_s - 9000, clock.now_s - 9000))
    assert backups.due_s() == clock.now_s + FIRST_S, "a failed one is tried again before long, but not at once"


def test_a_damaged_log_costs_no_earlier_backup(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'aios.db'}"
    backups = Backups(url, tmp_path / "backups", 3600.0, 1)
    fill(url, 9).close()
    with silence():
        backups.make()
        change(tmp_path / "aios.db", "UPDATE events SET at_s = 5.5 WHERE seq = 5")
        fill(url, 12).close()
        backups.make()
    assert "event 5" in backups.info()["backup_problem"]
    (made,) = backups_in(tmp_path / "backups")
    assert events_of(f"sqlite:///{made}") == numbered(9)


@pytest.mark.parametrize("every_s", [0.0, 0.05])
def test_it_is_made_again_and_again_unless_it_is_off(tmp_path: Path, every_s: float) -> None:
    url = f"sqlite:///{tmp_path / 'aios.db'}"
    log = fill(url, 9)
    backups = Backups(url, tmp_path / "backups", every_s, 5)
    with silence():
        backups.start()
        if every_s:
            eventually(lambda: len(backups_in(tmp_path / "backups")) == 1)
            log.append(1, [])
            fill(url, 10)
            eventually(lambda: events_of(f"sqlite:///{backups_in(tmp_path / 'backups')[0]}") == numbered(10))
        backups.close()
    assert (backups.info()["backups"] == "off") is (every_s == 0.0)
