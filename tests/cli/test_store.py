"""``aios store``: what a person types when the log is to be kept, checked or brought back."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from aios.store.backups import backup_into, backups_in
from tests.cli.conftest import Aios
from tests.store.test_backup import NOW
from tests.support.stores import change, events_of, fill, numbered


@pytest.fixture
def store(alone: Aios, tmp_path: Path) -> Path:
    """The log of a home where nothing runs, with nine events."""
    path = tmp_path / "home" / "aios.db"
    fill(f"sqlite:///{path}", 9).close()
    return path


def test_a_log_is_backed_up_verified_and_restored(alone: Aios, store: Path, tmp_path: Path) -> None:
    made = alone("store", "backup", str(tmp_path / "copy.db"))
    assert (made.code, made.out) == (0, f"{tmp_path / 'copy.db'}\n")
    assert "9 events" in made.err
    assert f"next: aios store restore {tmp_path / 'copy.db'}" in made.err
    change(store, "DELETE FROM events WHERE seq = 5")
    broken = alone("store", "verify")
    assert broken.code == 109
    assert "BROKEN AT EVENT 5" in broken.out
    assert "no sound backup in" in broken.err
    refused = alone("store", "restore", str(tmp_path / "copy.db"))
    assert refused.code == 109
    assert "is there already" in refused.err
    assert f"aios store restore --force {tmp_path / 'copy.db'}" in refused.err
    done = alone("store", "restore", "--force", str(tmp_path / "copy.db"))
    assert done.code == 0, done.err
    assert f"kept: {store}.before-" in done.err
    assert "next: aios up" in done.err
    sound = alone("store", "verify", "--json")
    assert sound.code == 0
    assert (sound.json["sound"], sound.json["events"], sound.json["broken_at"]) == (True, 9, None)
    assert events_of(f"sqlite:///{store}") == numbered(9)
    assert stat.S_IMODE(store.stat().st_mode) == 0o600


def test_a_broken_log_names_the_command_that_restores_it(alone: Aios, store: Path) -> None:
    made = backup_into(f"sqlite:///{store}", store.parent / "backups", 3, NOW)
    change(store, "UPDATE events SET at_s = 5.5 WHERE seq = 5")
    broken = alone("store", "verify", "-o", "json")
    assert (broken.code, broken.json["broken_at"], broken.json["events"]) == (109, 5, 4)
    assert broken.json["hint"].endswith(f"aios store restore --force {made.path}")
    done = alone("store", "restore", "--force", str(store.parent / "backups"))  # the folder: its newest sound one
    assert done.code == 0, done.err
    assert events_of(f"sqlite:///{store}") == numbered(9)


def test_backups_that_were_made_are_listed(alone: Aios, store: Path) -> None:
    nothing = alone("store", "list")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no backups in" in nothing.err
    folder = store.parent / "backups"
    backup_into(f"sqlite:///{store}", folder, 3, NOW)
    (path,) = backups_in(folder)
    assert path.name in alone("store", "list").out
    assert [one["path"] for one in json.loads(alone("store", "list", "-o", "json").out)["backups"]] == [str(path)]


WRONG = [
    (("verify", "--store", "sqlite:////nowhere/aios.db"), "there is no event log at /nowhere/aios.db"),
    (("verify", "--store", "sqlite:///{tmp}"), "is a directory, not an event log"),
    (("verify", "--store", "mysql://x"), "is no durable event log"),
    (("verify", "--store", "{tmp}/home/aios.db"), "is no database URL"),
    (("backup", "{tmp}/home/aios.db"), "aios.db is there already"),
    (("backup", "{tmp}/nowhere/copy.db"), "there is no folder"),
    (("restore", "{tmp}/nothing.db"), "there is no event log at"),
    (("restore", "--force", "{tmp}/home/aios.db"), "is the log itself"),
    (("restore", "{tmp}/home"), "there is no sound backup in"),
    (("restore", "--force", "{tmp}/text"), "is no sound backup"),
]


@pytest.mark.parametrize("args, message", WRONG)
def test_what_cannot_be_is_refused_with_a_word_and_changes_nothing(
    alone: Aios, store: Path, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    (tmp_path / "text").write_text("no backup at all")
    ran = alone("store", *(arg.format(tmp=tmp_path) for arg in args))
    assert ran.code == 109
    assert message in ran.err
    assert "hint: " in ran.err
    assert events_of(f"sqlite:///{store}") == numbered(9)
    assert sorted(path.name for path in store.parent.glob("*before*")) == []


def test_a_log_of_a_newer_version_is_left_alone(alone: Aios, store: Path) -> None:
    change(store, "UPDATE meta SET schema_version = 99")
    for args in (("verify",), ("backup", str(store.parent / "copy.db"))):
        ran = alone("store", *args)
        assert ran.code == 109
        assert "schema 99" in ran.err
        assert "newer version" in ran.err
