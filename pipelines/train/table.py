"""A dataset version read as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.data.manifest import manifest_of
from pipelines.data.reading import load


@dataclass(frozen=True, slots=True)
class Table:
    """Features (n, f) as float64 and targets (n,): class indices, or quantities as float32."""

    features: torch.Tensor
    targets: torch.Tensor

    def __len__(self) -> int:
        return len(self.features)


def read_manifest(uri: str | Path) -> dict[str, Any]:
    """Return what is known of a dataset version; raises WorkloadFailed where there is none."""
    return manifest_of(str(uri))


def read_table(uri: str | Path, side: str, manifest: Mapping[str, Any]) -> Table:
    """Read one part (``train`` or ``test``) of a dataset version."""
    columns = manifest["features"]
    table = load(str(uri), [*columns, manifest["target"]], side)
    features = np.column_stack([table[name].to_numpy() for name in columns]).astype("float64")
    values = table[manifest["target"]].to_pylist()
    if manifest["classes"] is None:
        return Table(torch.from_numpy(features), torch.tensor(values, dtype=torch.float32))
    index = {value: i for i, value in enumerate(manifest["classes"])}
    return Table(torch.from_numpy(features), torch.tensor([index[value] for value in values]))
