"""A control plane whose store refuses: the client learns why at once, nothing is lost, and it goes on by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aios.config import Settings
from aios.errors import CorruptLog, InvalidSpec, StoreError, StoreFull, StoreUnavailable
from aios.kernel.events import Granted
from aios.store import databases
from aios.store.backups import backup, backup_into
from aios.store.restoring import restore
from aios.store.sql import SqlLog
from tests.store.test_backup import NOW
from tests.support.plane import Served, served
from tests.support.silence import silence
from tests.support.stores import change, events_of, fill, fill_up


def script(name: str) -> dict[str, Any]:
    return {"kind": "script", "name": name, "entrypoint": "python x.py", "estimate": 5}


def test_a_submission_that_finds_no_room_is_refused_and_works_when_there_is_some(
    small_disk: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{small_disk / 'aios.db'}"
    log = SqlLog(url)
    with silence(), served(_home(tmp_path), log=log) as one, one.http() as http:
        _accepted(one, "before")
        fill_up(small_disk / "ballast")
        refused, n = None, 0
        while refused is None:  # what room the files have already goes first
            answer = _post(http, f"full-{n}")
            refused, n = (answer, n) if answer.status_code != 201 else (None, n + 1)
        assert (refused.status_code, refused.json()["code"]) == (507, "store_full")
        assert refused.headers["Retry-After"] == "10"
        assert "nothing was written" in refused.json()["detail"]
        assert "free some space" in refused.json()["hint"]
        (small_disk / "ballast").unlink()
        assert _post(http, f"full-{n}").status_code == 201
        for name in ("before", *(f"full-{i}" for i in range(n + 1))):
            assert one.client().wait(name, timeout=30)[0].status == "SUCCEEDED"
    log.close()
    assert len({event.work.name for _, event in events_of(url) if hasattr(event, "work")}) == n + 2


def test_a_submission_to_a_store_that_somebody_holds_is_refused_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_TIMEOUT_MS", 50)
    log = SqlLog(f"sqlite:///{tmp_path / 'aios.db'}")
    with silence(), served(_home(tmp_path), log=log) as one, one.http() as http:
        other = sqlite3.connect(tmp_path / "aios.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused = _post(http, "held")
        other.execute("ROLLBACK")
        other.close()
        assert (refused.status_code, refused.json()["code"]) == (503, "store_unavailable")
        assert refused.headers["Retry-After"] == "1"
        assert "locked; nothing was written" in refused.json()["detail"]
        assert _post(http, "held").status_code == 201
    log.close()


def test_a_damaged_store_refuses_to_start_and_says_with_which_command_to_restore_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aios import assembly

    monkeypatch.setattr(assembly.logs, "configure", lambda home: None)
    settings = Settings.from_env({"AIOS_HOME": str(tmp_path)})
    parts = {"settings": settings, "facts": {"embedded": True}}
    fill(settings.store_url, 200).close()
    made = backup_into(settings.store_url, settings.backups, 3, NOW)
    with open(tmp_path / "aios.db", "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 9000)
    before = (tmp_path / "aios.db").read_bytes()
    with pytest.raises(CorruptLog, match=r"aios\.db") as caught:
        assembly.control_plane(parts, lambda: None)
    assert f"aios store restore --force {made.path}" in caught.value.hint
    assert (tmp_path / "aios.db").read_bytes() == before
    made.path.unlink()
    with pytest.raises(CorruptLog) as caught:
        assembly.control_plane(parts, lambda: None)
    assert f"no sound backup in {settings.backups}" in caught.value.hint


def test_an_event_that_was_changed_stops_a_control_plane_before_it_does_anything(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'aios.db'}"
    fill(url, 9).close()
    change(tmp_path / "aios.db", "UPDATE events SET body = replace(body, 'event 5', 'event 6') WHERE seq = 5")
    log = SqlLog(url)
    with pytest.raises(CorruptLog, match="event 5"), served(_home(tmp_path), log=log):
        pass
    assert log.head().seq == 9
    log.close()


@pytest.mark.parametrize(
    "env, problem",
    [
        ({"AIOS_BACKUP_EVERY": "often"}, "AIOS_BACKUP_EVERY is 'often'"),
        ({"AIOS_BACKUP_EVERY": "-1"}, "is no duration"),
        ({"AIOS_BACKUP_KEEP": "0"}, "no positive number"),
        ({"AIOS_BACKUP_KEEP": "many"}, "no positive number"),
    ],
)
def test_a_setting_of_backups_that_makes_no_sense_is_refused(env: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        Settings.from_env(env)


def test_settings_of_backups_are_as_they_are_written() -> None:
    settings = Settings.from_env({"AIOS_HOME": "/h", "AIOS_BACKUP_EVERY": "30m", "AIOS_BACKUP_KEEP": "7"})
    assert (settings.backup_every_s, settings.backup_keep, settings.backups) == (1800.0, 7, Path("/h/backups"))
    settings = Settings.from_env({"AIOS_HOME": "/h", "AIOS_BACKUP_EVERY": "0", "AIOS_BACKUPS": "/other"})
    assert (settings.backup_every_s, settings.backup_keep, settings.backups) == (0.0, 24, Path("/other"))


def _home(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return home


def _post(http: Any, name: str) -> Any:
    return http.post("/api/v1/workloads", json={"documents": [script(name)]}, headers={"Idempotency-Key": name})


def _accepted(one: Served, name: str) -> None:
    assert one.client().submit(script(name)).workloads[0].name == name


def test_fences_that_are_given_after_a_restore_are_beyond_all_that_the_lost_log_had_given(tmp_path: Path) -> None:
    """What an attempt left on shared storage may carry a fence that the backup does not know."""
    url, copy = f"sqlite:///{tmp_path / 'aios.db'}", tmp_path / "copy.db"
    log = SqlLog(url)
    with served(_home(tmp_path), log=log) as one:
        client = one.client()
        backup(url, copy, NOW)
        for name in ("first", "second"):
            client.submit(script(name))
            client.wait(name, timeout=30)
        lost = one.state.fence
    log.close()
    assert restore(copy, url, NOW, force=True).lost > 0
    log = SqlLog(url)
    with served(_home(tmp_path), log=log) as one:
        client = one.client()
        client.submit(script("third"))
        client.wait("third", timeout=30)
        (granted,) = [event.fence for _, event in log.read() if isinstance(event, Granted)]
    log.close()
    assert granted > lost > 1


AGAIN = [(StoreUnavailable, True), (StoreFull, True), (CorruptLog, False)]
REFUSALS: list[StoreError] = []


def refusing(parts: Any, on_end: Any) -> None:
    raise REFUSALS[-1]


@pytest.mark.parametrize("error, again", AGAIN)
def test_a_control_plane_is_tried_again_where_its_log_may_come_back_and_only_there(
    error: type[StoreError], again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aios.control import actor

    timers: list[tuple[float, Any]] = []
    monkeypatch.setattr(actor.threading, "Timer", lambda s, do: timers.append((s, do)) or SimpleNamespace(start=str))
    monkeypatch.setattr(actor, "import_module", lambda name: SimpleNamespace(refusing=refusing))
    left: list[int] = []
    monkeypatch.setattr(actor.os, "_exit", left.append)
    REFUSALS.append(error("the log is not there", hint="look for it"))
    plane = actor.ControlPlane("anywhere:refusing", {})
    assert plane.health()["failure"] == "the log is not there; look for it"
    for _, leave in timers:
        leave()
    assert left == ([0] if again else [])
