"""Tuning on real Ray: trials on the gang's bundles, bad ones ended early, gone on with after a preemption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aios.engines import Input, Preempted
from tests.ray.test_engines import CPU, Lab, lab  # noqa: F401  # a fixture
from tests.support.polling import eventually

pytestmark = pytest.mark.ray

FIELDS: dict[str, Any] = {
    "inputs": {"data": "dataset://cells"}, "outputs": {"model": "model://cells"}, "workers": {"num_workers": 2},
    "train": {"epochs": 6, "batch_size": 32, "model": {"type": "linear"}}, "metric": "val_accuracy", "num_samples": 5,
    "space": {"lr": {"loguniform": [1e-5, 1e-1]}, "optimizer": {"choice": ["adam", "sgd"]}}, "search": "optuna",
}  # fmt: skip


@pytest.fixture(scope="module")
def cells(lab: Lab) -> Input:  # noqa: F811
    fields = {"source": {"sklearn": "breast_cancer"}, "normalise": True, "outputs": {"data": "dataset://cells"}}
    (table,) = lab.attempt("ingest", [lab.nodes[0]], **fields).end().artefacts
    return Input("dataset://cells@1", table.uri, json.loads(table.meta))


def test_a_tuning_that_yields_goes_on_with_its_trials_and_registers_the_best(
    lab: Lab,  # noqa: F811
    cells: Input,
) -> None:
    """
    1. Two trials at a time run on the two bundles; after some epochs the gang is asked to yield.
    2. On other nodes the trials that were under way go on, and the others follow.
    3. The best one is the model, with its parameters; the report has all five.
    """
    pytest.importorskip("optuna", reason="the extra tune is not installed")
    first = lab.attempt("tune", lab.nodes[:2], CPU, {"data": cells}, **FIELDS)
    eventually(lambda: len(first.heard("progress")) >= 3 or first.outcome, timeout_s=90)
    first.ask_to("preempt")
    with pytest.raises(Preempted):
        first.end()
    saved = first.heard("saved")[-1]
    before = json.loads((Path(saved[0]) / "trials.json").read_text())["trials"]
    assert any(one["status"] == "running" for one in before)
    assert {node for _, node in first.heard("ran_on")} <= set(lab.nodes[:2])

    second = lab.attempt("tune", [lab.nodes[2], lab.nodes[2]], CPU, {"data": cells}, saved, **FIELDS)
    result = second.end()
    model, report = result.artefacts
    assert {node for _, node in second.heard("ran_on")} == {lab.nodes[2]}
    told = json.loads(Path(report.uri).read_text())
    names = [one["name"] for one in told["trials"]]
    assert names == [f"t{i:04d}" for i in range(1, 6)]
    assert [one["config"] for one in told["trials"][: len(before)]] == [one["config"] for one in before]
    finished = [one for one in told["trials"] if one["status"] == "finished"]
    best = max(one["score"] for one in finished)
    chosen = next(one for one in told["trials"] if one["name"] == told["best"])
    assert chosen["score"] == best
    card = json.loads((Path(model.uri) / "model.json").read_text())
    assert card["trained"]["tuned"]["point"] == chosen["config"]
    assert card["trained"]["lr"] == chosen["config"]["lr"]
    assert card["scores"]["val_accuracy"] == pytest.approx(best)
    assert result.metrics["trials"] == 5
