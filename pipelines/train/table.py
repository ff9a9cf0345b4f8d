"""A dataset version read as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import torch

from aios.engines import WorkloadFailed
from pipelines.files import read_json

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Table:
    """Features (n, f) as float64 and targets (n,): class indices, or quantities as float32."""

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what is known of a dataset version; raises WorkloadFailed where there is none."""
    path = folder / MANIFEST
    if not path.is_file():
        raise WorkloadFailed(f"no dataset at {folder}: {MANIFEST} is missing; was its ingest finished?")
    manifest: dict[str, Any] = read_json(path)
    return manifest


def read_table(folder: Path, side: str, manifest: Mapping[str, Any]) -> Table:
    """Read one part (``train`` or ``test``) of a dataset version."""
    columns = manifest["features"]
    table = pyarrow.dataset.dataset(str(folder / side), format="parquet").to_table(
        columns=[*columns, manifest["target"]]
    )
    features = np.column_stack([table[name].to_numpy() for name in columns]).astype("float64")
    values = table[manifest["target"]].to_pylist()
    if manifest["classes"] is None:
        return Table(torch.from_numpy(features), torch.tensor(values, dtype=torch.float32))
    index = {value: i for i, value in enumerate(manifest["classes"])}
    return Table(torch.from_numpy(features), torch.tensor([index[value] for value in values]))
