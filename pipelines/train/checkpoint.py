"""Checkpoints: durable before anyone hears of them, and readable by any number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aios.checkpoints import seal
from aios.engines import WorkloadFailed
from pipelines.files import write_folder

STATE = "state.pt"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands: ``epoch`` epochs are done, and ``rows`` rows and ``steps`` steps of the next one."""

    epoch: int = 0
    rows: int = 0
    steps: int = 0


def save(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer, position: Position, sums: torch.Tensor
) -> Path:
    """Write a checkpoint below ``folder`` and return its own folder, durable."""
    state = {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": position.epoch,
        "rows": position.rows,
        "steps": position.steps,
        "sums": sums,
        "rng": torch.get_rng_state(),
    }
    path = checkpoint_path(folder, position)
    if not path.exists():
        write_folder(path, lambda part: _fill(part, state))
    return path


def _fill(part: Path, state: dict[str, Any]) -> None:
    torch.save(state, part / STATE)
    seal(part)


def checkpoint_path(folder: Path, position: Position) -> Path:
    return folder / f"epoch-{position.epoch:06d}-{position.rows:09d}"


def restore(uri: str, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Position, torch.Tensor]:
    """Put a checkpoint's state into network and optimizer; return where it stands and the sums of its open epoch."""
    path = Path(uri) / STATE
    if not path.is_file():
        raise WorkloadFailed(f"checkpoint {uri} is gone: it cannot be continued; submit the work under a new name")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    return Position(state["epoch"], state["rows"], state["steps"]), state["sums"]
