"""The networks that can be trained, and model versions as folders: weights beside a card that says what they are.

Weights are safetensors: no code comes out of a model file.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.files import read_json
from pipelines.models.session import OnnxNetwork
from pipelines.models.weights import restore
from pipelines.train.users import load_function

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
    working_dir: Path = Path(),
) -> nn.Sequential:
    """Return the network ``model`` describes (``type``, ``hidden``), from raw rows to logits or one quantity.

    ``working_dir`` is where a user's ``factory`` is found.
    """
    layers: list[nn.Module] = [Normalise(n_features, statistics)]
    if model["type"] == "cnn":
        return nn.Sequential(*layers, *_convolutions(n_features, n_outputs, model.get("channels", (16, 32))))
    if model["type"] == "factory":
        return nn.Sequential(*layers, _made(model, n_features, n_outputs, working_dir))
    width = n_features
    for n_units in model.get("hidden", ()):
        layers += [nn.Linear(width, n_units), nn.ReLU()]
        width = n_units
    return nn.Sequential(*layers, nn.Linear(width, n_outputs))


def _convolutions(n_features: int, n_outputs: int, channels: Sequence[int]) -> list[nn.Module]:
    side = isqrt(n_features)
    if side * side != n_features or side < 4:
        raise WorkloadFailed(f"model type cnn needs square images: {n_features} features are no square; use type mlp")
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
    n_before = 1
    for n_channels in channels:
        layers += [nn.Conv2d(n_before, n_channels, kernel_size=3, padding=1), nn.ReLU()]
        n_before = n_channels
    return [*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(n_before * (side // 2) ** 2, n_outputs)]


def _made(model: Mapping[str, Any], n_features: int, n_outputs: int, working_dir: Path) -> nn.Module:
    """Return what the user's factory makes, tried on two rows: what does not fit is said before anything is trained."""
    name = model["factory"]
    factory = load_function(name, working_dir, "model.factory")
    try:
        inspect.signature(factory).bind(n_features, n_outputs, **model["arguments"])
    except TypeError as error:
        raise WorkloadFailed(
            f"model.factory {name} cannot be called with (n_features, n_outputs, **arguments): {error}"
        ) from None
    network = factory(n_features, n_outputs, **model["arguments"])
    if not isinstance(network, nn.Module):
        raise WorkloadFailed(f"model.factory {name} returned {type(network).__name__}: return a torch.nn.Module")
    was = network.training
    with torch.inference_mode():
        out = network.eval()(torch.zeros(2, n_features))
    network.train(was)
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != (2, n_outputs):
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise WorkloadFailed(
            f"model.factory {name}: its network gives {shape} for two rows, and {(2, n_outputs)} is needed: one value "
            "for each class, or one quantity"
        )
    return network


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
    if card["model"]["type"] in ("factory", "onnx"):
        return OnnxNetwork(folder, card).eval(), card
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
