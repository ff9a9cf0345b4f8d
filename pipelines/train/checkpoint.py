"""Checkpoints: durable before anyone hears of them, and readable by any number of workers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aios.checkpoints import seal
from aios.engines import WorkloadFailed
from pipelines.files import write_folder
from pipelines.train.best import kept
from pipelines.train.distributed import put_state, state_of
from pipelines.train.learning import CheckpointsSpec

STATE = "state.pt"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: ``epoch`` epochs are done, and ``rows`` rows and ``steps`` steps of the next one."""

    epoch: int = 0
    rows: int = 0
    steps: int = 0


def snapshot(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    sums: torch.Tensor,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all that a run goes on from, as copies; all ranks call it together."""
    model, opt = state_of(network, optimizer)
    return {
        "model": model,
        "optimizer": opt,
        "epoch": position.epoch,
        "rows": position.rows,
        "steps": position.steps,
        "sums": sums,
        **(more or {}),
    }


def save(
    folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Position,
    sums: torch.Tensor,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint below ``folder`` and return its own folder, durable."""
    return write(folder, snapshot(network, optimizer, position, sums, more))


def write(folder: Path, state: dict[str, Any]) -> Path:
    path = checkpoint_path(folder, Position(state["epoch"], state["rows"], state["steps"]))
    if not path.exists():
        write_folder(path, lambda part: _fill(part, state))
    return path


def _fill(part: Path, state: dict[str, Any]) -> None:
    torch.save(state, part / STATE)
    seal(part)


def checkpoint_path(folder: Path, position: Position) -> Path:
    return folder / f"epoch-{position.epoch:06d}-{position.rows:09d}"


def read_state(uri: str) -> dict[str, Any]:
    """Return a checkpoint's state; raises WorkloadFailed where it is gone."""
    path = Path(uri) / STATE
    if not path.is_file():
        raise WorkloadFailed(f"checkpoint {uri} is gone: it cannot be continued; submit the work under a new name")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def restore(uri: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Position, torch.Tensor]:
    """Put a checkpoint's state into network and optimizer; return where it stands and the sums of its open epoch."""
    state = read_state(uri)
    put(state, uri, network, optimizer)
    return Position(state["epoch"], state["rows"], state["steps"]), state["sums"]


def put(state: dict[str, Any], uri: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a state into network and optimizer; raises WorkloadFailed where it is of another network."""
    own, there = network.state_dict(), state["model"]
    problems = [f"{name} is missing" for name in own if name not in there]
    problems += [f"{name} is unknown" for name in there if name not in own]
    for name, value in own.items():
        if name in there and tuple(there[name].shape) != tuple(value.shape):
            problems.append(f"{name} is {list(there[name].shape)} there and {list(value.shape)} here")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WorkloadFailed(
            f"checkpoint {uri} does not fit the model: {', '.join(problems[:3])}{more}: it is of another network; "
            "train with the model it was made with, or submit the work under a new name"
        )
    put_state(network, optimizer, there, state["optimizer"])


@dataclass(slots=True)
class Saver:
    """Writes checkpoints one after the other, beside the training where asked to, and keeps those that shall be kept.

    ``said`` is called with each one once it is durable. What went wrong is raised at the next call.
    """

    folder: Path
    spec: CheckpointsSpec
    metric: str | None
    said: Any
    last: Path | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None
    _open: Future[None] | None = None

    def save(self, state: dict[str, Any], score: float | None) -> None:
        self.wait()
        if not self.spec.asynchronous:
            self._write(state, score)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "aios-checkpoint")
        self._open = self._pool.submit(self._write, state, score)

    def wait(self) -> None:
        """Wait for the checkpoint that is being written."""
        if self._open is not None:
            done, self._open = self._open, None
            done.result()

    def _write(self, state: dict[str, Any], score: float | None) -> None:
        path = write(self.folder, state)
        self.scores[path.name] = score
        self.last = path
        self.said(path, state["epoch"])
        stay = kept(self.scores, self.metric, self.spec.last, self.spec.best)
        for name in [name for name in self.scores if name not in stay]:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            del self.scores[name]
