"""One rank's training: steps, epochs, checkpoints, what is best, and the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.files import write_json
from pipelines.models import weights
from pipelines.train.best import Best
from pipelines.train.checkpoint import Position, Saver, checkpoint_path, snapshot
from pipelines.train.distributed import model_state
from pipelines.train.gang import Yielding, gathered, summed
from pipelines.train.job import Job
from pipelines.train.learner import Learner, NotFinite
from pipelines.train.learning import METRICS
from pipelines.train.steps import batches
from pipelines.train.table import Streamed, Table

TELL_EVERY_S = 1.0
DIVERGED = 106
"""Exit code of a training whose loss is no number any more: another attempt would come to the same."""
HISTORY = "history.json"


@dataclass(slots=True)
class Training:
    """One rank's training, from ``position`` on."""

    job: Job
    rank: int
    n_ranks: int
    manifest: Mapping[str, Any]
    table: Table | Streamed
    held_out: Table | None
    network: nn.Module
    learner: Learner
    saver: Saver
    position: Position
    sums: torch.Tensor
    best: Best | None
    best_model: dict[str, torch.Tensor] | None
    history: list[dict[str, Any]]
    report: Callable[[dict[str, Any]], None] = lambda metrics: None
    metrics: dict[str, Any] = field(default_factory=dict)
    started_s: float = field(default_factory=time.monotonic)
    told_s: float = 0.0
    n_seen: int = 0

    def go_on(self) -> None:
        spec, yields = self.job.spec, Yielding(self.job, self.rank)
        done = Position(self.position.epoch)
        for epoch in range(self.position.epoch, spec.epochs):
            if self.has_stopped():
                break
            first = self.position if epoch == self.position.epoch else Position(epoch)
            # 1. The steps of an epoch.
            for at, rows, targets in batches(self.table, self.job, epoch, first, self.rank, self.n_ranks):
                self.step(at, rows, targets)
                if yields.now() and at.rows < len(self.table):
                    self.checkpoint(at)
                    return self.end("yielded", at)
                every = spec.checkpoints.every_steps
                if every and self.learner.step % every == 0 and at.rows < len(self.table):
                    self.checkpoint(at)
            # 2. What the epoch came to.
            self.close(epoch + 1)
            done = Position(epoch + 1)
            over = done.epoch == spec.epochs or self.has_stopped()
            yielding = yields.answer and not over
            if yielding or over or done.epoch % spec.checkpoint_every == 0:
                self.checkpoint(done)
            if yielding:
                return self.end("yielded", done)
        return self.end("finished", done)

    def step(self, at: Position, rows: torch.Tensor, targets: torch.Tensor) -> None:
        rate = self.learner.rate
        try:
            found = self.learner(rows, targets)
        except NotFinite as error:
            raise self._diverged(error, at, rows, rate) from None
        self.sums += found
        self.n_seen += len(targets) * self.n_ranks
        now_s = time.monotonic()
        if self.rank == 0 and now_s > self.told_s + TELL_EVERY_S:
            if self.told_s:
                per_s = self.n_seen / (now_s - self.told_s)
                loss = float(found[0] / found[2])
                self.job.reporter.progress(
                    {**self.metrics, "step": self.learner.step, "of_steps": self.learner.n_steps,
                     "step_loss": round(loss, 6), "lr": rate, "rows_per_s": round(per_s, 1)}
                )  # fmt: skip
            self.told_s, self.n_seen = now_s, 0

    def close(self, epoch: int) -> None:
        """Add up an epoch, look at the rows that were held out, and say what came of it."""
        total, self.sums = summed(self.sums), torch.zeros_like(self.sums)
        elapsed_s = time.monotonic() - self.started_s
        self.metrics = _metrics(total, epoch, self.manifest, elapsed_s)
        self.metrics["lr"] = self.learner.rate
        if self.held_out is not None:
            self.metrics.update(self.validated(self.held_out))
        self.history.append({key: value for key, value in self.metrics.items() if key != "elapsed_s"})
        if self.best is not None:
            self.best = self.best.after(self.metrics)
            if self.best.since == 0:
                self.best_model = None  # what is best now is taken with the next checkpoint
        if self.rank == 0:
            self.job.reporter.progress({**self.metrics, "step": self.learner.step, "of_steps": self.learner.n_steps})
            self.job.reporter.log(_line(self.metrics, self.job.spec.epochs))
        self.report(self.metrics)

    @torch.no_grad()
    def validated(self, table: Table) -> dict[str, float]:
        self.network.eval()
        sums, device = torch.zeros(3, dtype=torch.float64), self.learner.device
        n_each = -(-len(table) // self.n_ranks)  # all ranks take as many steps: sharded weights are gathered in each
        size = max(1, self.job.batch_size // self.n_ranks)
        for start in range(0, n_each, size):
            at = torch.arange(start, min(start + size, n_each)) * self.n_ranks + self.rank
            own = at[at < len(table)]
            rows = table.features[own if len(own) else at[:1] * 0].to(device)
            with self.learner.casting():
                out = self.network(rows).float()
            if not len(own):
                continue
            targets = table.targets[own].to(device)
            loss = float(self.learner.objective(out, rows, targets))
            hits = int((out.argmax(dim=1) == targets).sum()) if self.learner.classes else 0
            sums += torch.tensor([loss * len(own), hits, len(own)], dtype=torch.float64)
        self.network.train()
        loss, hits, n_rows = summed(sums).tolist()
        found = {"val_loss": round(loss / n_rows, 6)}
        return {**found, "val_accuracy": round(hits / n_rows, 6)} if self.learner.classes else found

    def has_stopped(self) -> bool:
        """Return whether nothing has become better for too long."""
        stopping = self.job.spec.early_stopping
        return stopping is not None and self.best is not None and self.best.since >= stopping.patience

    def checkpoint(self, at: Position) -> None:
        """Take all ranks' state; rank 0 writes it and, once it is durable, says so."""
        sums = gathered(self.sums, self.n_ranks)
        state = snapshot(self.network, self.learner.optimizer, at, sums, self._more())
        if self.best is not None and self.best_model is None and self.best.since == 0 and at.rows == 0:
            self.best_model = state["model"]
        state["best_model"] = self.best_model
        if self.rank != 0:
            return
        broken = [name for name, value in state["model"].items() if not bool(torch.isfinite(value).all())]
        if broken:
            raise WorkloadFailed(
                f"{broken[0]} is no number any more after epoch {at.epoch}, step {at.steps}: the weights have "
                f"diverged; {self._kept()}: lower lr, or give clip_norm",
                exit_code=DIVERGED,
            )
        self.job.check_fence()
        score = self.metrics.get(self.saver.metric) if self.saver.metric and at.rows == 0 else None
        self.saver.save(state, score)

    def _more(self) -> dict[str, Any]:
        return {
            "step": self.learner.step,
            "scaler": self.learner.scaler.state_dict() if self.learner.scaler is not None else None,
            "best": self.best.as_json() if self.best is not None else None,
            "history": list(self.history),
        }

    def end(self, how: str, at: Position) -> None:
        """Rank 0 leaves the outcome; other ranks have a part only in gathering the weights."""
        state = model_state(self.network) if how == "finished" else {}
        if self.rank != 0:
            return
        self.saver.wait()
        metrics = dict(self.metrics or (self.history[-1] if self.history else {}))
        if how == "finished":
            chosen = self.best_model if self.best_model is not None else state
            weights.save_tensors(chosen, self.job.weights)
            write_json(self.job.weights / HISTORY, {"format": 1, "epochs": self.history})
            if self.best is not None and self.best_model is not None:
                of_best = next((one for one in self.history if one["epoch"] == self.best.epoch), {})
                metrics = {**metrics, **of_best, "best_epoch": self.best.epoch}
            if self.has_stopped() and self.best is not None:
                self.job.reporter.log(
                    f"stopped early after epoch {at.epoch}: {self.best.metric} was best at epoch {self.best.epoch} "
                    f"({self.best.value:.4f})"
                )
            metrics["epochs_done"] = at.epoch
        saved = str(self.saver.last or checkpoint_path(self.job.checkpoints, at))
        write_json(self.job.outcome, {"ended": how, "metrics": metrics, "checkpoint": saved, "step": at.epoch})

    def _diverged(self, error: NotFinite, at: Position, rows: torch.Tensor, rate: float) -> WorkloadFailed:
        self.saver.wait()
        bad = (~torch.isfinite(rows)).any(dim=0).nonzero().flatten().tolist()
        names = [self.manifest["features"][i] for i in bad[:3]]
        why = (
            f"the batch has values of {', '.join(names)} that are no numbers: check for nulls at ingest"
            if names
            else "lower lr, give clip_norm or warm-up, or look at the targets"
        )
        first = at.rows - min(at.rows, self.job.batch_size)
        return WorkloadFailed(
            f"{error} at epoch {at.epoch + 1}, step {at.steps} (step {self.learner.step + 1} in all, rows {first} to "
            f"{at.rows} of the epoch's order, lr {rate:.4g}); {self._kept()}: {why}",
            exit_code=DIVERGED,
        )

    def _kept(self) -> str:
        last = self.saver.last or (Path(self.job.checkpoint) if self.job.checkpoint else None)
        return f"the last good checkpoint is {last}" if last else "no checkpoint was made before it"


@dataclass(frozen=True, slots=True)
class Said:
    """Tells the supervisor of a checkpoint that is durable."""

    job: Job

    def __call__(self, path: Path, epoch: int) -> None:
        self.job.reporter.saved(str(path), epoch)


def _metrics(total: torch.Tensor, epoch: int, manifest: Mapping[str, Any], elapsed_s: float) -> dict[str, Any]:
    loss, hits, n_rows = total.tolist()
    metrics: dict[str, Any] = {
        "epoch": epoch, "loss": round(loss / n_rows, 6), "elapsed_s": round(elapsed_s, 2),
    }  # fmt: skip
    return {**metrics, "accuracy": round(hits / n_rows, 6)} if manifest["classes"] else metrics


def _line(metrics: dict[str, Any], n_epochs: int) -> str:
    rest = " ".join(f"{name} {metrics[name]:.4f}" for name in METRICS if name in metrics)
    return f"epoch {metrics['epoch']}/{n_epochs} {rest}"
