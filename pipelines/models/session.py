"""A network that is kept as ONNX, run by ONNX Runtime, with a network's call: raw rows in, logits or a quantity out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.models.onnx import ONNX

INPUT: Mapping[str, Any] = {"input": "rows", "dtype": "float64", "shape": None, "output": "out", "gives": "logits"}
"""How our own files are called; an imported one says otherwise in its card."""


class OnnxNetwork(nn.Module):
    """Answers as the network would that ``model.onnx`` of a version was made from.

    ``card["model"]`` may say ``input``, ``dtype`` and ``shape`` of a row, ``output``, and what it ``gives``:
    ``logits``, ``probabilities`` or a ``quantity``.
    """

    def __init__(self, folder: Path, card: Mapping[str, Any]) -> None:
        super().__init__()
        path = folder / ONNX
        if not path.is_file():
            raise WorkloadFailed(f"model {card['name']!r}: {path} is missing: restore it, or make it again")
        self.form = {**INPUT, **{key: card["model"][key] for key in INPUT if card["model"].get(key) is not None}}
        self.session = session_of(path, torch.get_num_threads())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        values = rows.detach().cpu().numpy().astype(self.form["dtype"])
        if self.form["shape"]:
            values = values.reshape(len(values), *self.form["shape"])
        (out,) = self.session.run([self.form["output"]], {self.form["input"]: np.ascontiguousarray(values)})
        found = torch.from_numpy(np.asarray(out))
        if found.ndim == 1:
            found = found[:, None]
        return torch.log(found.double().clamp(min=1e-12)) if self.form["gives"] == "probabilities" else found


def session_of(path: Path, n_threads: int) -> Any:
    """Return an ONNX Runtime session on CPU; raises WorkloadFailed where that cannot be."""
    if find_spec("onnxruntime") is None:
        raise WorkloadFailed("the model is kept as ONNX, and ONNX Runtime is missing: pip install 'aios[optimise]'")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own, of many kinds
        raise WorkloadFailed(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0][:300]}") from None
