"""What every worker of a training by configuration gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aios.engines import Reporter
from pipelines.train.spec import TrainSpec


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker gets."""

    spec: TrainSpec
    data: str
    checkpoint: str
    nodes: tuple[str, ...]
    n_threads: int
    checkpoints: Path
    stop_file: Path
    outcome: Path
    weights: Path
    working_dir: Path
    reporter: Reporter
    check_fence: Callable[[], None]
    alive: Callable[..., None] = lambda: None

    @property
    def batch_size(self) -> int:
        return self.spec.batch_size

    @property
    def seed(self) -> int:
        return self.spec.seed

    @property
    def model(self) -> dict[str, Any]:
        return described(self.spec)


def described(spec: TrainSpec) -> dict[str, Any]:
    """Return what the card says of the network; without ``model`` a small ``mlp``."""
    return spec.model.described() if spec.model is not None else {"type": "mlp", "hidden": [64]}
