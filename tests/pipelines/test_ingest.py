"""How rows are split, measured and understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios.engines import WorkloadFailed
from pipelines.data.describe import task_of
from pipelines.ingest.portions import files_at
from pipelines.ingest.rows import combine, sides


def frame(n: int) -> pd.DataFrame:
    values = np.random.default_rng(0).normal(size=(n, 3))
    return pd.DataFrame(values, columns=["a", "b", "c"]).assign(y=np.arange(n) % 2)


@pytest.mark.parametrize("test", [0.1, 0.25, 0.5])
def test_the_split_comes_near_its_ratio(test: float) -> None:
    assert abs((sides(frame(4000), test, 0) == "test").mean() - test) < 0.03


def test_a_row_falls_on_the_same_side_in_any_order_and_company() -> None:
    rows = frame(500)
    whole = sides(rows, 0.25, 7)
    shuffled = rows.sample(frac=1, random_state=1)
    assert list(sides(shuffled, 0.25, 7)) == list(whole[shuffled.index])
    assert list(sides(rows.iloc[100:110], 0.25, 7)) == list(whole[100:110])


def test_another_seed_is_another_split() -> None:
    assert list(sides(frame(500), 0.25, 0)) != list(sides(frame(500), 0.25, 1))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_statistics_do_not_depend_on_how_rows_were_batched(sizes: list[int]) -> None:
    values = np.random.default_rng(sum(sizes)).normal(5, 3, size=(sum(sizes), 2))
    parts = []
    for batch in np.split(values, np.cumsum(sizes)[:-1]):
        mean = batch.mean(axis=0)
        parts.append({"n": len(batch), "mean": mean, "m2": ((batch - mean) ** 2).sum(axis=0)})
    found = combine(parts)
    assert np.allclose(found["mean"], values.mean(axis=0))
    assert np.allclose(found["scale"], np.where(values.std(axis=0) > 1e-12, values.std(axis=0), 1.0))


def test_a_constant_feature_is_not_divided_by_nothing() -> None:
    assert combine([{"n": 3, "mean": [4.0], "m2": [0.0]}]) == {"mean": [4.0], "scale": [1.0]}


@pytest.mark.parametrize(
    "values, task",
    [
        ({0, 1, 2}, "classification"),
        ({"yes", "no"}, "classification"),
        ({True, False}, "classification"),
        ({0.0, 1.0}, "classification"),
        ({0.5, 1.0}, "regression"),
        ({float(i) for i in range(25, 347)}, "regression"),
    ],
)
def test_the_task_is_guessed_from_the_targets_values(values: set[object], task: str) -> None:
    assert task_of(values) == task


def test_a_source_that_is_missing_empty_or_mixed_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed, match="no such file"):
        files_at(tmp_path / "none.csv")
    with pytest.raises(WorkloadFailed, match="has no rows"):
        files_at(tmp_path)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    assert files_at(tmp_path) == ([tmp_path / "a.csv"], "csv")
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(WorkloadFailed, match="csv, json"):
        files_at(tmp_path)
