"""Quantisation-aware training: while it learns, weights and activations are rounded as int8 will round them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.ao.quantization import (
    FakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torch.nn.utils import parametrize

from aios.engines import WorkloadFailed

WEIGHED = (nn.Linear, nn.Conv2d)


def _of_weights() -> FakeQuantize:
    return FakeQuantize(
        observer=MovingAveragePerChannelMinMaxObserver, quant_min=-127, quant_max=127, dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric, ch_axis=0, averaging_constant=1.0,
    )  # fmt: skip


def _of_activations() -> FakeQuantize:
    return FakeQuantize(observer=MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8)


@contextmanager
def rounded(network: nn.Module) -> Iterator[None]:
    """Round inputs and weights of linear and convolutional layers inside; afterwards the weights are plain again.

    Notes
    -----
    Gradients pass the rounding unchanged (straight-through; Jacob et al., CVPR 2018, doi:10.1109/CVPR.2018.00286).
    """
    layers = [layer for layer in network.modules() if isinstance(layer, WEIGHED)]
    if not layers:
        raise WorkloadFailed("qat: the network has no linear or convolutional layer that could be quantised")
    hooks = []
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _of_weights())
        of_input = _of_activations()
        hooks.append(layer.register_forward_pre_hook(lambda _, given, of=of_input: (of(given[0]), *given[1:])))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers:
            plain = layer.parametrizations["weight"].original.detach().clone()  # type: ignore[index, union-attr]
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            with torch.no_grad():
                layer.weight.copy_(plain)
