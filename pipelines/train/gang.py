"""What the ranks of a gang do together: say where they run, add up, and yield at the same step."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.distributed as dist

from aios.engines import Reporter
from pipelines.run import here, report_nodes
from pipelines.train.job import Job

ASK_EVERY_S = 0.25


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
        if number_of_ranks() > 1:
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


def number_of_ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def summed(sums: torch.Tensor) -> torch.Tensor:
    total = sums.clone()
    if number_of_ranks() > 1:
        dist.all_reduce(total)
    return total


def gathered(sums: torch.Tensor, n_ranks: int) -> torch.Tensor:
    """Return every rank's sums (ranks, 3)."""
    if n_ranks == 1:
        return sums[None].clone()
    all_ = [torch.zeros_like(sums) for _ in range(n_ranks)]
    dist.all_gather(all_, sums)
    return torch.stack(all_)
