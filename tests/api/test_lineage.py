"""From a prediction back to the rows' source, and from a source forward to every model that it reached."""

from __future__ import annotations

import json

from aios.api.lineage import lineage
from aios.kernel.events import Artefact, Published, WorkloadId
from aios.kernel.evolve import replay
from aios.kernel.inputs import find

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
