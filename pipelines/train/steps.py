"""The rows of each step: one permutation per epoch, shared out among any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from aios.engines import WorkloadFailed
from pipelines.train.checkpoint import Position
from pipelines.train.job import Job
from pipelines.train.spec import TrainSpec
from pipelines.train.table import Streamed, Table


@dataclass(frozen=True, slots=True)
class Batching:
    """How rows are drawn: how many at a step, and from which seed."""

    batch_size: int
    seed: int


def batches(
    table: Table | Streamed, job: Job | Batching, epoch: int, first: Position, rank: int, n_ranks: int
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
    table: Table, job: Job | Batching, epoch: int, first: Position, rank: int, n_ranks: int
) -> Iterator[tuple[Position, torch.Tensor]]:
    """Yield, from ``first`` on, the position after each step of an epoch and this rank's rows of the step."""
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(job.seed * 1_000_003 + epoch))
    at = first
    while at.rows < len(table):
        batch = order[at.rows : at.rows + job.batch_size]
        at = Position(epoch, at.rows + len(batch), at.steps + 1)
        if len(batch) >= n_ranks:  # a rest that cannot give every rank a row is left out
            yield at, batch[rank::n_ranks]


def split(table: Table | Streamed, spec: TrainSpec) -> tuple[Table | Streamed, Table | None]:
    """Return the rows to learn from and those that are held out, which depend on the seed alone."""
    if spec.validation is None:
        return table, None
    if isinstance(table, Streamed):
        raise WorkloadFailed(
            "validation holds rows out of a dataset that fits in memory; this one is streamed: leave it out"
        )
    n_out = round(len(table) * spec.validation)
    if not 0 < n_out < len(table):
        raise WorkloadFailed(f"validation {spec.validation:g} of {len(table)} rows leaves one side empty")
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(spec.seed))
    out, rest = order[:n_out].sort().values, order[n_out:].sort().values
    return Table(table.features[rest], table.targets[rest]), Table(table.features[out], table.targets[out])
