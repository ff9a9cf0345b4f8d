"""Evaluations of small models on small data, without Ray: what they measure, what they refuse, what their gates say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from aios.engines import Input, WorkloadFailed
from pipelines.evaluate.flow import _begin, _save
from pipelines.evaluate.page import page
from pipelines.evaluate.planning import planned_for
from tests.support.judged import ROLES, context, dataset, judged, spec_of, summed
from tests.support.models import made, signed

N = 600


def rows(n: int = N) -> pa.Table:
    """``y`` is yes above 0.5; the model ``m`` says yes above its bound."""
    x = (np.arange(n) * 37 % n) / n
    return pa.table({
        "x": x,
        "sex": np.where(np.arange(n) % 3 == 0, "f", "m"),
        "age": 20.0 + np.arange(n) % 60,
        "y": np.where(x > 0.5, "yes", "no"),
    })  # fmt: skip


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Input]:
    home = tmp_path / "home"
    data = dataset(tmp_path / "rows", rows(), features=["x"])
    better = signed(made(tmp_path / "good", above=0.52), home, tmp_path, 2)
    worse = signed(made(tmp_path / "bad", above=0.7), home, tmp_path, 1)
    return {"model": better, "data": data, "baseline": worse}


def without_baseline(inputs: dict[str, Input]) -> dict[str, Input]:
    return {role: one for role, one in inputs.items() if role != "baseline"}


def test_an_evaluation_measures_slices_compares_and_says_which_gate_held(
    tmp_path: Path, inputs: dict[str, Input]
) -> None:
    spec = spec_of(
        slices=["sex", {"column": "age", "bins": [40, 60]}],
        compare_to="m@1",
        gates=[
            {"metric": "accuracy", "min": 0.95},
            {"metric": "recall[yes]", "min": 0.99},
            {"metric": "accuracy", "min": 0.9, "slice": "sex", "confident": True},
            {"metric": "f1", "max_drop": 0.01},
            {"metric": "accuracy", "min": 0.5, "slice": "age >=60", "max_drop": 0.0},
        ],
    )
    report, found = judged(spec, inputs, tmp_path)
    right = ((rows()["x"].to_numpy() > 0.52) == (rows()["x"].to_numpy() > 0.5)).mean()
    assert report["scores"]["accuracy"]["value"] == pytest.approx(right, abs=1e-6)
    assert [(one["slice"], one["rows"]) for one in report["slices"]] == [
        ("sex=f", 200), ("sex=m", 400), ("age <40", 200), ("age 40..60", 200), ("age >=60", 200)
    ]  # fmt: skip
    assert report["differences"]["accuracy"]["value"] == pytest.approx(0.18, abs=1e-6)
    assert report["differences"]["accuracy"]["better_in"] == 1.0
    asked = [(one.metric, one.slice, one.held) for one in found]
    assert asked == [
        ("accuracy", "", True), ("recall[yes]", "", False), ("accuracy", "sex=f", True), ("accuracy", "sex=m", True),
        ("f1", "", True), ("accuracy", "age >=60", True), ("accuracy", "age >=60", True),
    ]  # fmt: skip
    assert report["missed"] == ["recall[yes] 0.9599 is below 0.99"]
    text = page(report)
    for part in ("1 of 7 gates missed", "Confusion matrix", "<svg", "Against m@1", "sex=f", "paired"):
        assert part in text
    json.dumps(report, allow_nan=False)


def test_gates_of_what_is_worse_than_the_baseline_are_missed(tmp_path: Path, inputs: dict[str, Input]) -> None:
    swapped = {**inputs, "model": inputs["baseline"], "baseline": inputs["model"]}
    gates = [
        {"metric": "accuracy", "max_drop": 0.05},
        {"metric": "accuracy", "max_drop": 0.2},
        {"metric": "accuracy", "max_drop": 0.19, "confident": True},
        {"metric": "log_loss", "max_drop": 0.0},
    ]
    _, found = judged(spec_of(compare_to="m@2", gates=gates), swapped, tmp_path)
    assert [one.held for one in found] == [False, True, False, False]
    assert found[0].why == "-0.1800 against the baseline, worse by more than 0.05"
    assert "with the interval" in found[2].why


def test_a_slice_with_few_rows_is_not_judged_where_its_column_is_named(
    tmp_path: Path, inputs: dict[str, Input]
) -> None:
    gates = [
        {"metric": "accuracy", "min": 1.0, "slice": "sex", "min_rows": 300},
        {"metric": "accuracy", "min": 1.0, "slice": "sex=f", "min_rows": 300},
    ]
    _, found = judged(spec_of(slices=["sex"], gates=gates), without_baseline(inputs), tmp_path)
    assert [(one.slice, one.held) for one in found] == [("sex=f", True), ("sex=m", False), ("sex=f", False)]
    assert found[0].why == "not judged: 200 rows, fewer than 300"


def test_an_alias_that_no_version_has_yet_is_nothing_to_compare_with(tmp_path: Path, inputs: dict[str, Input]) -> None:
    spec = spec_of(compare_to="m@prod", gates=[{"metric": "f1", "max_drop": 0.01}])
    assert spec.inputs["baseline?"] == "model://m@prod"
    unresolved = {**without_baseline(inputs), "baseline?": Input("model://m@prod", "model://m@prod")}
    report, found = judged(spec, unresolved, tmp_path)
    assert (report["baseline"], found[0].held, found[0].why) == (None, True, "there is no baseline yet to compare with")
    assert "No version is called m@prod yet" in page(report)


def test_a_regression_is_measured_by_its_errors(tmp_path: Path) -> None:
    x = np.linspace(0, 10, 500)
    data = dataset(tmp_path / "rows", pa.table({"x": x, "y": 0.5 - x}), task="regression", features=["x"])
    signature = {"inputs": [{"name": "x", "type": "number"}], "outputs": {"name": "y", "task": "regression"}}
    model = made(tmp_path / "m", task="regression", classes=["one"], signature=signature)
    card = json.loads((Path(model.uri) / "model.json").read_text())
    assert card["task"] == "regression"
    from pipelines.models.register import registered
    from pipelines.models.weights import save
    from pipelines.train.network import build

    folder = tmp_path / "line"
    folder.mkdir()
    import torch

    network = build({"type": "linear"}, 1, 1)
    with torch.no_grad():
        network[-1].weight.fill_(-1.0)  # type: ignore[operator, union-attr]
        network[-1].bias.fill_(1.0)  # type: ignore[operator, union-attr]
    save(network, folder)
    line = signed(registered(folder, {**card, "classes": None}), tmp_path / "home", tmp_path)
    gates = {"mae": 0.4, "r2": 0.9, "mape": 10.0}
    report, found = judged(spec_of(gates=gates), {"model": line, "data": data}, tmp_path)
    assert report["scores"]["mae"]["value"] == pytest.approx(0.5, abs=1e-6)
    assert [one.held for one in found] == [False, True, True]
    assert found[0].why == "0.5000 is above 0.4"
    assert sum(map(sum, report["table"]["rows"])) == 500
    assert "Expected and predicted" in page(report)


def test_rows_without_a_target_are_left_out_and_counted(tmp_path: Path, inputs: dict[str, Input]) -> None:
    some = rows().set_column(3, "y", pa.array([None, *rows()["y"].to_pylist()[1:]]))
    data = dataset(tmp_path / "some", some, features=["x"])
    report, _ = judged(spec_of(), {**without_baseline(inputs), "data": data}, tmp_path)
    assert (report["rows"], report["unlabelled"]) == (N - 1, 1)


def test_a_row_that_the_model_has_no_answer_for_is_named(tmp_path: Path, inputs: dict[str, Input]) -> None:
    hole = rows().set_column(0, "x", pa.array([0.1, None, *rows()["x"].to_pylist()[2:]]))
    data = dataset(tmp_path / "hole", hole, features=["x"])
    plan, n_rows = planned_for(spec_of(), context({**without_baseline(inputs), "data": data}, tmp_path))
    with pytest.raises(AssertionError, match="m@2 predicts no number for row 1: there are missing values in x"):
        summed(plan, n_rows)


def test_sums_that_were_saved_are_gone_on_from(tmp_path: Path, inputs: dict[str, Input]) -> None:
    spec = spec_of(slices=["sex"], compare_to="m@1")
    ctx = context(inputs, tmp_path)
    plan, n_rows = planned_for(spec, ctx)
    sums, _ = summed(plan, n_rows)
    heard: list[tuple[str, int]] = []
    ctx.reporter.saved = lambda uri, step: heard.append((uri, step))  # type: ignore[method-assign]
    _save(ctx, sums, 4096, 3)
    ctx.checkpoint, ctx.step = heard[-1]
    again, done, unlabelled = _begin(plan, ctx)
    assert (done, unlabelled, ctx.step) == (4096, 3, 4096)
    assert again.keys() == sums.keys()
    for key, one in sums.items():
        assert (again[key].each == one.each).all()
        assert (again[key].once == one.once).all()


REFUSED_AT_RUN: list[tuple[dict[str, Any], str]] = [
    ({"gates": {"mae": 0.5}}, r"mae is of regression: the model does classification, which has accuracy"),
    ({"gates": {"recall[maybe]": 0.5}}, r"there is no class 'maybe'; there are no, yes"),
    ({"slices": ["height"]}, r"slices: dataset://rows@1 has no column 'height': it has x, sex, age, y"),
    ({"slices": [{"column": "sex", "bins": 3}]}, r"slices.sex: bins are for numbers, but .* has .*string"),
    ({"slices": ["sex"], "gates": [{"metric": "f1", "min": 0.5, "slice": "sex=x"}]}, r"no slice 'sex=x': there are "),
    ({"positive": "maybe"}, r"positive: there is no class 'maybe': there are no, yes"),
    ({"side": "train"}, r"has no rows on side 'train'"),
]  # fmt: skip


@pytest.mark.parametrize("fields, told", REFUSED_AT_RUN, ids=[told[:30] for _, told in REFUSED_AT_RUN])
def test_what_does_not_fit_is_refused_before_a_row_is_predicted(
    tmp_path: Path, inputs: dict[str, Input], fields: dict[str, Any], told: str
) -> None:
    (Path(inputs["data"].uri) / "train").mkdir()
    import pyarrow.parquet as pq

    pq.write_table(rows().slice(0, 0), Path(inputs["data"].uri) / "train" / "part-00000.parquet")
    with pytest.raises(WorkloadFailed, match=told):
        planned_for(spec_of(**fields), context(without_baseline(inputs), tmp_path))


def test_data_that_does_not_fit_the_signature_is_refused_by_its_columns(
    tmp_path: Path, inputs: dict[str, Input]
) -> None:
    text = pa.table({"x": ["a", "b"], "y": ["no", "yes"]})
    data = dataset(tmp_path / "text", text, features=["x"])
    with pytest.raises(WorkloadFailed, match=r"does not fit the signature of model://m@2: x is .*string, not double"):
        planned_for(spec_of(), context({**without_baseline(inputs), "data": data}, tmp_path))


REFUSED_AT_SUBMISSION: list[tuple[dict[str, Any], str]] = [
    ({"gates": {"beauty": 0.9}}, "'beauty' is no metric: there are accuracy, "),
    ({"gates": {"accuracy": 90}}, "from 0 to 1"),
    ({"gates": {"accuracy[yes]": 0.9}}, "accuracy is not computed class by class"),
    ({"gates": [{"metric": "f1"}]}, "says nothing: give min, max or max_drop"),
    ({"gates": [{"metric": "f1", "max_drop": 0.1}]}, "max_drop needs compare_to"),
    ({"gates": {"f1": 0.9}, "metrics": ["accuracy"]}, "nobody computes it: metrics has accuracy"),
    (
        {"gates": [{"metric": "f1", "min": 0.5, "slice": "sex"}]},
        "slice 'sex' is of no column of slices, which has none",
    ),
    ({"gates": {"f1": 0.9, "mae": 1}}, "are of classification and regression"),
    ({"gates": {"ndcg": 0.9}}, "ranking metrics need group"),
    ({"gates": [{"metric": "f1", "min": 0.5, "confident": True}], "bootstrap": 0}, "confident needs intervals"),
    ({"compare_to": "m @ prod"}, "compare_to is 'm @ prod'"),
    ({"slices": ["sex", "sex"]}, "slices names sex twice"),
    ({"slices": [{"column": "age", "bins": [5, 3]}]}, "each above the last"),
    ({"promote": "prod"}, "promote needs gates"),
]


@pytest.mark.parametrize("fields, told", REFUSED_AT_SUBMISSION, ids=[told[:30] for _, told in REFUSED_AT_SUBMISSION])
def test_what_cannot_be_measured_is_refused_at_submission(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spec_of(**fields)
    assert told in str(refused.value)


def test_short_forms_mean_the_long_ones() -> None:
    spec = spec_of(gates={"accuracy": 0.9, "f1": {"min": 0.5, "slice": "sex"}}, slices=["sex"])
    assert [(gate.metric, gate.min, gate.slice) for gate in spec.gates] == [("accuracy", 0.9, None), ("f1", 0.5, "sex")]
    assert spec_of(gates={"mae": 2.0}).gates[0].max == 2.0
    again = type(spec).model_validate(json.loads(spec.model_dump_json()))
    assert again == spec
    compared = spec_of(compare_to="model://m@7")
    assert compared.inputs == {**ROLES, "baseline": "model://m@7"}
    assert type(spec).model_validate(json.loads(compared.model_dump_json())) == compared
