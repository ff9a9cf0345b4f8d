"""Passes over a network that was trained on real scans: what each makes, which are rejected, and how it goes on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aios.engines import Preempted, WorkloadFailed
from pipelines.files import write_json
from pipelines.models.onnx import export
from pipelines.models.weights import restore
from pipelines.optimise import prune
from pipelines.optimise.front import chosen, front
from pipelines.optimise.page import page
from pipelines.optimise.spec import OptimiseSpec
from pipelines.optimise.work import Optimising, Order
from pipelines.train.network import build
from tests.support.digits import FEATURES, Notes, digits, spec_of, trained

ROLES = {"inputs": {"model": "model://m", "data": "dataset://digits"}, "outputs": {"model": "model://small"}}
PASSES: list[dict[str, Any]] = [
    {"type": "onnx"},
    {"type": "static_int8", "rows": 64},
    {"type": "dynamic_int8"},
    {"type": "weight_only", "bits": 4, "block": 16},
    {"type": "prune", "amount": 0.98, "epochs": 0, "name": "too-much"},
    {"type": "prune", "amount": 0.25, "structural": True, "epochs": 6, "max_drop": 0.2, "lr": 0.01},
    {"type": "qat", "epochs": 1, "rows": 64, "max_drop": 0.2},
    {"type": "distil", "student": {"type": "mlp", "hidden": [32]}, "epochs": 10, "lr": 0.01, "max_drop": 0.3},
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies are measured for a moment: what they are is not what is tested."""
    monkeypatch.setattr("pipelines.optimise.measure.ROUND_S", 0.01)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return digits(tmp_path_factory.mktemp("digits") / "v1", n_train=500, n_test=300)


@pytest.fixture(scope="module")
def original(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional net as training leaves it."""
    folder = tmp_path_factory.mktemp("original")
    spec = spec_of(model={"type": "cnn", "channels": [8, 16]}, epochs=8, lr=0.01)
    trained(spec, data, folder)
    assert spec.model is not None
    manifest = json.loads((Path(data) / "manifest.json").read_text())
    card = {
        "name": "m", "task": "classification", "model": spec.model.described(), "features": FEATURES,
        "target": "digit", "classes": list(range(10)), "statistics": manifest["statistics"],
    }  # fmt: skip
    write_json(folder / "model" / "model.json", card)
    return folder / "model"


def order_of(
    spec: OptimiseSpec, original: Path, data: str, folder: Path, checkpoint: str = "", notes: Notes | None = None
) -> Order:
    folder.mkdir(exist_ok=True)
    where: Any = SimpleNamespace(say=lambda: None)
    return Order(
        spec, original, data, "dataset://digits@1", None, "", Path(), folder, checkpoint, folder / "stop", 1, where,
        notes or Notes(), lambda: None,
    )  # fmt: skip


def spec_with(*passes: dict[str, Any], **fields: Any) -> OptimiseSpec:
    return OptimiseSpec.model_validate({"kind": "optimise", "name": "o", "passes": passes, **{**ROLES, **fields}})


def test_every_pass_makes_a_variant_that_is_measured_and_gated(data: str, original: Path, tmp_path: Path) -> None:
    notes = Notes()
    report = Optimising(order_of(spec_with(*PASSES, max_drop=0.03), original, data, tmp_path / "o", "", notes)).run()
    rows = {row["name"]: row for row in report["variants"]}
    assert list(rows) == [
        "original", "onnx", "static-int8", "dynamic-int8", "weight-only", "too-much", "prune-2", "qat", "distil",
    ]  # fmt: skip

    # 1. Real scores: ONNX answers as the original, and int8 nearly so.
    assert rows["original"]["score"] > 0.8
    assert rows["onnx"]["score"] == rows["original"]["score"]
    assert abs(rows["static-int8"]["score"] - rows["original"]["score"]) <= 0.03
    assert rows["static-int8"]["size_bytes"] < rows["onnx"]["size_bytes"]

    # 2. What breaks its gate is rejected by name, and nothing is built on it.
    assert "may lose 0.03" in rows["too-much"]["rejected"]
    assert report["taken"] != "too-much"
    assert "too-much" not in report["front"]
    assert any("too-much" in line and "rejected: loses" in line for line in notes.lines)

    # 3. A structural pass leaves a smaller network, and the pass after it works on that one.
    assert rows["prune-2"]["size_bytes"] < rows["onnx"]["size_bytes"]
    assert rows["qat"]["size_bytes"] < rows["static-int8"]["size_bytes"]

    # 4. All of it is in the page.
    text = page({**report, "model": "model://m@1", "data": "dataset://digits@1"})
    assert all(name in text for name in rows)
    assert "<polyline" in text
    assert "http" not in text, "it needs nothing from elsewhere"


def test_it_goes_on_behind_the_last_pass_that_was_finished(data: str, original: Path, tmp_path: Path) -> None:
    spec = spec_with({"type": "prune", "amount": 0.1, "epochs": 2, "max_drop": 0.5}, {"type": "static_int8"})
    notes = Notes()
    notes.yields_at = 4  # before pass 1, after each of its two epochs, and then before pass 2
    with pytest.raises(Preempted):
        Optimising(order_of(spec, original, data, tmp_path / "a", "", notes)).run()
    ((checkpoint, n_done),) = notes.checkpoints
    assert n_done == 1

    again = Notes()
    report = Optimising(order_of(spec, original, data, tmp_path / "b", checkpoint, again)).run()
    assert [row["name"] for row in report["variants"]] == ["original", "prune", "static-int8"]
    assert not any(line.startswith("prune: epoch") for line in again.lines), "what was done is not done again"
    assert any("pass 2/2" in line for line in again.lines)

    other = spec_with({"type": "onnx"}, {"type": "static_int8"})
    with pytest.raises(WorkloadFailed, match="is of other passes"):
        Optimising(order_of(other, original, data, tmp_path / "c", checkpoint)).run()


def test_a_model_that_is_onnx_alone_is_quantised_and_not_pruned(data: str, original: Path, tmp_path: Path) -> None:
    card = json.loads((original / "model.json").read_text())
    network = build(card["model"], 64, 10, card["statistics"])
    restore(network, original, "m")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    export(network, 64, foreign)
    write_json(foreign / "model.json", {**card, "model": {"type": "onnx"}})
    report = Optimising(order_of(spec_with({"type": "static_int8"}), foreign, data, tmp_path / "a")).run()
    assert report["variants"][1]["score"] > 0.8
    with pytest.raises(WorkloadFailed, match="prune changes the network itself, and this model is kept as ONNX"):
        Optimising(order_of(spec_with({"type": "prune"}), foreign, data, tmp_path / "b")).run()


def test_a_teacher_that_answers_another_question_is_refused(data: str, original: Path, tmp_path: Path) -> None:
    card = json.loads((original / "model.json").read_text())
    spec = spec_with(
        {"type": "distil", "student": {"type": "linear"}, "epochs": 1, "max_drop": 1.0},
        inputs={**ROLES["inputs"], "teacher": "model://big"},
    )
    for changes, word in (({"classes": list("abcdefghij")}, "other classes"), ({}, "")):
        teacher = tmp_path / f"teacher-{bool(word)}"
        shutil.copytree(original, teacher)
        write_json(teacher / "model.json", {**card, **changes})
        order = order_of(spec, original, data, tmp_path / f"work-{bool(word)}")
        order = replace(order, teacher=teacher, teacher_reference="model://big@4")
        if word:
            with pytest.raises(WorkloadFailed, match=f"teacher model://big@4 has {word} than the model"):
                Optimising(order).run()
        else:
            assert len(Optimising(order).run()["variants"]) == 2


@pytest.mark.parametrize("model", [{"type": "mlp", "hidden": [12, 8]}, {"type": "cnn", "channels": [6, 8]}])
def test_a_network_whose_dead_channels_are_taken_out_answers_as_before(model: dict[str, Any]) -> None:
    torch.manual_seed(0)
    wide = build(model, 64, 3)
    with torch.no_grad():
        for layer in [one for one in wide if isinstance(one, prune.WEIGHED)][:-1]:
            layer.weight[::2] = 0.0
            layer.bias[::2] = 0.0  # type: ignore[index]
    thin = build(prune.thinner(model, 0.5), 64, 3)
    prune.carry_over(wide, thin)
    rows = torch.randn(5, 64, dtype=torch.float64)
    assert torch.allclose(wide(rows), thin(rows), atol=1e-6)


def test_unstructured_pruning_keeps_the_weights_that_matter() -> None:
    network = build({"type": "mlp", "hidden": [10]}, 64, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prune.mask(network, 0.4)
    assert prune.settle(network) == pytest.approx(0.4, abs=0.01)
    after = network.state_dict()
    largest = before["1.weight"].abs().argmax()
    assert after["1.weight"].flatten()[largest] == before["1.weight"].flatten()[largest]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=12))
def test_nothing_on_the_front_is_beaten_and_what_is_not_on_it_is(points: list[tuple[float, float]]) -> None:
    rows = [{"name": str(i), "score": score, "latency_us": us, "size_bytes": i} for i, (score, us) in enumerate(points)]
    on_front = front(rows)

    def beaten(row: dict[str, Any]) -> bool:
        return any(
            other["score"] >= row["score"]
            and other["latency_us"] <= row["latency_us"]
            and (other["score"], other["latency_us"]) != (row["score"], row["latency_us"])
            for other in rows
        )

    alike = {(row["score"], row["latency_us"]) for row in rows if row["name"] in on_front}
    assert all(beaten(row) is not ((row["score"], row["latency_us"]) in alike) for row in rows)
    assert chosen(rows, "latency") in on_front


BAD = [
    ({"passes": []}, "at least 1"),
    ({"passes": [{"type": "shrink"}]}, "'static_int8'"),
    ({"passes": [{"type": "prune", "amount": 1.0}]}, "less than 1"),
    ({"passes": [{"type": "weight_only", "bits": 3}]}, "4 or 8"),
    ({"passes": [{"type": "distil"}]}, "student"),
    ({"passes": [{"type": "onnx", "rows": 3}]}, "rows"),
    ({"passes": [{"type": "onnx", "name": "a"}, {"type": "dynamic_int8", "name": "a"}]}, "called 'a'"),
    ({"inputs": {**ROLES["inputs"], "teacher": "model://big"}}, "inputs.teacher is of use to a pass distil alone"),
    ({"workers": {"num_workers": 2}}, "one worker"),
    ({"max_drop": 3}, "less than or equal to 1"),
    ({"inputs": {"model": "model://m"}}, "inputs needs 'data'"),
]


@pytest.mark.parametrize("changes, word", BAD, ids=[word for _, word in BAD])
def test_a_wrong_spec_is_refused_with_a_word_on_how_to_mend_it(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word.replace("(", r"\(")):
        OptimiseSpec.model_validate({"kind": "optimise", "name": "o", "passes": [{"type": "onnx"}], **ROLES, **changes})
