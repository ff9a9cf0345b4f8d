"""What is measured of a variant: score on the evaluation rows, latency beside the others, size and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.files import write_json
from pipelines.optimise.probe import timed
from pipelines.train.network import predict

BATCHES = (1, 32, 256)
ROUNDS = 12
ROUND_S = 0.15
PROBE_S = 300.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model to be timed: an ONNX file with its input's form, or the folder of a PyTorch version."""

    name: str
    kind: str
    path: Path
    form: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "path": str(self.path), "form": self.form and dict(self.form)}

    @property
    def size_bytes(self) -> int:
        """What is loaded: the ONNX file, or the weights."""
        if self.kind == "onnx":
            return self.path.stat().st_size
        return sum(path.stat().st_size for path in self.path.glob("*.safetensors"))


@torch.inference_mode()
def score(network: nn.Module, card: Mapping[str, Any], rows: npt.NDArray[Any], expected: Sequence[Any]) -> float:
    """Return the accuracy, or for a quantity the coefficient of determination."""
    predicted: list[Any] = []
    for i in range(0, len(rows), 4096):
        predicted += predict(network, card, rows[i : i + 4096])[0]
    if card["classes"] is not None:
        return sum(a == b for a, b in zip(predicted, expected, strict=True)) / len(expected)
    truth, guess = np.asarray(expected, dtype="float64"), np.asarray(predicted, dtype="float64")
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1.0 - float(((truth - guess) ** 2).sum()) / spread if spread else 0.0


def side_by_side(candidates: Sequence[Candidate], rows: npt.NDArray[Any], folder: Path, rounds: int = ROUNDS) -> Any:
    """Return latencies by name and batch size, all of one run in which the models take turns."""
    order = {"what": "time", "models": [one.as_json() for one in candidates], "batches": BATCHES, "rounds": rounds}
    return _probed({**order, "round_s": ROUND_S}, rows, folder)


def glance(candidates: Sequence[Candidate], rows: npt.NDArray[Any]) -> Any:
    """Return latencies as this process finds them, for a first word; what counts is measured at the end."""
    order = {"models": [one.as_json() for one in candidates], "batches": BATCHES[:1], "rounds": 3, "round_s": ROUND_S}
    before = torch.get_num_threads()
    try:
        return timed(order, rows)
    finally:
        torch.set_num_threads(before)


def memory_of(candidate: Candidate, rows: npt.NDArray[Any], folder: Path) -> int:
    """Return by how many bytes a process grows that loads a model and asks it."""
    return int(_probed({"what": "memory", "models": [candidate.as_json()]}, rows, folder)["memory_bytes"])


def _probed(order: dict[str, Any], rows: npt.NDArray[Any], folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "probe.npy", rows[:256])
    write_json(folder / "probe.json", {**order, "rows": str(folder / "probe.npy")})
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "pipelines.optimise.probe", str(folder / "probe.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PROBE_S, check=False)
    if done.returncode:
        raise WorkloadFailed(
            f"the variants could not be timed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}",
            detail=done.stderr[-4000:],
        )
    return json.loads(done.stdout.strip().splitlines()[-1])
