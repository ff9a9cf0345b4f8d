"""The training loop as it runs on every worker of the gang (Ray Train, DDP over gloo).

All ranks take the same steps: rank 0 alone asks whether to yield, and its answer is broadcast at steps that all ranks
reach. Rows are drawn from one permutation per epoch, so a run continues with any number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint, CheckpointConfig, CheckpointUploadMode
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from aios.engines import Reporter, WorkloadFailed
from pipelines.files import write_json
from pipelines.models import weights
from pipelines.run import here, report_nodes
from pipelines.train.checkpoint import Position, checkpoint_path, restore, save
from pipelines.train.network import build
from pipelines.train.table import Streamed, Table, read_manifest, read_table

ASK_EVERY_S = 0.25
KEEP = CheckpointConfig(num_to_keep=3)
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker gets."""

    model: dict[str, Any]
    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    seed: int
    checkpoint_every: int
    data: str
    checkpoint: str
    nodes: tuple[str, ...]
    n_threads: int
    checkpoints: Path
    stop_file: Path
    outcome: Path
    weights: Path
    reporter: Reporter
    check_fence: Callable[[], None]
    alive: Callable[..., None] = lambda: None


def train_worker(config: dict[str, Any]) -> None:
    """Train until all epochs are done or rank 0 is told to yield; rank 0 leaves the outcome as a file."""
    job: Job = config["job"]
    job.alive()
    torch.set_num_threads(job.n_threads)
    rank, n_ranks = dist.get_rank(), dist.get_world_size()
    report_where(job.reporter, job.nodes, rank, n_ranks)

    # 1. Data, network, and where an earlier attempt left off.
    manifest = read_manifest(job.data)
    table = read_table(job.data, "train", manifest)
    if len(table) < n_ranks:
        raise WorkloadFailed(f"{len(table)} training rows are fewer than the {n_ranks} workers: ask for fewer workers")
    torch.manual_seed(job.seed)
    network = build(job.model, len(manifest["features"]), len(manifest["classes"] or [0]), manifest["statistics"])
    optimizer = OPTIMIZERS[job.optimizer](network.parameters(), lr=job.lr)
    position, sums = Position(), torch.zeros(3, dtype=torch.float64)
    if job.checkpoint:
        position, sums = restore(job.checkpoint, network, optimizer)
        sums = sums if rank == 0 else torch.zeros_like(sums)
    wrapped = DistributedDataParallel(network, broadcast_buffers=False) if n_ranks > 1 else network
    learn = Learner(wrapped, optimizer, nn.CrossEntropyLoss() if manifest["classes"] else nn.MSELoss())
    yields = Yielding(job, rank)
    started = time.monotonic()

    # 2. Epochs.
    metrics: dict[str, Any] = {}
    for epoch in range(position.epoch, job.epochs):
        first = position if epoch == position.epoch else Position(epoch)
        for at, features, targets in batches(table, job, epoch, first, rank, n_ranks):
            sums += learn(features, targets)
            if yields.now() and at.rows < len(table):
                _checkpoint(job, rank, network, optimizer, at, _summed(sums), {"epoch": epoch})
                _end(job, rank, network, "yielded", metrics, at)
                return
        total = _summed(sums)
        sums = torch.zeros_like(sums)
        metrics = _metrics(total, epoch + 1, manifest, time.monotonic() - started)
        done = Position(epoch + 1)
        if rank == 0:
            job.reporter.progress(metrics)
            job.reporter.log(_line(metrics, job.epochs))
        yielding = yields.answer and done.epoch < job.epochs
        if yielding or done.epoch % job.checkpoint_every == 0 or done.epoch == job.epochs:
            _checkpoint(job, rank, network, optimizer, done, sums, metrics)
        if yielding:
            _end(job, rank, network, "yielded", metrics, done)
            return
    _end(job, rank, network, "finished", metrics, Position(job.epochs))


@dataclass(slots=True)
class Learner:
    """One step: loss, gradients (averaged over ranks by DDP), update; returns loss, hits and rows summed."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    loss: nn.Module

    def __call__(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        out = self.network(features)
        if isinstance(self.loss, nn.MSELoss):
            loss, hits = self.loss(out[:, 0], targets), 0
        else:
            loss, hits = self.loss(out, targets), int((out.argmax(dim=1) == targets).sum())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return torch.tensor([float(loss) * len(targets), hits, len(targets)], dtype=torch.float64)


def batches(
    table: Table | Streamed, job: Job, epoch: int, first: Position, rank: int, n_ranks: int
) -> Iterator[tuple[Position, torch.Tensor, torch.Tensor]]:
    """Yield, from ``first`` on, the position after each step of an epoch and this rank's features and targets."""
    if isinstance(table, Table):
        for at, rows in steps(table, job, epoch, first, rank, n_ranks):
            yield at, table.features[rows], table.targets[rows]
        return
    at = first
    for done, features, targets in table.batches(job.batch_size, job.seed, epoch, first.rows, rank, n_ranks):
        n_rows, at = done - at.rows, Position(epoch, done, at.steps + 1)
        if n_rows >= n_ranks:  # a rest that cannot give every rank a row is left out
            yield at, features, targets


def steps(
    table: Table, job: Job, epoch: int, first: Position, rank: int, n_ranks: int
) -> Iterator[tuple[Position, torch.Tensor]]:
    """Yield, from ``first`` on, the position after each step of an epoch and this rank's rows of the step."""
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(job.seed * 1_000_003 + epoch))
    at = first
    while at.rows < len(table):
        batch = order[at.rows : at.rows + job.batch_size]
        at = Position(epoch, at.rows + len(batch), at.steps + 1)
        if len(batch) >= n_ranks:  # a rest that cannot give every rank a row is left out
            yield at, batch[rank::n_ranks]


class Yielding:
    """Tells all ranks at the same step whether to yield, asking about every ``ASK_EVERY_S`` seconds."""

    def __init__(self, job: Job, rank: int) -> None:
        self.job, self.rank = job, rank
        self.every = self.left = 1
        self.asked_s = time.monotonic()
        self.answer = False

    def now(self) -> bool:
        """Return the answer; every rank calls this after every step."""
        self.left -= 1
        if self.answer or self.left > 0:
            return self.answer
        word = torch.tensor(self._ask() if self.rank == 0 else (0, 0))
        if dist.get_world_size() > 1:
            dist.broadcast(word, src=0)
        self.answer, self.every = bool(word[0]), int(word[1])
        self.left = self.every
        return self.answer

    def _ask(self) -> tuple[int, int]:
        """Return the answer, and after how many steps to ask again."""
        yields = self.job.stop_file.exists() or self.job.reporter.preempting()
        now_s = time.monotonic()
        every = int(self.every * ASK_EVERY_S / max(now_s - self.asked_s, 1e-6))
        self.asked_s = now_s
        return int(yields), max(1, min(every, 4 * self.every, 1000))


def report_where(reporter: Reporter, planned: tuple[str, ...], rank: int, n_ranks: int) -> None:
    """Rank 0 says for the whole gang where its workers run."""
    nodes: list[Any] = [None] * n_ranks
    if n_ranks > 1:
        dist.all_gather_object(nodes, here())
    else:
        nodes = [here()]
    if rank == 0:
        report_nodes(reporter, planned, nodes)


def _summed(sums: torch.Tensor) -> torch.Tensor:
    total = sums.clone()
    if dist.get_world_size() > 1:
        dist.all_reduce(total)
    return total


def _metrics(total: torch.Tensor, epoch: int, manifest: dict[str, Any], elapsed_s: float) -> dict[str, Any]:
    loss, hits, n_rows = total.tolist()
    metrics = {"epoch": epoch, "loss": round(loss / n_rows, 6), "elapsed_s": round(elapsed_s, 2)}
    return {**metrics, "accuracy": round(hits / n_rows, 6)} if manifest["classes"] else metrics


def _checkpoint(
    job: Job,
    rank: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    sums: torch.Tensor,
    metrics: dict[str, Any],
) -> None:
    """Rank 0 saves and, once it is durable, says so; every rank reports to Ray Train."""
    checkpoint = None
    if rank == 0:
        job.check_fence()
        path = save(job.checkpoints, network, optimizer, position, sums)
        job.reporter.saved(str(path), position.epoch)
        checkpoint = Checkpoint(str(path))
    ray.train.report(metrics, checkpoint=checkpoint, checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD)


def _line(metrics: dict[str, Any], n_epochs: int) -> str:
    rest = " ".join(f"{name} {metrics[name]:.4f}" for name in ("loss", "accuracy") if name in metrics)
    return f"epoch {metrics['epoch']}/{n_epochs} {rest}"


def _end(job: Job, rank: int, network: nn.Module, how: str, metrics: dict[str, Any], at: Position) -> None:
    """Rank 0 leaves the outcome; other ranks have nothing to add."""
    if rank != 0:
        return
    if how == "finished":
        weights.save(network, job.weights)
    saved = str(checkpoint_path(job.checkpoints, at))
    write_json(job.outcome, {"ended": how, "metrics": metrics, "checkpoint": saved, "step": at.epoch})
