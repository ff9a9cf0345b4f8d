"""The registrar: an evaluation that met its gates moves an alias, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aios.kernel.events import Artefact, AttemptEnded, Outcome, VersionTagged, WorkloadId
from aios.kernel.ports import Request, TagVersion
from aios.kernel.state import State
from aios.models.registrar import Registrar

MET = {"model": "model://m@3", "promote": "prod", "missed": []}
WANTED = TagVersion("model://m", "prod", 3, "gates of eval-1")


def ended(meta: dict[str, Any], outcome: Outcome = Outcome.SUCCEEDED) -> AttemptEnded:
    artefact = Artefact("report", "eval", "/r.json", "", json.dumps(meta))
    return AttemptEnded(1.0, WorkloadId("eval-1"), 1, outcome, artefacts=(artefact,))


@pytest.mark.parametrize(
    "event, asked",
    [
        (ended(MET), [WANTED]),
        (ended({"model": "model://m@3", "missed": []}), []),
        (ended({**MET, "missed": ["accuracy 0.1 is below 0.5"]}), []),
        (ended(MET, Outcome.FAILED), []),
        (ended({**MET, "model": "model://m"}), []),
    ],
    ids=["met", "no promote", "missed", "failed", "no version"],
)
def test_gates_that_are_met_promote(tmp_path: Path, event: AttemptEnded, asked: list[Request]) -> None:
    heard: list[Request] = []
    Registrar(tmp_path / "home", tmp_path, heard.append)([event], State())
    assert heard == asked


def test_an_evaluation_promotes_once_even_where_somebody_moved_the_alias_since(tmp_path: Path) -> None:
    heard: list[Request] = []
    tagged = (
        VersionTagged(1.0, "model://m", "prod", 3, "gates of eval-1"),
        VersionTagged(2.0, "model://m", "prod", 2, "ann"),
    )
    state = State()
    Registrar(tmp_path / "home", tmp_path, heard.append)(
        [ended(MET)], type(state)(tags=state.tags.set("model://m", tagged))
    )
    assert heard == []
