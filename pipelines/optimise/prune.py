"""Pruning: weights of least size become zeros, or whole channels and units go and the network is smaller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from aios.engines import WorkloadFailed

WEIGHED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def mask(network: nn.Module, amount: float) -> None:
    """Make the smallest weights of all layers together zero, and keep them so while it learns."""
    layers = [(layer, "weight") for layer in network.modules() if isinstance(layer, WEIGHED)]
    if not layers:
        raise WorkloadFailed("prune: the network has no linear or convolutional layer whose weights could be pruned")
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=amount)


def settle(network: nn.Module) -> float:
    """Make the zeros part of the weights; return the part of the weights that is zero."""
    zeros = total = 0
    for layer in network.modules():
        if isinstance(layer, WEIGHED) and prune.is_pruned(layer):
            prune.remove(layer, "weight")
            zeros += int((layer.weight == 0).sum())
            total += layer.weight.numel()
    return zeros / max(1, total)


def thinner(model: Mapping[str, Any], amount: float) -> dict[str, Any]:
    """Return the description of a network with ``amount`` of its channels or units less, at least one left each."""
    widths = {"mlp": "hidden", "cnn": "channels"}
    key = widths.get(model["type"])
    before = model.get(key or "") or ((16, 32) if model["type"] == "cnn" else ())
    if key is None or not before:
        raise WorkloadFailed(
            f"prune with structural: true knows how mlp and cnn networks hang together, not {model['type']}: leave "
            "structural out, or distil into a smaller student"
        )
    return {**model, key: [max(1, round(n * (1 - amount))) for n in before]}


@torch.no_grad()
def carry_over(wide: nn.Sequential, thin: nn.Sequential) -> None:
    """Copy into a thinner network the channels and units of greatest size (L2 norm) of a wide one.

    Both are chains of layers of equal kinds; what a layer keeps of its outputs is what the next one keeps of its
    inputs, where a ``Flatten`` between them makes each channel a block of inputs.
    """
    kept: torch.Tensor | None = None
    flat, n_before = False, 0
    for old, new in zip(wide, thin, strict=True):
        flat = flat or isinstance(old, nn.Flatten)
        if not isinstance(old, WEIGHED):
            if old.state_dict():
                new.load_state_dict(old.state_dict())
            continue
        weight = old.weight
        if kept is not None:
            per_channel = weight.shape[1] // n_before if flat and isinstance(old, nn.Linear) else 1
            columns = (kept[:, None] * per_channel + torch.arange(per_channel)).flatten()
            weight = weight[:, columns]
            flat = False if isinstance(old, nn.Linear) else flat
        n_before = old.weight.shape[0]
        strength = old.weight.flatten(1).norm(dim=1)
        kept = strength.topk(new.weight.shape[0]).indices.sort().values
        new.weight.copy_(weight[kept])
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias[kept])
