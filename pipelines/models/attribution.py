"""What each feature did for a model's answer: attributions that add up to how far the answer is from a usual row's.

References
----------
Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, https://arxiv.org/abs/1703.01365 (integrated
gradients, for networks with gradients).
Castro, Gómez, Tejada: Polynomial calculation of the Shapley value based on sampling,
https://doi.org/10.1016/j.cor.2008.04.004 (Shapley sampling, for any other model).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn

from aios.engines import WorkloadFailed

Array = np.ndarray[Any, Any]
GRADIENTS, SHAPLEY = "integrated gradients", "Shapley sampling"
STEPS = (64, 256, 1024)
"""Points on the way from the usual row to the row; more where the parts do not add up yet."""
ENOUGH = 0.005
PERMUTATIONS = 25
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Attributions:
    """Attributions of some rows.

    Attributes
    ----------
    values : array
        (n, features); the sum of a row is ``outputs - usual``, but for ``gap``.
    outputs, usual : array
        (n,) What the model says of the row and of the usual row: the probability of ``of``, or the quantity.
    of : list of str
        The class that each row's are about; empty for a quantity.
    gap : float
        The largest difference between a row's sum and what it should be.
    """

    method: str
    features: tuple[str, ...]
    values: Array
    outputs: Array
    usual: Array
    of: list[str]
    gap: float


def attributions(
    network: nn.Module, card: Mapping[str, Any], rows: Array, usual: Array, of: str | None = None, seed: int = 0
) -> Attributions:
    """Return what each feature did for each row (n, features), seen from a ``usual`` row (features,).

    ``of`` is the class whose probability is explained; by default each row's likeliest one.
    """
    if find_spec("captum") is None:
        raise WorkloadFailed("explaining needs captum, which is not installed here: pip install 'aios[explain]'")
    given = torch.as_tensor(np.asarray(rows, dtype=np.float64))
    base = torch.as_tensor(np.asarray(usual, dtype=np.float64))[None]
    answer = Answer(network.eval(), card["classes"] is not None)
    chosen, names = _classes(answer, card, given, of)
    differentiable = _has_gradients(answer, given[:1], chosen[:1])
    with torch.no_grad():
        outputs = answer(given, chosen).numpy()
        usuals = answer(base.expand(len(given), -1), chosen).numpy()
    if differentiable:
        method, values = GRADIENTS, _integrated(answer, given, base, chosen, outputs - usuals)
    else:
        method, values = SHAPLEY, _sampled(answer, given, base, chosen, seed)
    gap = float(np.abs(values.sum(axis=1) - (outputs - usuals)).max(initial=0.0))
    return Attributions(method, tuple(card["features"]), values, outputs, usuals, names, gap)


class Answer(nn.Module):
    """The number that is explained: one class's probability, or the quantity (n,)."""

    def __init__(self, network: nn.Module, has_classes: bool) -> None:
        super().__init__()
        self.network, self.has_classes = network, has_classes

    def forward(self, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        out = self.network(rows).double()
        if not self.has_classes:
            return out[:, 0]
        return torch.softmax(out, dim=1).gather(1, chosen[:, None])[:, 0]


def _classes(
    answer: Answer, card: Mapping[str, Any], rows: torch.Tensor, of: str | None
) -> tuple[torch.Tensor, list[str]]:
    """Return the index of the class that is explained for each row, and its name."""
    if card["classes"] is None:
        return torch.zeros(len(rows), dtype=torch.int64), []
    names = [str(one) for one in card["classes"]]
    if of is not None:
        if of not in names:
            raise WorkloadFailed(f"there is no class {of!r}: {card['name']} knows {', '.join(names[:20])}")
        return torch.full((len(rows),), names.index(of)), [of] * len(rows)
    with torch.no_grad():
        chosen = answer.network(rows).argmax(dim=1)
    return chosen, [names[i] for i in chosen.tolist()]


def _has_gradients(answer: Answer, row: torch.Tensor, chosen: torch.Tensor) -> bool:
    with torch.enable_grad():
        return bool(answer(row.clone().requires_grad_(), chosen).requires_grad)


def _integrated(answer: Answer, rows: torch.Tensor, base: torch.Tensor, chosen: torch.Tensor, due: Array) -> Array:
    """Return integrated gradients, with so many steps that their sums are within ``ENOUGH`` of what is due."""
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(answer)
    found = np.zeros(tuple(rows.shape))
    open_rows = np.arange(len(rows))
    for n_steps in STEPS:
        for at in range(0, len(open_rows), _ROWS_AT_ONCE):
            some = open_rows[at : at + _ROWS_AT_ONCE]
            got = method.attribute(
                rows[some], base, additional_forward_args=(chosen[some],), n_steps=n_steps, internal_batch_size=8192
            )
            found[some] = got.detach().numpy()
        gaps = np.abs(found[open_rows].sum(axis=1) - due[open_rows])
        open_rows = open_rows[gaps > ENOUGH * np.maximum(np.abs(due[open_rows]), 0.02)]
        if not len(open_rows):
            break
    return found


def _sampled(answer: Answer, rows: torch.Tensor, base: torch.Tensor, chosen: torch.Tensor, seed: int) -> Array:
    from captum.attr import ShapleyValueSampling

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        got = ShapleyValueSampling(answer).attribute(
            rows, base, additional_forward_args=(chosen,), n_samples=PERMUTATIONS, perturbations_per_eval=16
        )
    return np.asarray(got.numpy())


def usual_row(card: Mapping[str, Any]) -> tuple[Array, str]:
    """Return the row that others are seen from, and in words which one it is."""
    statistics = card.get("statistics")
    if statistics:
        return np.asarray(statistics["mean"], dtype=np.float64), "the mean of the training rows"
    return np.zeros(len(card["features"])), "a row of zeros, since the training data has no statistics"
