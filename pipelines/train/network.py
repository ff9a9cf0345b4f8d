"""The networks that can be trained, and model versions as folders: weights beside a card that says what they are.

Weights are safetensors: no code comes out of a model file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.files import read_json
from pipelines.models.weights import restore

CARD = "model.json"


class Normalise(nn.Module):
    """The first layer: what was measured at ingest, so that the same raw rows go in at training and at serving."""

    def __init__(self, n_features: int, statistics: Mapping[str, Sequence[float]] | None) -> None:
        super().__init__()
        mean = statistics["mean"] if statistics else [0.0] * n_features
        scale = statistics["scale"] if statistics else [1.0] * n_features
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return ((rows.double() - self.mean) / self.scale).float()


def build(
    model: Mapping[str, Any],
    n_features: int,
    n_outputs: int,
    statistics: Mapping[str, Sequence[float]] | None = None,
) -> nn.Sequential:
    """Return the network ``model`` describes (``type``, ``hidden``), from raw rows to logits or one quantity."""
    layers: list[nn.Module] = [Normalise(n_features, statistics)]
    if model["type"] == "cnn":
        return nn.Sequential(*layers, *_convolutions(n_features, n_outputs))
    width = n_features
    for n_units in model.get("hidden", ()):
        layers += [nn.Linear(width, n_units), nn.ReLU()]
        width = n_units
    return nn.Sequential(*layers, nn.Linear(width, n_outputs))


def _convolutions(n_features: int, n_outputs: int) -> list[nn.Module]:
    side = isqrt(n_features)
    if side * side != n_features or side < 4:
        raise WorkloadFailed(f"model type cnn needs square images: {n_features} features are no square; use type mlp")
    return [
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (side // 2) ** 2, n_outputs),
    ]


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a model version; raises WorkloadFailed where there is none."""
    path = folder / CARD
    if not path.is_file():
        raise WorkloadFailed(f"no model at {folder}: {CARD} is missing; was its training finished?")
    card: dict[str, Any] = read_json(path)
    return card


def load(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return a model version, ready to predict, and its card."""
    card = read_card(folder)
    if card["model"]["type"] == "custom":
        raise WorkloadFailed(f"model {card['name']!r} was made by a train_loop: only its author's code can load it")
    network = build(card["model"], len(card["features"]), len(card["classes"] or [0]), card["statistics"])
    restore(network, folder, card["name"])
    return network.eval(), card


@torch.inference_mode()
def predict(network: nn.Module, card: Mapping[str, Any], rows: Any) -> tuple[list[Any], list[list[float]] | None]:
    """Return predictions for raw rows (n, features), and each class's probability where there are classes."""
    out = network(torch.as_tensor(rows, dtype=torch.float64))
    if card["classes"] is None:
        return [float(value) for value in out[:, 0]], None
    probabilities = torch.softmax(out.double(), dim=1)
    return [card["classes"][i] for i in probabilities.argmax(dim=1).tolist()], probabilities.tolist()
