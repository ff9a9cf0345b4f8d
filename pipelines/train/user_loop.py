"""A training loop of the user's own, unchanged, on every worker of the gang.

It speaks Ray Train's words: ``ray.train.report(metrics, checkpoint=...)`` saves progress and, when the attempt was
asked to yield, ends the loop there; ``ray.train.get_checkpoint()`` returns where an earlier attempt left off. Its
config is ``train_loop_config`` and ``data``, the dataset version's address, which ``pipelines.data.feed.Feed`` reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint

from aios.checkpoints import seal
from aios.engines import Reporter
from pipelines.files import sync_tree, write_json
from pipelines.train.gang import report_where
from pipelines.train.silence import Silence
from pipelines.train.users import load_function


@dataclass(frozen=True, slots=True)
class UserJob:
    """What every worker gets."""

    train_loop: str
    config: dict[str, Any]
    working_dir: Path
    checkpoint: str
    step: int
    report_within: float | None
    nodes: tuple[str, ...]
    n_threads: int
    checkpoints: Path
    stop_file: Path
    outcome: Path
    reporter: Reporter
    check_fence: Callable[[], None]
    alive: Callable[..., None] = lambda: None


class Yield(BaseException):
    """Leaves the user's loop after a checkpoint; no ``except Exception`` of theirs stops it."""


def user_worker(config: dict[str, Any]) -> None:
    """Run the user's function between Ray Train and AIOS; rank 0 leaves the outcome as a file."""
    job: UserJob = config["job"]
    job.alive()
    torch.set_num_threads(job.n_threads)
    rank = dist.get_rank()
    report_where(job.reporter, job.nodes, rank, dist.get_world_size())
    loop = load_loop(job.train_loop, job.working_dir)
    silence = Silence(job.outcome, job.reporter, job.report_within)
    if rank == 0:
        silence.watch()
    session = Session(job, rank, ray.train.report, ray.train.get_checkpoint, silence)
    ray.train.report, ray.train.get_checkpoint = session.report, session.get_checkpoint
    how = "finished"
    try:
        loop(job.config) if inspect.signature(loop).parameters else loop()
    except Yield:
        how = "yielded"
    finally:
        silence.end()
    if rank == 0:
        last = str(session.last) if session.last else ""
        outcome = {"ended": how, "metrics": session.metrics, "checkpoint": last, "step": session.step}
        write_json(job.outcome, {**outcome, "reports": silence.n_heard})


def load_loop(name: str, working_dir: Path) -> Callable[..., Any]:
    """Return the function ``module:function``; raises WorkloadFailed that says what is missing."""
    return load_function(name, working_dir, "train_loop")


class Session:
    """Stands before Ray Train's report and get_checkpoint."""

    def __init__(
        self,
        job: UserJob,
        rank: int,
        report: Callable[..., None],
        get_checkpoint: Callable[[], Checkpoint | None],
        silence: Silence,
    ) -> None:
        self.job, self.rank, self.silence = job, rank, silence
        self._report, self._get_checkpoint = report, get_checkpoint
        self.step = job.step
        self.last: Path | None = None
        self.metrics: dict[str, Any] = {}

    def report(self, metrics: dict[str, Any], checkpoint: Checkpoint | None = None, **kwargs: Any) -> None:
        """Report to Ray Train; then say what was saved, and leave the loop if asked to yield."""
        self.silence.heard()
        saves = torch.tensor(int(checkpoint is not None))
        if dist.get_world_size() > 1:
            dist.all_reduce(saves, op=dist.ReduceOp.MAX)
        if saves:
            self.job.check_fence()
            kwargs["checkpoint_dir_name"] = f"step-{self.step + 1:06d}"
        self._report(metrics, checkpoint=checkpoint, **kwargs)
        self.metrics = {name: value for name, value in metrics.items() if isinstance(value, (int, float, str))}
        if self.rank == 0:
            self.job.reporter.progress(self.metrics)
        if saves:
            self._saved(self.job.checkpoints / f"step-{self.step + 1:06d}")

    def _saved(self, path: Path) -> None:
        self.step, self.last = self.step + 1, path
        asked = torch.tensor(0)
        if self.rank == 0:
            seal(path)
            sync_tree(path)
            self.job.reporter.saved(str(path), self.step)
            asked = torch.tensor(int(self.job.stop_file.exists() or self.job.reporter.preempting()))
        if dist.get_world_size() > 1:
            dist.broadcast(asked, src=0)
        if asked:
            raise Yield

    def get_checkpoint(self) -> Checkpoint | None:
        """Return this run's latest checkpoint, or the one that an earlier attempt left."""
        own = self._get_checkpoint()
        return own if own is not None or not self.job.checkpoint else Checkpoint(self.job.checkpoint)
