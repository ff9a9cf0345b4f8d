"""A network as an ONNX file, where the packages for it are installed (the extra ``optimise``)."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

ONNX = "model.onnx"


def can_export() -> bool:
    return find_spec("onnxscript") is not None


def export(network: nn.Module, n_features: int, folder: Path) -> Path:
    """Write ``model.onnx``: input ``rows`` (any number, n_features, float64), output ``out``; weights inside."""
    path = folder / ONNX
    rows = torch.zeros(2, n_features, dtype=torch.float64)
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)  # it tells of packages that are not needed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network.eval(), (rows,), dynamo=True, input_names=["rows"], output_names=["out"], verbose=False,
                dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            )  # fmt: skip
    finally:
        log.setLevel(before)
    assert program is not None
    program.save(path, external_data=False)
    return path
