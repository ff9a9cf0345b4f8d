"""Evaluations on real Ray: rows are judged on the planned nodes, in parts that a later attempt goes on behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest
import yaml

from aios.engines import Input, Preempted, Result, WorkloadFailed
from pipelines.evaluate.ranks import Ranks
from tests.ray.test_engines import CPU, Lab, lab  # noqa: F401  # a fixture
from tests.support.judged import ROLES, dataset, judged
from tests.support.models import made, signed
from tests.support.polling import eventually

pytestmark = pytest.mark.ray

N = 300_000
EXAMPLE = Path(__file__).parents[2] / "examples" / "health" / "tumour.yaml"
FIELDS: dict[str, Any] = {
    "inputs": ROLES, "slices": ["sex", {"column": "age", "bins": 3}], "compare_to": "m@1", "bootstrap": 50,
    "gates": [{"metric": "accuracy", "min": 0.9}, {"metric": "accuracy", "max_drop": 0.0, "slice": "sex"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def given(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:  # noqa: F811
    folder, at = tmp_path_factory.mktemp("judged"), np.arange(N)
    x = (at * 37 % N) / N
    rows = pa.table({
        "x": x, "sex": np.where(at % 3 == 0, "f", "m"), "age": 20.0 + at % 60, "query": at // 25,
        "y": np.where((x > 0.5) ^ (at % 50 == 0), "yes", "no"),
    })  # fmt: skip
    home = folder / "home"
    return {
        "data": dataset(folder / "rows", rows, features=["x"]),
        "model": signed(made(folder / "good", above=0.52), home, lab.storage, 2),
        "baseline": signed(made(folder / "bad", above=0.7), home, lab.storage, 1),
    }


def report_of(result: Result) -> dict[str, Any]:
    (artefact,) = result.artefacts
    assert Path(artefact.uri).with_name("report.html").stat().st_size > 10_000
    return json.loads(Path(artefact.uri).read_text())  # type: ignore[no-any-return]


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    return {name: report[name] for name in ("rows", "scores", "differences", "slices", "gates", "curves", "confusion")}


def test_an_evaluation_that_yields_goes_on_behind_its_rows_and_says_the_same(
    lab: Lab,  # noqa: F811
    given: dict[str, Input],
    tmp_path: Path,
) -> None:
    """
    1. On one node it is asked to yield once some rows are judged: it saves what they sum to.
    2. On two others it goes on, and judges only what is left.
    3. Its report is that of an evaluation in one go, in one process.
    """
    first = lab.attempt("evaluate", [lab.nodes[0]], CPU, given, **FIELDS)
    eventually(lambda: first.heard("progress") or first.outcome, timeout_s=90)
    first.ask_to("preempt")
    with pytest.raises(Preempted):
        first.end()
    saved = first.heard("saved")[-1]
    assert 0 < saved[1] < N

    second = lab.attempt("evaluate", [lab.nodes[1], lab.nodes[2]], CPU, given, saved, **FIELDS)
    report = report_of(second.end())
    assert set(second.actual) <= {lab.nodes[1], lab.nodes[2]}
    assert min(metrics["rows"] for (metrics,) in second.heard("progress")) > saved[1]

    spec = first.spec
    whole, _ = judged(spec, given, _storage_of(lab, tmp_path))
    ours, theirs = (json.dumps(_rounded(comparable(one)), sort_keys=True) for one in (report, whole))
    assert ours == theirs
    assert report["missed"] == []
    assert report["differences"]["accuracy"]["value"] > 0.1


def _storage_of(lab: Lab, tmp_path: Path) -> Path:  # noqa: F811
    """Return a storage for this process with the keys of the lab's."""
    (tmp_path / "keys").symlink_to(lab.storage / "keys")
    return tmp_path


def _rounded(value: Any) -> Any:
    """Return it with the last digits gone, which depend on the order in which parts are added."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def test_the_example_of_health_care_is_trained_judged_by_slices_and_explained(lab: Lab) -> None:  # noqa: F811
    stages = {one["name"]: one for one in yaml.safe_load(EXAMPLE.read_text())["stages"]}
    ingest, train, evaluate = ({k: v for k, v in stages[name].items() if k not in ("kind", "name", "workers")}
                               for name in ("cells", "learn", "judge"))  # fmt: skip
    (table,) = lab.attempt("ingest", [lab.nodes[0]], **ingest).end().artefacts
    data = Input("dataset://cells@1", table.uri, json.loads(table.meta))
    (left,) = lab.attempt("train", [lab.nodes[0]], CPU, {"data": data}, **train).end().artefacts
    model = signed(left, lab.storage / "home", lab.storage)
    inputs = {"model": model, "data": data, "baseline?": Input("model://tumour@prod", "model://tumour@prod")}
    attempt = lab.attempt("evaluate", [lab.nodes[1], lab.nodes[2]], CPU, inputs, **evaluate)
    result = attempt.end()
    report = report_of(result)
    assert json.loads(result.artefacts[0].meta)["promote"] == "prod"
    assert "no version is called tumour@prod yet" in attempt.log()
    assert [one["held"] for one in report["gates"]] == [True] * 6
    assert sum(one["rows"] for one in report["slices"]) == report["rows"] == data.meta["rows"]["test"]
    found = report["attributions"]
    assert (found["rows"], len(found["features"]), found["method"]) == (64, 30, "integrated gradients")
    assert found["gap"] < 0.01
    sizes = [one["mean_absolute"] for one in found["features"]]
    assert sizes == sorted(sizes, reverse=True)


def test_lists_are_ranked_by_group_and_a_missed_gate_leaves_its_report(
    lab: Lab,  # noqa: F811
    given: dict[str, Input],
    tmp_path: Path,
) -> None:
    few = tmp_path / "few"
    table = pa.parquet.read_table(Path(given["data"].uri) / "test" / "part-00000.parquet").slice(0, 2000)
    shuffled = table.take(np.random.default_rng(0).permutation(2000))
    data = dataset(few, shuffled, features=["x"])
    fields = {"inputs": ROLES, "group": "query", "k": 5, "gates": {"ndcg": 0.999}, "bootstrap": 40}
    attempt = lab.attempt("evaluate", [lab.nodes[2]], CPU, {"model": given["model"], "data": data}, **fields)
    with pytest.raises(WorkloadFailed, match=r"gate: ndcg 0\.\d+ is below 0\.999 .*on 80 groups") as missed:
        attempt.end()
    (artefact,) = missed.value.artefacts
    report = json.loads(Path(artefact.uri).read_text())
    expected = []
    for query in range(80):
        of = table.filter(pa.compute.equal(table["query"], query))
        x = of["x"].to_numpy()
        expected.append(Ranks(5).of_group(np.array(of["y"].to_pylist()) == "yes", x))
    names = ("ndcg", "mrr", "map", "hit_rate", "precision_at_k", "recall_at_k")
    assert {name: report["scores"][name]["value"] for name in names} == pytest.approx(
        dict(zip(names, np.mean(expected, axis=0).tolist(), strict=True))
    )
    assert attempt.actual == (lab.nodes[2],)
    assert json.loads(artefact.meta)["missed"]
