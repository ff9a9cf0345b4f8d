"""Real digit scans (UCI, by scikit-learn) as a dataset version on disk, and work that is done on it in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from sklearn.datasets import load_digits

from pipelines.files import write_json
from pipelines.train.job import Job
from pipelines.train.loop import run
from pipelines.train.spec import TrainSpec

FEATURES = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]


class Notes:
    """What a supervisor would be told."""

    def __init__(self) -> None:
        self.checkpoints: list[tuple[str, int]] = []
        self.metrics: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.asked = 0
        self.yields_at = 0

    def ran_on(self, node_id: str, bundle: int | None = None) -> None: ...

    def saved(self, uri: str, step: int) -> None:
        self.checkpoints.append((uri, step))

    def progress(self, metrics: Any) -> None:
        self.metrics.append(dict(metrics))

    def log(self, line: str) -> None:
        self.lines.append(line)

    def preempting(self) -> bool:
        self.asked += 1
        return self.asked == self.yields_at


def digits(folder: Path, n_train: int = 600, n_test: int = 400) -> str:
    """Write a version with a train and a test part; return its address."""
    rows, labels = load_digits(return_X_y=True)
    for side, part in (("train", slice(0, n_train)), ("test", slice(n_train, n_train + n_test))):
        (folder / side).mkdir(parents=True)
        columns = {name: rows[part, i] for i, name in enumerate(FEATURES)}
        pyarrow.parquet.write_table(pa.table({**columns, "digit": labels[part]}), folder / side / "part-00000.parquet")
    train = rows[:n_train]
    scale = np.where(train.std(axis=0) > 0, train.std(axis=0), 1.0)
    manifest = {
        "features": FEATURES, "target": "digit", "task": "classification", "classes": list(range(10)),
        "statistics": {"mean": train.mean(axis=0).tolist(), "scale": scale.tolist()}, "digest": "sha256:1",
    }  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    return str(folder)


def spec_of(**fields: Any) -> TrainSpec:
    roles = {"inputs": {"data": "dataset://digits"}, "outputs": {"model": "model://digits"}}
    return TrainSpec.model_validate({"kind": "train", "name": "t", **roles, **fields})


def trained(
    spec: TrainSpec,
    data: str,
    folder: Path,
    checkpoint: str = "",
    yields_at: int = 0,
    rank: int = 0,
    n_ranks: int = 1,
    working_dir: Path = Path(),
) -> Notes:
    """Train in this process as one rank; everything is left in ``folder``."""
    torch.set_num_threads(1)
    notes = Notes()
    notes.yields_at = yields_at
    (folder / "model").mkdir(parents=True, exist_ok=True)
    job = Job(
        spec, data, checkpoint, ("n",), 1, folder / "checkpoints", folder / "stop", folder / "outcome.json",
        folder / "model", working_dir, notes, lambda: None,
    )  # fmt: skip
    run(job, rank, n_ranks, torch.device("cpu"), lambda metrics: None)
    return notes
