"""The built-in loop over versions: whole or streamed, tables or folders of before, it sees each row once an epoch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pipelines.data.address import Address
from pipelines.data.lance_table import LanceTable
from pipelines.data.parquet_folder import SIDE
from pipelines.data.reading import load, read_input
from pipelines.data.table import TableError, Write, open_table
from pipelines.files import write_json
from pipelines.train.checkpoint import Position
from pipelines.train.steps import batches
from pipelines.train.table import Streamed, Table, read_manifest, read_table

N = 500
MANIFEST = {"features": ["x"], "target": "y", "classes": ["no", "yes"], "digest": "sha256:1"}
JOB: Any = SimpleNamespace(batch_size=32, seed=3)


@pytest.fixture
def rows() -> pa.Table:
    return pa.table({"x": np.arange(N) * 1.0, "y": ["yes", "no"] * (N // 2), SIDE: ["train"] * 400 + ["test"] * 100})


@pytest.fixture
def uri(tmp_path: Path, rows: pa.Table) -> str:
    table = LanceTable(str(tmp_path / "t.lance"))
    return str(Address("lance", table.location, table.write(rows, Write()).version))


@pytest.fixture
def folder(tmp_path: Path, rows: pa.Table) -> Path:
    """A version as it was published before there were tables."""
    folder = tmp_path / "old"
    for side, part in (("train", rows.slice(0, 400)), ("test", rows.slice(400))):
        (folder / side).mkdir(parents=True)
        pyarrow.parquet.write_table(part.drop_columns([SIDE]), folder / side / "part-00000.parquet")
    write_json(folder / "manifest.json", MANIFEST)
    return folder


def xs(table: Table | Streamed, first: Position, n_ranks: int, n_steps: int = 10**6) -> tuple[Position, list[float]]:
    seen: list[float] = []
    last = first
    for rank in range(n_ranks):
        for at, features, targets in islice(batches(table, JOB, first.epoch, first, rank, n_ranks), n_steps):
            last = at
            assert targets.tolist() == [1 - int(x) % 2 for x in features[:, 0].tolist()]
            seen += features[:, 0].tolist()
    return last, seen


@pytest.mark.parametrize("most_bytes", [10**9, 1])
def test_a_stopped_epoch_goes_on_with_the_rows_that_are_left(uri: str, most_bytes: int) -> None:
    table = read_table(uri, "train", MANIFEST, most_bytes)
    assert isinstance(table, Streamed if most_bytes == 1 else Table)
    assert len(table) == 400
    at, before = xs(table, Position(2), 2, 5)
    assert at.rows == 160
    _, after = xs(table, at, 3)
    assert sorted(before + after) == list(range(400))


def test_a_version_of_before_there_were_tables_reads_as_it_did(folder: Path) -> None:
    assert read_manifest(folder)["classes"] == ["no", "yes"]
    table = read_table(folder, "test", MANIFEST, 1)
    assert isinstance(table, Table)
    assert sorted(table.features[:, 0].tolist()) == list(range(400, 500))
    assert load(str(folder))[SIDE].to_pylist().count("train") == 400


def test_a_version_of_before_is_never_written(folder: Path) -> None:
    with pytest.raises(TableError, match="mode: overwrite"):
        open_table(Address.parse(str(folder))).write(pa.table({"x": [1]}), Write("append", 0))


def test_a_column_that_is_not_there_is_said_by_name(uri: str) -> None:
    from aios.engines import Input, WorkloadFailed

    with pytest.raises(WorkloadFailed, match="dataset://d@1 has no column 'nope': it has x, y"):
        read_input(Input("dataset://d@1", uri), ["nope"])
