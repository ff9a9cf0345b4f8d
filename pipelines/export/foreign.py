"""Models from elsewhere, as ONNX files: checked, tried, and made into a version like any other."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from pydantic import Field, ValidationError, model_validator

from aios.engines import WorkloadFailed
from aios.errors import Rejected
from aios.exports import Imported
from aios.models.pickles import is_pickle
from aios.spec import Strict
from pipelines.models.onnx import ONNX
from pipelines.models.register import registered
from pipelines.models.session import OnnxNetwork
from pipelines.train.network import predict

DTYPES = {1: "float32", 10: "float16", 11: "float64", 6: "int32", 7: "int64", 2: "uint8"}
GIVES = Literal["logits", "probabilities", "quantity"]


class Said(Strict):
    """What the author of a model says of it: what a row is, in order, and what comes out."""

    features: tuple[str, ...] = Field(min_length=1)
    target: str = Field(min_length=1)
    classes: tuple[str | int, ...] | None = None
    gives: GIVES | None = None
    output: str | None = None
    statistics: dict[Literal["mean", "scale"], tuple[float, ...]] | None = None
    dataset: str | None = Field(default=None, pattern=r"^dataset://[a-z0-9][-a-z0-9]*(@[\w.:+-]+)?$")
    framework: str | None = None
    licence: str | None = None
    notes: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Said:
        twice = next((name for name in self.features if self.features.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"features has {twice!r} twice")
        if self.classes is None and self.gives in ("logits", "probabilities"):
            raise ValueError(f"gives {self.gives} needs classes, in the order of the outputs")
        if self.classes is not None and self.gives not in ("logits", "probabilities"):
            raise ValueError("classes need gives: logits or probabilities, as the last layer is")
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError("classes are at least two")
        return self


def take(file: Path, name: str, said: Mapping[str, Any], storage: Path, by: str) -> Imported:
    """Make a version's folder of an ONNX file; raises Rejected with what is wrong, and leaves nothing then."""
    model = checked(file)
    try:
        given = Said.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or "signature"
        raise Rejected(
            f"signature: {at}: {first['msg']}", hint="features, target, and for classes: classes, gives"
        ) from None
    form = form_of(model, given)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    folder = storage / "models" / name / f"import-{digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(file, folder / ONNX)
        card = card_of(name, given, form, file, digest, by)
        tried(folder, card)
        made = registered(folder, card)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Imported(made.uri, made.digest, json.loads(made.meta))


def checked(file: Path) -> onnx.ModelProto:
    """Return a file as ONNX that is whole in itself; raises Rejected for pickles and whatever else is none."""
    if not file.is_file():
        raise Rejected(f"{file}: no such file", hint="give the path of an ONNX file")
    if is_pickle(file):
        raise Rejected(
            f"{file} is a pickle, which runs code when it is read",
            hint="export it as ONNX: torch.onnx.export, tf2onnx, mx.onnx.export_model",
        )
    try:
        model = onnx.load(file, load_external_data=False)
        outside = [one.name for one in model.graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL]
        if not outside:
            onnx.checker.check_model(model)
    except Exception as error:  # of protobuf and onnx, of many kinds
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Rejected(f"{file} is no ONNX model: {said}", hint="export it as ONNX, weights inside") from None
    if outside:
        raise Rejected(
            f"{file} keeps weights in other files ({outside[0]})", hint="save it with external_data off: one file"
        )
    return model


def form_of(model: onnx.ModelProto, said: Said) -> dict[str, Any]:
    """Return how the file is called: its input with type and shape of a row, its output, and what that gives."""
    constants = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise Rejected(
            f"the model has {len(inputs)} inputs ({names}), and one of rows is needed", hint="join them first"
        )
    tensor = inputs[0].type.tensor_type
    dims = [one.dim_value if one.HasField("dim_value") else 0 for one in tensor.shape.dim]
    if tensor.elem_type not in DTYPES:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise Rejected(f"input {inputs[0].name} is of {kind}, and numbers are needed", hint="export it over numbers")
    if not dims or dims[0]:
        raise Rejected(
            f"input {inputs[0].name} takes {dims[0] if dims else 'no'} rows alone",
            hint="export it with a free batch size",
        )
    shape = dims[1:]
    if 0 in shape or int(np.prod(shape)) != len(said.features):
        raise Rejected(
            f"a row of input {inputs[0].name} has the shape {shape}, and the signature {len(said.features)} features",
            hint="name each value of a row, in the order of its memory",
        )
    outputs = [one.name for one in model.graph.output]
    wanted = said.output or outputs[0]
    if wanted not in outputs:
        raise Rejected(f"the model has no output {wanted!r}", hint=f"it has {', '.join(outputs)}")
    return {
        "input": inputs[0].name, "dtype": DTYPES[tensor.elem_type], "shape": shape if len(shape) > 1 else None,
        "output": wanted, "gives": said.gives or "quantity",
    }  # fmt: skip


def card_of(name: str, said: Said, form: Mapping[str, Any], file: Path, digest: str, by: str) -> dict[str, Any]:
    """Return the card of an imported version."""
    task = "regression" if said.classes is None else "classification"
    outputs: dict[str, Any] = {"name": said.target, "task": task}
    if said.classes is not None:
        outputs["classes"] = list(said.classes)
    return {
        "format": 2, "name": name, "task": task, "model": {"type": "onnx", **form}, "features": list(said.features),
        "target": said.target, "classes": None if said.classes is None else list(said.classes),
        "statistics": None if said.statistics is None else {key: list(one) for key, one in said.statistics.items()},
        "recipe": None, "scores": {},
        "signature": {"inputs": [{"name": one, "type": "number"} for one in said.features], "outputs": outputs},
        "trained": {"framework": said.framework, "elsewhere": True},
        "lineage": {"file": file.name, "sha256": digest, "imported by": by},
        "dataset": {"reference": said.dataset} if said.dataset else {"reference": None},
        "licence": said.licence, "notes": said.notes,
    }  # fmt: skip


def tried(folder: Path, card: Mapping[str, Any]) -> None:
    """Ask the model about two rows; raises Rejected where its answer does not fit what is said of it."""
    try:
        network = OnnxNetwork(folder, card)
        rows = np.zeros((2, len(card["features"])))
        out = network(torch.from_numpy(rows))
    except WorkloadFailed as error:
        raise Rejected(error.message, hint="ONNX Runtime must be able to run it") from None
    except Exception as error:  # ONNX Runtime's own
        raise Rejected(
            f"the model cannot answer two rows: {str(error).splitlines()[0][:200]}", hint="try it in ONNX Runtime first"
        ) from None
    wanted = (2, len(card["classes"] or [0]))
    if tuple(out.shape) != wanted:
        raise Rejected(
            f"output {card['model']['output']} has the shape {tuple(out.shape)} for two rows, and {wanted} is needed",
            hint="name the output, or the classes, as the model has them",
        )
    predict(network, card, rows)
