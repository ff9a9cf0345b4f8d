"""One trial as it runs on its bundle: the built-in training, in one process, which Ray Tune hears of epoch by epoch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune

from aios.checkpoints import damage
from aios.engines import Reporter, WorkloadFailed
from pipelines.files import read_json, write_json
from pipelines.run import here
from pipelines.train.checkpoint import read_state
from pipelines.train.job import Job
from pipelines.train.loop import run
from pipelines.tune.spec import TuneSpec

OUTCOME, FAILED, YIELDED = "outcome.json", "failed.json", "yielded"
CHECKPOINTS, WEIGHTS = "checkpoints", "weights"


@dataclass(frozen=True, slots=True)
class Order:
    """What every trial gets."""

    spec: TuneSpec
    data: str
    root: Path
    n_threads: int
    stop_file: Path
    working_dir: Path
    reporter: Reporter
    check_fence: Callable[[], None]
    alive: Callable[..., None]


class Quiet:
    """A trial's own reports go to Ray Tune; it is asked to yield by the stop file."""

    def ran_on(self, node_id: str, bundle: int | None = None) -> None: ...

    def saved(self, uri: str, step: int) -> None: ...

    def progress(self, metrics: Mapping[str, Any]) -> None: ...

    def preempting(self) -> bool:
        return False

    def log(self, line: str) -> None: ...


def run_trial(config: dict[str, Any], order: Order) -> None:
    """Train one point of the space, going on from its own latest checkpoint."""
    order.alive()
    torch.set_num_threads(order.n_threads)
    order.reporter.ran_on(here(), config["bundle"])
    folder = order.root / config["name"]
    (folder / WEIGHTS).mkdir(parents=True, exist_ok=True)
    for stale in (OUTCOME, FAILED, YIELDED):
        (folder / stale).unlink(missing_ok=True)
    checkpoint = latest(folder)
    if checkpoint is not None:
        for metrics in read_state(str(checkpoint)).get("history", ()):
            tune.report(dict(metrics))  # the scheduler of this attempt has not heard of these
    job = Job(
        spec=order.spec.trial(config["point"]),
        data=order.data,
        checkpoint=str(checkpoint or ""),
        nodes=(),
        n_threads=order.n_threads,
        checkpoints=folder / CHECKPOINTS,
        stop_file=order.stop_file,
        outcome=folder / OUTCOME,
        weights=folder / WEIGHTS,
        working_dir=order.working_dir,
        reporter=Quiet(),
        check_fence=order.check_fence,
        alive=order.alive,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        run(job, 0, 1, device, lambda metrics: tune.report(dict(metrics)))
    except WorkloadFailed as error:  # of this point: others go on
        write_json(folder / FAILED, {"error": error.message})
        return
    if read_json(job.outcome)["ended"] == "yielded":
        (folder / YIELDED).touch()
        threading.Event().wait()  # until it is ended: for Ray Tune it is not over


def latest(folder: Path) -> Path | None:
    """Return a trial's latest checkpoint that is whole."""
    found = sorted((folder / CHECKPOINTS).glob("epoch-*"), reverse=True)
    return next((path for path in found if not damage(str(path))), None)
