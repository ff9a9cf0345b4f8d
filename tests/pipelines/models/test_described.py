"""What a version says of itself: weights, signature, card, ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aios.engines import WorkloadFailed
from pipelines.models.card import markdown
from pipelines.models.onnx import can_export, export
from pipelines.models.signature import misfits, signature_of, told
from pipelines.models.weights import WEIGHTS, restore, save
from pipelines.train.network import build
from tests.support.models import made

MANIFEST = {"features": ["a", "b"], "target": "y", "task": "classification", "classes": ["no", "yes"]}
TYPES = {"a": "double", "b": "int64", "y": "string"}


def test_weights_come_back_to_the_last_bit(tmp_path: Path) -> None:
    network = build({"type": "mlp", "hidden": [5]}, 3, 2, {"mean": [1.0, 2.0, 3.0], "scale": [1.0, 2.0, 0.1]})
    save(network, tmp_path)
    other = build({"type": "mlp", "hidden": [5]}, 3, 2)
    restore(other, tmp_path, "m")
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize(
    "do, told_",
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-5]), "cannot be read"),
        (lambda path: save(build({"type": "linear"}, 4, 2), path.parent), "do not fit its architecture"),
    ],
)
def test_weights_that_are_gone_broken_or_of_another_network_are_told(tmp_path: Path, do: object, told_: str) -> None:
    do(save(build({"type": "linear"}, 3, 2), tmp_path))  # type: ignore[operator]
    with pytest.raises(WorkloadFailed, match=f"model 'm'.*{told_}"):
        restore(build({"type": "linear"}, 3, 2), tmp_path, "m")


def test_a_signature_has_the_types_of_the_data() -> None:
    found = signature_of(MANIFEST, TYPES)
    assert found["inputs"][1] == {"name": "b", "type": "number", "dtype": "int64"}
    assert found["outputs"] == {"name": "y", "task": "classification", "dtype": "string", "classes": ["no", "yes"]}


@pytest.mark.parametrize(
    "types, problems",
    [
        ({"a": "float", "b": "int8", "more": "string"}, []),
        ({"a": "double"}, ["b is missing"]),
        ({"a": "string", "b": "list<item: double>"}, ["a is string, not double", "b is list<item: double>, not int64"]),
    ],
)
def test_data_fits_a_signature_or_it_is_said_why_not(types: dict[str, str], problems: list[str]) -> None:
    assert misfits(signature_of(MANIFEST, TYPES), types) == problems


def test_many_problems_are_not_all_told() -> None:
    assert told([f"x{i} is missing" for i in range(9)]).endswith("x4 is missing and 4 more")


def test_a_card_says_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    made(tmp_path)
    text = (tmp_path / "README.md").read_text()
    for part in ("# m", "| accuracy | 0.9 |", "| x | double |", "data: dataset://rows@1", "epochs: 3", "no, yes"):
        assert part in text
    assert "None" not in text
    assert "licence" not in text
    licensed = markdown({**_card(tmp_path), "licence": "CC-BY-4.0"})
    assert "licence: CC-BY-4.0" in licensed


def _card(folder: Path) -> dict[str, object]:
    import json

    found: dict[str, object] = json.loads((folder / "model.json").read_text())
    return found


@pytest.mark.skipif(not can_export(), reason="onnxscript is not installed")
def test_an_onnx_file_answers_as_the_network_does_for_any_number_of_rows(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    network = build({"type": "mlp", "hidden": [8]}, 4, 3, {"mean": [1.0] * 4, "scale": [2.0] * 4}).eval()
    session = runtime.InferenceSession(export(network, 4, tmp_path))
    for n in (1, 7):
        rows = np.random.default_rng(n).normal(size=(n, 4))
        with torch.inference_mode():
            expected = network(torch.as_tensor(rows)).numpy()
        np.testing.assert_allclose(session.run(None, {"rows": rows})[0], expected, atol=1e-6)
    assert WEIGHTS not in {path.name for path in tmp_path.iterdir()}
