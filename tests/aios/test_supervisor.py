"""The supervisor's last word: it is said, however long storage refuses to take it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from aios.adapters import supervisor
from aios.adapters.folder import Report
from aios.adapters.supervisor import Supervisor
from aios.engines import WorkloadFailed
from aios.kernel.events import Artefact, Outcome


@dataclass
class FullDisk:
    """Storage that has no room for the first words."""

    n_full: int
    said: list[Report] = field(default_factory=list)

    def end(self, report: Report) -> bool:
        if self.n_full:
            self.n_full -= 1
            raise OSError(28, "No space left on device")
        self.said.append(report)
        return True


def supervised(disk: FullDisk) -> Supervisor:
    """Return a supervisor whose engine has just returned."""
    one = object.__new__(Supervisor)
    one._name, one._folder = "aios/a-1/1", disk  # type: ignore[assignment]  # what it needs of a folder here
    one._lock, one._done = threading.Lock(), threading.Event()
    return one


def test_an_end_on_a_full_disk_is_said_once_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "AGAIN_S", 0.0)
    disk = FullDisk(n_full=3)
    supervised(disk)._end(Report(outcome=Outcome.SUCCEEDED.value, step=7))
    (said,) = disk.said
    assert (said.phase, said.outcome, said.step) == ("ended", "succeeded", 7)


def test_a_line_that_the_log_has_no_room_for_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    supervised(FullDisk(0)).log("a line")


def test_what_says_why_work_failed_is_kept_with_its_end() -> None:
    one = supervised(FullDisk(0))
    one._report = Report()
    one._gone_nodes = lambda error: []  # type: ignore[method-assign]  # no node went away
    one._context = SimpleNamespace(stop_reason="")  # type: ignore[assignment]  # all that is looked at
    one.log = lambda line: None  # type: ignore[method-assign]  # nobody reads it here
    report = Artefact("report", "check", "/s/report.json")
    ended = one._ended_by(WorkloadFailed("gate: f1 0.5 is below 0.9", exit_code=105, artefacts=[report]))
    assert (ended.outcome, ended.exit_code, ended.artefacts) == (Outcome.FAILED.value, 105, (report,))
    assert one._ended_by(ValueError("x")).artefacts == ()
