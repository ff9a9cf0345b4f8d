"""The passes: each makes a variant, an ONNX file; those that learn leave a network that the next ones work on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from aios.engines import WorkloadFailed
from pipelines.models.onnx import ONNX, export
from pipelines.optimise import prune, qat, quantise
from pipelines.optimise.spec import (
    AnyPass,
    DistilPass,
    DynamicInt8Pass,
    Learns,
    OnnxPass,
    PrunePass,
    QatPass,
    StaticInt8Pass,
    WeightOnlyPass,
)
from pipelines.optimise.subject import Subject
from pipelines.train.checkpoint import Position
from pipelines.train.learner import Learner, Objective, objective_of, optimizer_of
from pipelines.train.learning import ScheduleSpec
from pipelines.train.steps import Batching, batches


@dataclass(slots=True)
class Passes:
    """Makes variants of a subject, one pass after the other.

    Attributes
    ----------
    network, model : module and its description
        What the passes before left; None where the original is ONNX and nothing can learn.
    base : Path
        The same as an ONNX file, which is what quantisers read; made when it is first needed.
    asked : callable
        Raises ``Preempted`` where the attempt shall end; called after each epoch.
    """

    subject: Subject
    folder: Path
    network: nn.Sequential | None
    model: dict[str, Any]
    teacher: nn.Module | None
    seed: int
    asked: Callable[[], None]
    log: Callable[[str], None]
    base: Path | None = None

    def make(self, spec: AnyPass, to: Path) -> tuple[nn.Sequential | None, dict[str, Any], str]:
        """Write the variant; return the network it comes from (None: as before), its description, and a note."""
        match spec:
            case OnnxPass():
                to.write_bytes(self._float().read_bytes())
                return None, self.model, "as ONNX"
            case DynamicInt8Pass():
                quantise.dynamic_int8(self._float(), to, spec)
                return None, self.model, ""
            case StaticInt8Pass():
                return None, self.model, self._static(self._float(), to, spec.rows, spec.method, spec.per_channel)
            case WeightOnlyPass():
                n = quantise.weight_only(self._float(), to, spec)
                if not n:
                    raise WorkloadFailed("weight_only: the network has no linear layer whose weights could be packed")
                return None, self.model, f"{n} linear layer{'s' * (n != 1)} of {spec.bits} bits"
            case QatPass():
                return self._qat(spec, to)
            case PrunePass():
                return self._prune(spec, to)
            case DistilPass():
                return self._distil(spec, to)

    def _static(self, source: Path, to: Path, n_rows: int, method: str = "minmax", per_channel: bool = True) -> str:
        form = self.subject.form if self.network is None else {"dtype": "float64", "shape": None, "input": "rows"}
        rows = self.subject.calibration(n_rows, form)
        quantise.static_int8(source, to, rows, str(form["input"]), method, per_channel)
        return f"calibrated with {len(rows)} rows"

    def _qat(self, spec: QatPass, to: Path) -> tuple[nn.Sequential, dict[str, Any], str]:
        network = self._copy("qat")
        with qat.rounded(network):
            self._learn(network, spec, self._task())
        base = to.with_name(f"{to.stem}.float.onnx")
        self._export(network, base)
        note = self._static(base, to, spec.rows)
        base.unlink()
        return network, self.model, f"{spec.epochs} epochs with rounding, {note}"

    def _prune(self, spec: PrunePass, to: Path) -> tuple[nn.Sequential, dict[str, Any], str]:
        network = self._copy("prune")
        model = self.model
        if spec.structural:
            model = prune.thinner(self.model, spec.amount)
            thin = self.subject.build(model)
            prune.carry_over(network, thin)
            before, network = _n_weights(network), thin
            self._learn(network, spec, self._task())
            note = f"{_n_weights(network):,} of {before:,} weights"
        else:
            prune.mask(network, spec.amount)
            self._learn(network, spec, self._task())
            note = f"{prune.settle(network):.0%} of the weights are zero"
        self._export(network, to)
        return network, model, note

    def _distil(self, spec: DistilPass, to: Path) -> tuple[nn.Sequential, dict[str, Any], str]:
        teacher = self.teacher
        if teacher is None:
            teacher = self._copy("distil").eval()
        model = spec.student.described()
        torch.manual_seed(self.seed)
        student = self.subject.build(model)
        classes = self.subject.card["classes"] is not None
        self._learn(student, spec, taught(teacher, self._task(), classes, spec.temperature, spec.alpha))
        self._export(student, to)
        return student, model, f"{_n_weights(student):,} weights"

    def _task(self) -> Objective:
        classes = self.subject.card["classes"]
        return objective_of(None, len(classes or ()), None)

    def _learn(self, network: nn.Module, spec: Learns, objective: Objective) -> None:
        train = self.subject.train
        per_epoch = -(-len(train) // spec.batch_size)
        network.train()
        learner = Learner(
            network, optimizer_of(spec.optimizer, network.parameters(), spec.lr), objective,
            classes=self.subject.card["classes"] is not None, lr=spec.lr, n_steps=spec.epochs * per_epoch,
            steps_per_epoch=per_epoch, schedule=ScheduleSpec(type="cosine"), seed=self.seed,
        )  # fmt: skip
        for epoch in range(spec.epochs):
            sums = torch.zeros(3, dtype=torch.float64)
            for _, rows, targets in batches(train, Batching(spec.batch_size, self.seed), epoch, Position(epoch), 0, 1):
                sums += learner(rows, targets)
            self.log(f"{spec.type}: epoch {epoch + 1}/{spec.epochs} loss {float(sums[0] / sums[2]):.4f}")
            self.asked()
        network.eval()

    def _copy(self, what: str) -> nn.Sequential:
        if self.network is None:
            raise WorkloadFailed(
                f"{what} changes the network itself, and this model is kept as ONNX: "
                + (
                    "give the working_dir of its factory"
                    if self.model["type"] == "factory"
                    else "give passes that work on ONNX (dynamic_int8, static_int8, weight_only), or distil a student"
                )
            )
        copied = self.subject.build(self.model)
        copied.load_state_dict(self.network.state_dict())
        return copied

    def _float(self) -> Path:
        """Return the network of now as an ONNX file in fp32."""
        if self.base is None or not self.base.exists():
            if self.network is None:
                return self.subject.folder / ONNX
            self.base = self.folder / "base.onnx"
            self._export(self.network, self.base)
        return self.base

    def _export(self, network: nn.Module, to: Path) -> None:
        with quantise.quietly() if to.suffix == ".onnx" else nullcontext():
            made = export(network, len(self.subject.card["features"]), to.parent)
        made.replace(to)


def taught(teacher: nn.Module, task: Objective, classes: bool, temperature: float, alpha: float) -> Objective:
    """Return the loss of a student: ``alpha`` of it is the distance from the teacher, the rest is the task's own.

    References
    ----------
    Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, 2015, arXiv:1503.02531: the soft targets'
    gradients shrink with the square of the temperature, so that they are multiplied by it.
    """

    def loss(out: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            said = teacher(rows).float()
        if not classes:
            soft = functional.mse_loss(out, said)
        else:
            soft = temperature**2 * functional.kl_div(
                functional.log_softmax(out / temperature, dim=1), functional.softmax(said / temperature, dim=1),
                reduction="batchmean",
            )  # fmt: skip
        return alpha * soft + (1 - alpha) * task(out, rows, targets)

    return loss


def _n_weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
