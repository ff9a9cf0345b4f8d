"""A dataset version read as tensors: whole where it is small, streamed where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from aios.engines import WorkloadFailed
from pipelines.data.feed import Feed
from pipelines.data.manifest import manifest_of
from pipelines.data.reading import load, of_side, opened

MOST_IN_MEMORY = 256 * 2**20
"""Bytes of features up to which every worker holds the whole part."""


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


@dataclass(frozen=True, slots=True)
class Streamed:
    """Features and targets that are read while they are used; see ``Feed`` for the order."""

    uri: str
    side: str
    manifest: Mapping[str, Any]
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def batches(
        self, step_rows: int, seed: int, epoch: int, start_row: int, rank: int, n_ranks: int
    ) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield (rows of the epoch that are done, features (b, f), targets (b,)) from ``start_row`` on."""
        columns = [*self.manifest["features"], self.manifest["target"]]
        feed = Feed(self.uri, columns, side=self.side, seed=seed, rank=rank, n_ranks=n_ranks, step_rows=step_rows)
        for done, rows in feed.batches(epoch, start_row):
            table = _tensors(rows, self.manifest)
            yield done, table.features, table.targets


def read_table(
    uri: str | Path, side: str, manifest: Mapping[str, Any], most_bytes: int = MOST_IN_MEMORY
) -> Table | Streamed:
    """Read one part (``train`` or ``test``) of a dataset version."""
    columns = manifest["features"]
    if manifest.get("target") is None:
        raise WorkloadFailed("the dataset has no target column, so there is nothing to learn: give its ingest a target")
    table, version = opened(str(uri))
    n_rows = table.count(version, of_side(str(uri), side))
    if n_rows * len(columns) * 8 > most_bytes and table.format != "parquet":
        return Streamed(str(uri), side, manifest, n_rows)
    return _tensors(load(str(uri), [*columns, manifest["target"]], side), manifest)


def _tensors(table: pa.Table, manifest: Mapping[str, Any]) -> Table:
    features = np.column_stack([table[name].to_numpy() for name in manifest["features"]]).astype("float64")
    values = table[manifest["target"]].to_pylist()
    if manifest["classes"] is None:
        return Table(torch.from_numpy(features), torch.tensor(values, dtype=torch.float32))
    index = {value: i for i, value in enumerate(manifest["classes"])}
    return Table(torch.from_numpy(features), torch.tensor([index[value] for value in values]))
