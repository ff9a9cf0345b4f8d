"""One step of learning: forward and backward in parts, gradients clipped, weights updated at this step's rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aios.engines import WorkloadFailed
from pipelines.train.learning import LossSpec, OptimizerSpec, ScheduleSpec
from pipelines.train.schedule import factor_at

OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
CPU = torch.device("cpu")
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From outputs (n, k), raw rows (n, f) and targets (n,) to the loss."""


class NotFinite(Exception):
    """The loss, or the norm of its gradients, is no number any more; the weights are as before the step."""

    def __init__(self, what: str, value: float) -> None:
        super().__init__(f"{what} is {value}")


@dataclass(slots=True)
class Learner:
    """Takes steps, each on ``rows`` split into ``accumulate`` parts; ``step`` counts them.

    Calling it returns loss times rows, hits and rows, summed. The seed of each step follows from ``seed``, the step
    and the rank, so that a run goes on exactly, dropout included.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    objective: Objective
    classes: bool
    lr: float
    n_steps: int
    steps_per_epoch: int
    schedule: ScheduleSpec
    precision: str = "fp32"
    accumulate: int = 1
    clip_norm: float | None = None
    device: torch.device = CPU
    seed: int = 0
    rank: int = 0
    step: int = 0
    scaler: torch.amp.GradScaler | None = None

    def __post_init__(self) -> None:
        if self.precision == "fp16":
            self.scaler = torch.amp.GradScaler(self.device.type)

    @property
    def rate(self) -> float:
        return self.lr * factor_at(self.schedule, self.step, self.n_steps, self.steps_per_epoch)

    def __call__(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        torch.manual_seed((self.seed * 1_000_003 + self.step) * 1_009 + self.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.zero_grad(set_to_none=True)
        rows, targets = rows.to(self.device), targets.to(self.device)
        n_rows, sums = len(targets), torch.zeros(3, dtype=torch.float64)
        parts = list(zip(rows.tensor_split(self.accumulate), targets.tensor_split(self.accumulate), strict=True))
        for i, (part, wanted) in enumerate(parts):
            with self._exchanged(last=i == len(parts) - 1):
                sums += self._part(part, wanted, len(wanted) / n_rows)
        self._update()
        self.step += 1
        return sums

    def _part(self, rows: torch.Tensor, targets: torch.Tensor, share: float) -> torch.Tensor:
        with self.casting():
            out = self.network(rows)
        loss = self.objective(out.float(), rows, targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NotFinite("the loss", value)
        scaled = loss if share == 1 else loss * share
        (self.scaler.scale(scaled) if self.scaler is not None else scaled).backward()  # type: ignore[no-untyped-call]
        hits = int((out.detach().argmax(dim=1) == targets).sum()) if self.classes else 0
        return torch.tensor([value * len(targets), hits, len(targets)], dtype=torch.float64)

    def casting(self) -> AbstractContextManager[Any]:
        """Return the context in which the forward pass runs in this precision."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def _exchanged(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients are averaged over ranks once, with the last part."""
        if isinstance(self.network, DistributedDataParallel):
            return nullcontext() if last else self.network.no_sync()
        if hasattr(self.network, "set_requires_gradient_sync"):  # FSDP
            self.network.set_requires_gradient_sync(last)
        return nullcontext()

    def _update(self) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if self.clip_norm is not None:
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
            value = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
            if not math.isfinite(value) and self.scaler is None:  # the scaler skips such a step, and scales less
                raise NotFinite("the norm of the gradients", value)
        if self.scaler is None:
            self.optimizer.step()
            return
        self.scaler.step(self.optimizer)
        self.scaler.update()


def optimizer_of(spec: OptimizerSpec, parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    given = {key: value for key, value in spec.parameters().items() if key != "type" and value is not None}
    return OPTIMIZERS[spec.type](parameters, lr=lr, **given)


def objective_of(spec: LossSpec | None, n_classes: int, targets: torch.Tensor | None) -> Objective:
    """Return the loss; without a spec cross entropy for classes and the squared error for a quantity.

    Parameters
    ----------
    n_classes : int
        0 for a quantity.
    targets : tensor, optional
        Of all rows, for balanced class weights.
    """
    spec = spec or LossSpec(type="cross_entropy" if n_classes else "mse")
    if (spec.type == "cross_entropy") != bool(n_classes):
        has, fits = ("classes", "cross_entropy") if n_classes else ("a quantity", "mse, mae or huber")
        raise WorkloadFailed(f"loss {spec.type} does not fit the data, whose target is {has}: use {fits}")
    if spec.type != "cross_entropy":
        kinds = {"mse": nn.MSELoss(), "mae": nn.L1Loss(), "huber": nn.HuberLoss(delta=spec.delta)}
        return OfQuantity(kinds[spec.type])
    weight = None
    if spec.class_weights == "balanced":
        if targets is None:
            raise WorkloadFailed("class_weights: balanced counts all rows, and these are streamed: leave it out")
        counts = torch.bincount(targets, minlength=n_classes).clamp(min=1)
        weight = len(targets) / (n_classes * counts.float())
    return OfClasses(nn.CrossEntropyLoss(weight=weight, label_smoothing=spec.label_smoothing))


@dataclass(frozen=True, slots=True)
class OfClasses:
    loss: nn.CrossEntropyLoss

    def __call__(self, out: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.loss.to(out.device)(out, targets)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class OfQuantity:
    loss: nn.Module

    def __call__(self, out: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.loss(out[:, 0], targets)  # type: ignore[no-any-return]
