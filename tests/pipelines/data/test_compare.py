"""Two versions side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.data.compare import SAMPLE, compare, psi, survey
from pipelines.data.lance_table import LanceTable
from pipelines.data.table import Write


def surveyed(path: Path, **columns: object) -> dict[str, object]:
    table = LanceTable(str(path))
    return survey(table, table.write(pa.table(columns), Write()).version)  # type: ignore[return-value]


def test_a_shift_is_told_and_a_second_draw_is_stable(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    one = surveyed(tmp_path / "a", x=draw.normal(0, 1, 5000), y=draw.normal(0, 1, 5000), kind=["a", "b"] * 2500)
    two = surveyed(tmp_path / "b", x=draw.normal(0, 1, 4000), y=draw.normal(2, 1, 4000), kind=["a", "c"] * 2000)
    found = compare(one, two)  # type: ignore[arg-type]
    assert found["rows"] == [5000, 4000]
    verdicts = {name: drift["verdict"] for name, drift in found["drift"].items()}
    assert verdicts == {"x": "stable", "y": "shifted", "kind": "shifted"}
    assert found["drift"]["x"]["ks"] < 0.05 < 0.5 < found["drift"]["y"]["ks"]


def test_columns_that_came_went_and_changed_are_named(tmp_path: Path) -> None:
    one = surveyed(tmp_path / "a", x=[1, 2], old=["a", "b"], t=[1, 2])
    two = surveyed(tmp_path / "b", x=[1, 2], new=[0.5, None], t=["1", "2"])
    changed = compare(one, two)["columns"]  # type: ignore[arg-type]
    assert changed == {"added": ["new"], "removed": ["old"], "changed": {"t": ["int64", "string"]}}


@pytest.mark.parametrize("n", [10, SAMPLE + 20_000])
def test_statistics_are_of_all_rows_whatever_the_sample(tmp_path: Path, n: int) -> None:
    values = np.random.default_rng(1).normal(5, 2, n)
    nulls = np.arange(n) % 4 == 0
    shown = surveyed(tmp_path / "a", x=pa.array(values, mask=nulls))["x"].shown()  # type: ignore[attr-defined]
    kept = values[~nulls]
    assert shown["nulls"] == nulls.sum()
    assert (shown["min"], shown["max"]) == (kept.min(), kept.max())
    assert shown["mean"] == pytest.approx(kept.mean(), abs=1e-5)
    assert shown["std"] == pytest.approx(kept.std(), abs=1e-5)


def test_equal_histograms_have_no_drift_and_empty_bins_no_infinite_one() -> None:
    assert psi(np.array([5, 5]), np.array([50, 50])) == 0
    assert 0.25 < psi(np.array([10, 0]), np.array([0, 10])) < 100
