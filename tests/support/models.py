"""Small model versions as training leaves them, and their signature as the control plane gives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from aios.engines import Input
from aios.kernel.events import Artefact
from aios.models.bundle import sign
from aios.models.keys import signing_key
from aios.models.manifest import MANIFEST, SIGNATURE
from pipelines.models.register import registered
from pipelines.models.weights import save
from pipelines.train.network import build


def made(folder: Path, name: str = "m", above: float = 0.5, **card: Any) -> Artefact:
    """Return a registered version that says whether ``x`` is above a bound."""
    folder.mkdir(parents=True, exist_ok=True)
    network = build({"type": "linear"}, 1, 2)
    with torch.no_grad():
        network[-1].weight.copy_(torch.tensor([[0.0], [1.0]]))  # type: ignore[operator, union-attr]
        network[-1].bias.copy_(torch.tensor([above, 0.0]))  # type: ignore[operator, union-attr]
    save(network, folder)
    full: dict[str, Any] = {
        "format": 2, "name": name, "task": "classification", "model": {"type": "linear"}, "features": ["x"],
        "target": "y", "classes": ["no", "yes"], "statistics": None, "recipe": None, "scores": {"accuracy": 0.9},
        "trained": {"epochs": 3, "lr": 0.01}, "dataset": {"reference": "dataset://rows@1", "digest": "rows:1"},
        "lineage": {"workload": "train-1", "attempt": 1},
        "signature": {
            "inputs": [{"name": "x", "type": "number", "dtype": "double"}],
            "outputs": {"name": "y", "task": "classification"},
        },
    }  # fmt: skip
    return registered(folder, {**full, **card})


def signed(artefact: Artefact, home: Path, storage: Path, version: int = 1) -> Input:
    """Return a version as work gets it, signed by a home's key."""
    folder = Path(artefact.uri)
    key = signing_key(home, storage)
    (folder / SIGNATURE).write_text(sign((folder / MANIFEST).read_bytes(), key), encoding="utf-8")
    return Input(f"model://{artefact.name}@{version}", artefact.uri, json.loads(artefact.meta))
