"""Models from elsewhere come in as ONNX: answered as their own runtime answers, and refused by what is wrong."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from aios.engines import Input
from aios.errors import Rejected
from aios.kernel.events import Artefact
from aios.models.pickles import pickles
from pipelines.export.foreign import take
from pipelines.models.verified import verified
from pipelines.train.network import load, predict
from tests.support.models import signed

SAID: dict[str, Any] = {
    "features": ["a", "b", "c", "d"], "target": "sign", "classes": ["go", "halt", "turn"], "gives": "probabilities",
    "framework": "tensorflow 2.19", "licence": "Apache-2.0",
}  # fmt: skip
RNG = np.random.default_rng(3)
WEIGHTS = RNG.normal(size=(4, 3)).astype("float32")


def images(
    name: str = "input_1", batch: Any = "batch", shape: tuple[int, ...] = (2, 2, 1), extra: bool = False
) -> onnx.ModelProto:
    """Return a network as converters from TensorFlow write it: pictures with channels last in, a softmax out."""
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])]
    if extra:
        inputs.append(helper.make_tensor_value_info("training", TensorProto.FLOAT, ["batch"]))
    nodes = [
        helper.make_node("Flatten", [name], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense/kernel"], ["dense"]),
        helper.make_node("Softmax", ["dense"], ["softmax"], axis=1),
    ]
    outputs = [helper.make_tensor_value_info("softmax", TensorProto.FLOAT, [batch, 3])]
    graph = helper.make_graph(nodes, "keras", inputs, outputs, [numpy_helper.from_array(WEIGHTS, "dense/kernel")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def taken(tmp_path: Path, model: onnx.ModelProto, **said: Any) -> Any:
    file = tmp_path / "model.onnx"
    onnx.save(model, file)
    return take(file, "signs", {**SAID, **said}, tmp_path / "storage", "ada")


def test_a_keras_network_is_a_version_that_answers_as_in_its_own_runtime(tmp_path: Path) -> None:
    made = taken(tmp_path, images())
    artefact = Artefact("model", "signs", made.uri, made.digest, json.dumps(made.meta))
    version = signed(artefact, tmp_path / "home", tmp_path / "storage")
    network, card = load(verified(version, tmp_path / "storage"))
    rows = RNG.normal(size=(20, 4))
    predictions, probabilities = predict(network, card, rows)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (wanted,) = session.run(None, {"input_1": rows.astype("float32").reshape(20, 2, 2, 1)})
    assert np.allclose(probabilities, wanted, atol=1e-6)
    assert predictions == [SAID["classes"][i] for i in wanted.argmax(axis=1)]
    assert card["lineage"]["imported by"] == "ada"
    assert not list(pickles(Path(made.uri)))
    assert "tensorflow 2.19" in (Path(made.uri) / "README.md").read_text()
    assert isinstance(version, Input)


def test_a_quantity_is_taken_too(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)], "sum",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, ["n"])],
        [numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    made = taken(tmp_path, model, classes=None, gives=None)
    assert predict(*load(Path(made.uri)), [[1.0, 2.0, 3.0, 4.0]]) == ([10.0], None)


WRONG: list[tuple[str, Callable[[], onnx.ModelProto], dict[str, Any], str]] = [
    ("fixed batch", lambda: images(batch=1), {}, "takes 1 rows alone"),
    ("features", images, {"features": ["a", "b"]}, r"has the shape \[2, 2, 1\], and the signature 2 features"),
    ("two inputs", lambda: images(extra=True), {}, r"has 2 inputs \(input_1, training\)"),
    ("classes", images, {"classes": ["go", "halt"]}, r"has the shape \(2, 3\) for two rows, and \(2, 2\) is needed"),
    ("output", images, {"output": "logits"}, "the model has no output 'logits'"),
    ("no gives", images, {"gives": None}, "classes need gives"),
    ("unknown key", images, {"labels": []}, "labels"),
    ("twice", images, {"features": ["a", "a", "c", "d"]}, "features has 'a' twice"),
]


@pytest.mark.parametrize("model, said, word", [one[1:] for one in WRONG], ids=[one[0] for one in WRONG])
def test_a_model_that_is_not_what_is_said_of_it_is_refused_and_leaves_nothing(
    tmp_path: Path, model: Callable[[], onnx.ModelProto], said: dict[str, Any], word: str
) -> None:
    with pytest.raises(Rejected, match=word):
        taken(tmp_path, model(), **said)
    assert not list((tmp_path / "storage").rglob("*.onnx"))


class Evil:
    def __reduce__(self) -> Any:
        return (exit, (3,))


@pytest.mark.parametrize(
    "content, word",
    [(pickle.dumps(Evil()), "is a pickle, which runs code"), (b"no model", "is no ONNX model"), (b"", "is no ONNX")],
    ids=["pickle", "text", "empty"],
)
def test_a_file_that_is_no_onnx_is_refused_and_not_run(tmp_path: Path, content: bytes, word: str) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(Rejected, match=word):
        take(file, "signs", SAID, tmp_path / "storage", "ada")


def test_weights_in_other_files_are_refused(tmp_path: Path) -> None:
    model = images()
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(Rejected, match="keeps weights in other files"):
        take(tmp_path / "model.onnx", "signs", SAID, tmp_path / "storage", "ada")
