"""Training input: every row once per epoch, in an order that seed and epoch alone decide, from any row on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.data.address import Address
from pipelines.data.feed import Feed, Order
from pipelines.data.lance_table import LanceTable
from pipelines.data.parquet_folder import SIDE
from pipelines.data.table import TableError, Write

N = 3000


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version of 3,000 rows in three files, every fifth for testing."""
    table = LanceTable(str(tmp_path_factory.mktemp("feed") / "t.lance"))
    rows = pa.table({"id": np.arange(N), SIDE: ["test" if i % 5 == 0 else "train" for i in range(N)]})
    return str(Address("lance", table.location, table.write(rows, Write(rows_per_file=1000)).version))


def ids(feed: Feed, epoch: int = 0, start: int = 0) -> list[int]:
    return [i for _, batch in feed.batches(epoch, start) for i in batch["id"].to_pylist()]


@given(st.integers(1, 400), st.integers(0, 5), st.integers(0, 3), st.integers(1, 9), st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_an_epoch_s_order_has_every_row_once_however_it_is_cut(
    n: int, seed: int, epoch: int, block: int, window: int
) -> None:
    order = Order(n, seed, epoch, block, window)
    whole = order.rows(0, n)
    assert sorted(whole) == list(range(n))
    cut = n // 3
    assert list(whole) == [*order.rows(0, cut), *order.rows(cut, n)]


def test_another_epoch_and_another_seed_are_other_orders() -> None:
    orders = {tuple(Order(200, seed, epoch).rows(0, 200)) for seed in (0, 1) for epoch in (0, 1, 2)}
    assert len(orders) == 6


def test_rows_that_are_neighbours_in_the_table_are_mixed() -> None:
    rows = Order(100_000, 0, 0).rows(0, 100_000)
    assert np.mean(np.abs(np.diff(rows)) == 1) < 0.001


def test_every_training_row_comes_once_in_each_epoch(uri: str) -> None:
    feed = Feed(uri, ["id"], batch_size=64)
    expected = [i for i in range(N) if i % 5]
    first, second = ids(feed, 0), ids(feed, 1)
    assert sorted(first) == sorted(second) == expected
    assert first != second
    assert ids(feed, 0) == first


@pytest.mark.parametrize("n_before, n_after", [(1, 1), (2, 3), (3, 1)])
def test_a_run_goes_on_in_the_middle_of_an_epoch_with_any_number_of_workers(
    uri: str, n_before: int, n_after: int
) -> None:
    seen: list[int] = []
    stopped_at = 0
    for rank in range(n_before):
        feed = Feed(uri, ["id"], batch_size=96 // n_before, rank=rank, n_ranks=n_before)
        for i, (done, batch) in enumerate(feed.batches(epoch=4)):
            seen += batch["id"].to_pylist()
            stopped_at = done
            if i == 6:
                break
    for rank in range(n_after):
        feed = Feed(uri, ["id"], batch_size=96 // n_after, rank=rank, n_ranks=n_after)
        seen += ids(feed, 4, stopped_at)
    assert sorted(seen) == [i for i in range(N) if i % 5]


def test_large_rows_make_small_windows_and_come_once_each(tmp_path: Path) -> None:
    table = LanceTable(str(tmp_path / "t.lance"))
    images = np.zeros((300, 200_000), dtype=np.uint8)
    images[:, 0] = np.arange(300) % 256
    rows = pa.table({"id": np.arange(300), "image": pa.FixedShapeTensorArray.from_numpy_ndarray(images)})
    uri = str(Address("lance", table.location, table.write(rows, Write()).version))
    feed = Feed(uri, batch_size=64)
    assert feed._block == 5
    assert sorted(ids(feed)) == list(range(300))


def test_without_a_seed_rows_come_as_they_lie_in_the_table(uri: str) -> None:
    assert ids(Feed(uri, ["id"], side=None, seed=None, batch_size=500)) == list(range(N))


def test_rows_are_looked_up_by_position_on_their_side(uri: str) -> None:
    assert Feed(uri, ["id"], side="test").take([3, 0, 3])["id"].to_pylist() == [15, 0, 15]


def test_what_the_reader_raises_is_raised_where_the_rows_are_wanted(uri: str) -> None:
    feed = Feed(uri, ["id"])
    feed.columns = ["no such column"]
    with pytest.raises(TableError, match="no such column"):
        next(feed.batches())
