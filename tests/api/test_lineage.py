"""From a prediction back to the rows' source, and from a source forward to every model that it reached."""

from __future__ import annotations

import json

import pytest

from aios.api.catalogue import _reports
from aios.api.lineage import lineage
from aios.kernel.events import (
    Artefact,
    AttemptEnded,
    Finished,
    Granted,
    Outcome,
    Published,
    Retired,
    Submitted,
    Work,
    WorkloadId,
)
from aios.kernel.evolve import replay
from aios.kernel.inputs import find
from placement.model import NodeId
from tests.support.building import want

SOURCE = {"source": {"path": "/data/a.csv", "read": {"digest": "abc"}}, "total_rows": 3}


def published(
    at_s: float, type_: str, name: str, version: int, inputs: tuple[str, ...] = (), **meta: object
) -> Published:
    artefact = Artefact(type_, name, f"lance:/t#{at_s}", meta=json.dumps(meta))
    return Published(at_s, artefact, version, WorkloadId(f"w{at_s:g}"), 1, inputs)


STATE = replay([
    published(1, "dataset", "raw", 1, **SOURCE),
    published(2, "dataset", "clean", 1, ("dataset://raw@1",)),
    published(3, "model", "m", 1, ("dataset://clean@1",)),
    published(4, "dataset", "scores", 1, ("dataset://clean@1", "model://m@1")),
    published(5, "dataset", "raw", 2, **SOURCE),
])  # fmt: skip


def reached(key: str) -> set[str]:
    version = find(STATE, key, "")
    assert version is not None
    return {node.id for node in lineage(STATE, version).nodes}


def test_a_prediction_leads_back_to_the_source_of_its_rows_and_of_its_model() -> None:
    found = reached("dataset://scores")
    assert found == {
        "source:path=/data/a.csv", "dataset://raw@1", "dataset://clean@1", "model://m@1", "dataset://scores@1"
    }  # fmt: skip


def test_a_source_s_version_leads_forward_to_every_model_and_to_no_other_version() -> None:
    first = find(STATE, "dataset://raw", "1")
    assert first is not None
    found = {node.id for node in lineage(STATE, first).nodes}
    assert {"model://m@1", "dataset://scores@1"} <= found
    assert "dataset://raw@2" not in found


def test_edges_go_with_the_data() -> None:
    version = find(STATE, "model://m", "")
    assert version is not None
    edges = lineage(STATE, version).edges
    assert ("dataset://clean@1", "model://m@1") in edges
    assert ("model://m@1", "dataset://scores@1") in edges


@pytest.mark.parametrize("gone", [False, True], ids=["in the state", "retired"])
def test_a_report_stays_in_the_lineage_of_its_model(gone: bool) -> None:
    work = Work(WorkloadId("w-1"), "eval", "evaluate", "team", 0, want("eval").demand, "{}", "0")
    meta = json.dumps({"model": "model://m@1", "data": "dataset://clean@1", "scores": {"accuracy": 0.9}})
    report = Artefact("report", "eval", "/s/report.json", meta=meta)
    state = replay(
        [
            Submitted(6.0, work),
            Granted(7.0, work.id, 1, 1, (NodeId("n1"),)),
            AttemptEnded(8.0, work.id, 1, Outcome.SUCCEEDED, artefacts=(report,)),
            Finished(8.0, work.id, "SUCCEEDED"),
            *([Retired(9.0, (work.id,))] if gone else []),
        ],
        STATE,
    )
    assert (work.id in state.retired) is gone
    version = find(state, "model://m", "")
    assert version is not None
    found = lineage(state, version)
    assert ("model://m@1", "report://eval") in found.edges
    assert [(node.workload, node.at_s) for node in found.nodes if node.id == "report://eval"] == [("w-1", 6.0)]
    (of_model,) = _reports(state, "m")
    assert (of_model.workload, of_model.uri, of_model.meta["model"]) == ("w-1", "/s/report.json", "model://m@1")
    assert _reports(state, "other") == ()
