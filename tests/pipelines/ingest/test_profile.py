"""The profile page: what it says of columns of every kind, and that it needs nothing from elsewhere."""

from __future__ import annotations

import datetime as dt
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.data.profile import SAMPLE, sampled, write_profile


def text_of(path: Path) -> str:
    class Reader(HTMLParser):
        found: list[str] = []  # noqa: RUF012  # one reader, one page

        def handle_data(self, data: str) -> None:
            self.found.append(data)

    reader = Reader()
    reader.found = []
    reader.feed(path.read_text(encoding="utf-8"))
    return " ".join(reader.found)


def test_a_page_tells_types_gaps_ends_and_examples_of_every_column(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "x": [1.5, 2.5, None, float("nan")],
            "name": ["<b>Zoë</b>", "東京", None, "東京"],
            "at": [dt.datetime(2026, 1, day) for day in (1, 2, 3, 4)],
            "nothing": pa.nulls(4, pa.float64()),
            "words": [["a"], [], None, ["b", "c"]],
            "n": [1, 2, 3, 4],
        }
    )
    write_profile(rows, tmp_path / "p.html", "visits@2")
    said = text_of(tmp_path / "p.html")
    for expected in (
        "visits@2",
        "4 rows, 6 columns",
        "2 (50.0%)",
        "4 (100.0%)",
        "<b>Zoë</b>",
        "2026-01-04",
        "Spearman",
    ):
        assert expected in said
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


@pytest.mark.parametrize("rows", [pa.table({}), pa.table({"a": pa.array([], pa.int64())}), pa.table({"a": ["x"]})])
def test_a_dataset_of_no_rows_or_one_has_a_page_too(rows: pa.Table, tmp_path: Path) -> None:
    write_profile(rows, tmp_path / "p.html")
    assert f"{rows.num_rows} rows" in text_of(tmp_path / "p.html")


def test_gaps_are_counted_in_all_rows_and_the_sample_lies_evenly_over_them() -> None:
    n = 3 * SAMPLE
    values = pa.array(np.arange(n), pa.int64(), mask=np.arange(n) % 10 == 0)
    batches = (pa.table({"i": values.slice(at, 7777)}) for at in range(0, n, 7777))
    sample, n_rows, n_null = sampled(batches)
    assert (n_rows, n_null) == (n, {"i": n // 10})
    assert SAMPLE // 2 <= sample.num_rows <= SAMPLE
    found = np.array([v for v in sample["i"].to_pylist() if v is not None])
    assert abs(found.mean() / n - 0.5) < 0.01
