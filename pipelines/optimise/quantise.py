"""Passes over ONNX files, by ONNX Runtime's quantisers; its warnings about what it leaves out are not shown."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from pipelines.optimise.spec import DynamicInt8Pass, WeightOnlyPass

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
HEAVY = ["Conv", "MatMul", "Gemm"]
"""What is quantised: where the time goes. Quantising what stands between costs more than it saves."""


def dynamic_int8(source: Path, to: Path, spec: DynamicInt8Pass) -> None:
    """Quantise linear layers alone: convolutions that quantise their input while they run are several times slower."""
    with quietly():
        prepared = _prepared(source, to)
        quantize_dynamic(
            prepared, to, op_types_to_quantize=["MatMul", "Gemm"], per_channel=spec.per_channel,
            weight_type=QuantType.QInt8,
        )  # fmt: skip
    prepared.unlink()


def static_int8(
    source: Path, to: Path, rows: npt.NDArray[Any], input_name: str, method: str = "minmax", per_channel: bool = True
) -> None:
    """Quantise weights (signed) and activations (unsigned) with the ranges that ``rows`` (n, ...) show.

    Notes
    -----
    Signed activations are several times slower in linear layers on x86, so that activations are unsigned.
    """
    with quietly():
        prepared = _prepared(source, to)
        quantize_static(
            prepared, to, Rows(rows, input_name), quant_format=QuantFormat.QDQ, op_types_to_quantize=HEAVY,
            per_channel=per_channel, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=METHODS[method],
        )  # fmt: skip
    prepared.unlink()


def weight_only(source: Path, to: Path, spec: WeightOnlyPass) -> int:
    """Store the weights of linear layers with few bits; return how many layers that were."""
    with quietly():
        prepared = _prepared(source, to)
        model = onnx.load(prepared)
        _gemm_as_matmul(model)
        quantiser = MatMulNBitsQuantizer(
            model, bits=spec.bits, block_size=spec.block, is_symmetric=True, accuracy_level=4
        )
        quantiser.process()
        made: onnx.ModelProto = quantiser.model.model
        onnx.save(made, to)
    prepared.unlink()
    return sum(node.op_type == "MatMulNBits" for node in made.graph.node)


class Rows(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """Calibration data, a few rows at a time."""

    def __init__(self, rows: npt.NDArray[Any], input_name: str, size: int = 32) -> None:
        self._parts = iter([{input_name: rows[i : i + size]} for i in range(0, len(rows), size)])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._parts, None)


@contextmanager
def quietly() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _prepared(source: Path, to: Path) -> Path:
    """Return the file with shapes inferred and constants folded, as the quantisers want it."""
    prepared = to.with_name(f"{to.stem}.prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    return prepared


def _gemm_as_matmul(model: onnx.ModelProto) -> None:
    """Write each linear layer (Gemm of a constant weight) as MatMul and Add, which weight-only quantisers know."""
    graph = model.graph
    constants = {one.name: one for one in graph.initializer}
    nodes = []
    for node in graph.node:
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        if node.op_type != "Gemm" or not plain or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        name = f"{node.input[1]}.matmul"
        if name not in constants:
            turned = np.ascontiguousarray(weight.T if given.get("transB", 0) else weight)
            constants[name] = numpy_helper.from_array(turned, name)
            graph.initializer.append(constants[name])
        product = f"{node.output[0]}.product" if len(node.input) > 2 else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], name], [product], name=f"{node.name}.matmul"))
        if len(node.input) > 2:
            nodes.append(helper.make_node("Add", [product, node.input[2]], list(node.output), name=f"{node.name}.add"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    for one in [one for one in graph.initializer if one.name not in used]:
        graph.initializer.remove(one)
