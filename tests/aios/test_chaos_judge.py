"""The judge of the chaos runs: a sound log passes, and each broken promise is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aios.kernel.events import (
    AttemptEnded,
    EpochStarted,
    Event,
    Finished,
    Granted,
    Outcome,
    Submitted,
    Work,
    WorkloadId,
)
from placement.model import Bundle, Demand, Resources
from tests.chaos.judge import wrong_in

ID = WorkloadId("a-1")
WORK = Work(
    ID, "a", "tick", "team", 0, Demand(ID, "team", (Bundle(Resources.parse({"CPU": 1})),)), spec="{}", content=""
)
SOUND: list[Event] = [
    EpochStarted(0.0, 1, "1"),
    Submitted(1.0, WORK),
    Granted(2.0, ID, 1, 1, ("n",)),
    AttemptEnded(3.0, ID, 1, Outcome.SUCCEEDED, ("n",)),
    Finished(3.0, ID, "SUCCEEDED"),
]


def judged(tmp_path: Path, events: list[Event], effects: str, *, ids: tuple[str, ...] = (ID,)) -> list[str]:
    file = tmp_path / "effects"
    file.write_text(effects, encoding="utf-8")
    return wrong_in(events, ids, {ID: "SUCCEEDED"}, file, 1)


def test_a_sound_log_passes(tmp_path: Path) -> None:
    assert judged(tmp_path, SOUND, "end a-1 1 1\n") == []


BROKEN: dict[str, tuple[Callable[[list[Event]], list[Event]], str]] = {
    "a submission that was acknowledged is not there": (lambda events: events[:1], "is lost"),
    "it did not end": (lambda events: events[:4], "has not ended"),
    "it was granted twice": (lambda events: [*events[:3], *events[2:]], "was recorded 2 times"),
    "a fence did not grow": (lambda events: [*events[:3], *events[2:]], "fence 1 follows 1"),
    "its end is there twice": (lambda events: [*events, events[-1]], "finish a-1 was recorded 2 times"),
    "a control plane came back under an old epoch": (lambda events: [*events, events[0]], "epoch 1 follows 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_promise_is_found(name: str, tmp_path: Path) -> None:
    breaks, said = BROKEN[name]
    assert any(said in why for why in judged(tmp_path, breaks(SOUND), "end a-1 1 1\n"))


@pytest.mark.parametrize(
    ("effects", "said"), [("", "did not do its work"), ("end a-1 1 1\nend a-1 1 1\n", "happened 2 times")]
)
def test_work_that_was_not_done_and_work_done_twice_are_found(effects: str, said: str, tmp_path: Path) -> None:
    assert any(said in why for why in judged(tmp_path, SOUND, effects))
