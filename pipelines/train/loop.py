"""The training loop as it runs on every worker of the gang (Ray Train, DDP or FSDP).

All ranks take the same steps: rank 0 alone asks whether to yield, and its answer is broadcast at steps that all ranks
reach. Rows are drawn from one permutation per epoch, so a run continues with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from torch import nn

from aios.engines import WorkloadFailed
from pipelines.models.onnx import export
from pipelines.train.best import Best
from pipelines.train.checkpoint import Position, Saver, put, read_state
from pipelines.train.distributed import replicate, shard
from pipelines.train.gang import report_where
from pipelines.train.job import Job
from pipelines.train.learner import Learner, objective_of, optimizer_of
from pipelines.train.network import build
from pipelines.train.steps import split
from pipelines.train.table import Table, read_manifest, read_table
from pipelines.train.training import Said, Training


def train_worker(config: dict[str, Any]) -> None:
    """Train as a worker of Ray Train; rank 0 leaves the outcome as a file."""
    job: Job = config["job"]
    job.alive()
    torch.set_num_threads(job.n_threads)
    report_where(job.reporter, job.nodes, dist.get_rank(), dist.get_world_size())
    device = ray.train.torch.get_device() if torch.cuda.is_available() else torch.device("cpu")
    run(job, dist.get_rank(), dist.get_world_size(), device, ray.train.report)


def run(job: Job, rank: int, n_ranks: int, device: torch.device, report: Callable[[dict[str, Any]], None]) -> None:
    """Train until all epochs are done, nothing gets better any more, or rank 0 is told to yield.

    ``report`` gets each epoch's metrics, on every rank.
    """
    try:
        training = begin(job, rank, n_ranks, device)
        with_report = replace(training, report=report)
        with_report.go_on()
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(job, error) from None
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise _out_of_memory(job, error) from None


def begin(job: Job, rank: int, n_ranks: int, device: torch.device) -> Training:
    """Read the data, build the network, and go back to where an earlier attempt left off."""
    spec = job.spec
    manifest = read_manifest(job.data)
    table, held_out = split(read_table(job.data, "train", manifest), spec)
    if len(table) < n_ranks:
        raise WorkloadFailed(f"{len(table)} training rows are fewer than the {n_ranks} workers: ask for fewer workers")
    classes = manifest["classes"]
    metric = spec.best_metric
    if metric is not None and metric.endswith("accuracy") and not classes:
        raise WorkloadFailed(
            f"metric {metric} is of classes, and {manifest['target']!r} is a quantity: use {metric[:-8]}loss"
        )

    # 1. The network, the same on all ranks, and then replicated or sharded.
    torch.manual_seed(spec.seed)
    n_features = len(manifest["features"])
    network: nn.Module = build(job.model, n_features, len(classes or [0]), manifest["statistics"], job.working_dir)
    if spec.model is not None and spec.of_factory and rank == 0 and not job.checkpoint:
        _try_export(network, n_features, job)
    network.to(device)
    if spec.compile:
        network.compile()
    sharded = spec.strategy == "fsdp" and n_ranks > 1
    if sharded:
        shard(network, device, n_ranks)
    optimizer = optimizer_of(spec.optimizer, network.parameters(), spec.lr)

    # 2. Where an earlier attempt left off.
    position, sums, more = Position(), torch.zeros(3, dtype=torch.float64), {}
    if job.checkpoint:
        more = read_state(job.checkpoint)
        put(more, job.checkpoint, network, optimizer)
        position = Position(more["epoch"], more["rows"], more["steps"])
        sums = own_sums(more["sums"], rank, n_ranks)

    # 3. How to learn.
    per_epoch = -(-len(table) // spec.batch_size)
    targets = table.targets if isinstance(table, Table) else None
    learner = Learner(
        replicate(network, device) if n_ranks > 1 and not sharded else network,
        optimizer,
        objective_of(spec.loss, len(classes or ()), targets),
        classes=bool(classes),
        lr=spec.lr,
        n_steps=spec.epochs * per_epoch,
        steps_per_epoch=per_epoch,
        schedule=spec.schedule,
        precision=spec.precision,
        accumulate=spec.accumulate,
        clip_norm=spec.clip_norm,
        device=device,
        seed=spec.seed,
        rank=rank,
        step=more.get("step", position.epoch * per_epoch + position.steps),
    )
    if learner.scaler is not None and more.get("scaler"):
        learner.scaler.load_state_dict(more["scaler"])
    best = Best(metric, spec.early_stopping.min_delta if spec.early_stopping else 0.0) if metric else None
    if best is not None and more.get("best"):
        best = Best(**more["best"])
    saver = Saver(job.checkpoints, spec.checkpoints, metric, Said(job))
    return Training(
        job, rank, n_ranks, manifest, table, held_out, network, learner, saver, position, sums, best,
        more.get("best_model"), more.get("history", []),
    )  # fmt: skip


def own_sums(sums: torch.Tensor, rank: int, n_ranks: int) -> torch.Tensor:
    """Return this rank's part of the sums of an open epoch: its own where there are as many ranks as then."""
    if sums.ndim == 2 and len(sums) == n_ranks:
        return sums[rank].clone()
    total = sums.sum(dim=0) if sums.ndim == 2 else sums
    return total.clone() if rank == 0 else torch.zeros_like(total)


def _try_export(network: nn.Module, n_features: int, job: Job) -> None:
    """Make sure, before anything is learned, that the network of a factory can be kept."""
    training = network.training
    try:
        export(network, n_features, job.weights)
    except Exception as error:  # the exporter's own, of many kinds
        first = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise WorkloadFailed(
            f"what model.factory makes cannot be written as ONNX, in which it is kept: {first}", detail=str(error)
        ) from None
    (job.weights / "model.onnx").unlink()
    network.train(training)


def _out_of_memory(job: Job, error: BaseException) -> WorkloadFailed:
    return WorkloadFailed(
        f"out of memory: {str(error).splitlines()[0][:200]}: give workers more memory, take a step's rows in more "
        f"parts (accumulate, now {job.spec.accumulate}), lower batch_size ({job.batch_size}), or use strategy: fsdp"
    )
