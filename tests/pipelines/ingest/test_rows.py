"""How rows are split, measured and understood."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.describe import task_of
from pipelines.ingest.rows import Finish, combine, in_test
from pipelines.ingest.rowset import distinct
from pipelines.ingest.sources.errors import BadSource
from pipelines.ingest.spec import SplitSpec


def table(n: int) -> pa.Table:
    values = np.random.default_rng(0).normal(size=(n, 3))
    return pa.table({"a": values[:, 0], "b": values[:, 1], "c": values[:, 2], "y": np.arange(n) % 2})


@pytest.mark.parametrize("test", [0.1, 0.25, 0.5])
def test_the_split_comes_near_its_ratio(test: float) -> None:
    assert abs(in_test(table(4000), SplitSpec(test=test)).mean() - test) < 0.03


def test_a_row_falls_on_the_same_side_in_any_order_and_company() -> None:
    rows, spec = table(500), SplitSpec(seed=7)
    whole = in_test(rows, spec)
    order = np.random.default_rng(1).permutation(500)
    assert list(in_test(rows.take(order), spec)) == list(whole[order])
    assert list(in_test(rows.slice(100, 10), spec)) == list(whole[100:110])


def test_another_seed_is_another_split() -> None:
    assert list(in_test(table(500), SplitSpec(seed=0))) != list(in_test(table(500), SplitSpec(seed=1)))


def test_all_rows_of_a_key_fall_on_one_side() -> None:
    rows = table(1000).append_column("patient", pa.array([f"p{i % 50}" for i in range(1000)]))
    sides = in_test(rows, SplitSpec(by=("patient",)))
    assert all(len(set(sides[i::50])) == 1 for i in range(50))
    assert 0 < sides.mean() < 1


def test_a_split_by_time_and_one_by_a_column_put_each_row_where_they_say() -> None:
    times = [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), None, dt.datetime(2026, 3, 1, tzinfo=dt.UTC)]
    rows = pa.table({"at": pa.array(times, pa.timestamp("us", "UTC")), "fold": ["train", "test", "test"]})
    assert list(in_test(rows, SplitSpec(time="at", since="2026-02-01"))) == [False, False, True]
    assert list(in_test(rows, SplitSpec(column="fold", values=("test",)))) == [False, True, True]
    with pytest.raises(BadSource, match="no column 'when'"):
        in_test(rows, SplitSpec(time="when", since="2026-02-01"))


def test_rows_with_a_gap_in_a_feature_or_the_target_are_left_out_and_others_keep_their_other_columns() -> None:
    rows = pa.table(
        {"x": [1, 2, None, 4], "z": [1.0, float("nan"), 1.0, 2.0], "y": ["a", "b", "c", "d"], "id": [7, 8, 9, None]}
    )
    made = Finish("y", ("x", "z"))(rows)
    assert made.to_pylist() == [{"x": 1.0, "z": 1.0, "y": "a", "id": 7}, {"x": 4.0, "z": 2.0, "y": "d", "id": None}]


@given(st.permutations(range(12)))
def test_of_rows_of_one_key_the_same_stays_whatever_their_order(order: list[int]) -> None:
    rows = pa.table(
        {"k": [i % 4 for i in range(12)], "at": [i // 4 for i in range(12)], "v": [f"v{i}" for i in range(12)]}
    )
    newest = distinct(rows.take(order), ["k"], "at").sort_by("k")
    assert newest["v"].to_pylist() == ["v8", "v9", "v10", "v11"]
    assert distinct(rows.take(order), ["k"]).sort_by("k") == distinct(rows, ["k"]).sort_by("k")


def test_equal_rows_are_one_also_with_gaps_and_not_a_number() -> None:
    rows = pa.table({"a": [1.0, 1.0, None, None, float("nan")], "b": ["x", "x", None, None, None]})
    assert distinct(rows, []).num_rows == 2


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
