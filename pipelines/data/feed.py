"""Training input: a version streamed to any number of workers, shuffled anew in each epoch, resumable at any row.

The order of an epoch is decided by seed and epoch alone: blocks of neighbouring rows in a random order, and rows at
random inside a window of blocks. Every worker knows it without asking, so a run goes on at row r of epoch e with
whatever number of workers, repeats no row and leaves none out. Rows are read by position (``take``), which a format
with random access does about as fast as a scan.

There are two ways in. ``Feed`` is read by a worker itself, wherever it runs: no further process, no copy through the
object store; it is what the built-in loop and most loops of users want. ``stream`` is a Ray Dataset for
``streaming_split``: where rows must be transformed on other CPUs than those that train.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from queue import Empty, Full, Queue
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.data.reading import of_side, opened
from pipelines.data.table import Table

BLOCK = 1024
"""Rows that are neighbours in the table and stay together until they are mixed in a window."""
WINDOW = 64
"""Blocks whose rows are mixed."""
WINDOW_BYTES = 64 * 2**20
"""About how much of a window is read at once; rows that are large make smaller blocks."""
FEW = 64
"""Rows that tell how large rows are."""


@dataclass(frozen=True, slots=True)
class Order:
    """The order of one epoch over ``n`` rows, as a function of seed and epoch.

    Notes
    -----
    Blocks of ``block`` rows are permuted, then rows within each window of ``window`` blocks: every row may come
    anywhere, neighbours come together only by chance, and reading stays local. With ``n <= block * window`` it is a
    uniform permutation.
    """

    n: int
    seed: int
    epoch: int
    block: int = BLOCK
    window: int = WINDOW

    @property
    def size(self) -> int:
        """The rows of a window."""
        return self.block * self.window

    def rows(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the positions in the table of the rows that come as ``start`` to ``stop`` of the epoch (n,)."""
        size = self.size
        pieces = [
            _window(self, w)[max(0, start - w * size) : stop - w * size] for w in range(start // size, -(-stop // size))
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int64)


@lru_cache(maxsize=4)
def _window(order: Order, w: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the rows of one window, mixed (block * window,)."""
    blocks = _blocks(order)[w * order.window : (w + 1) * order.window]
    rows = np.concatenate([np.arange(b * order.block, min((b + 1) * order.block, order.n)) for b in blocks])
    return np.random.default_rng((order.seed, order.epoch, w + 1)).permutation(rows)


@lru_cache(maxsize=2)
def _blocks(order: Order) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the blocks in the epoch's order; the last one, which may be short, stays last: windows stay full."""
    n_full = order.n // order.block
    blocks = np.random.default_rng((order.seed, order.epoch, 0)).permutation(n_full)
    return np.append(blocks, n_full) if order.n % order.block else blocks


class Feed:
    """Batches of one side of a version for one of ``n_ranks`` workers.

    Parameters
    ----------
    uri : str
        The address of the version, as an engine or a user's loop gets it.
    columns : sequence of str, optional
        What is read; all by default.
    seed : int, optional
        Without one, rows come in the table's order.
    step_rows : int, optional
        Rows of one step over all workers together, where that is not ``batch_size`` for each of them.
    """

    def __init__(
        self,
        uri: str,
        columns: Sequence[str] | None = None,
        *,
        side: str | None = "train",
        batch_size: int = 256,
        seed: int | None = 0,
        rank: int = 0,
        n_ranks: int = 1,
        step_rows: int | None = None,
    ) -> None:
        self.table, self.version = opened(uri)
        self.columns = None if columns is None else list(columns)
        self.batch_size, self.seed, self.rank, self.n_ranks = batch_size, seed, rank, n_ranks
        self.step_rows = step_rows or batch_size * n_ranks
        self._positions = positions(self.table, self.version, uri, side)
        self.n_rows = self.table.count(self.version) if self._positions is None else len(self._positions)
        self._block = self._block_of_its_rows()

    def batches(self, epoch: int = 0, start_row: int = 0, *, ahead: int = 1) -> Iterator[tuple[int, pa.Table]]:
        """Yield (rows of the epoch that are done after it, this rank's part), from ``start_row`` of the epoch on.

        All ranks step together: batch i of every rank is of the same ``step_rows`` rows. ``ahead`` windows are read
        while the caller computes.
        """
        step, at = self.step_rows, start_row
        order = Order(self.n_rows, self.seed or 0, epoch, self._block)
        carried: pa.Table | None = None
        windows = range(start_row // order.size, -(-self.n_rows // order.size))
        for piece in _read_ahead(lambda w: self._window(order, w, start_row, step), windows, ahead):
            carried = piece if carried is None else pa.concat_tables([carried, piece])
            while at < self.n_rows:
                stop = min(at + step, self.n_rows)
                n_own = len(range(self.rank, stop - at, self.n_ranks))
                if carried.num_rows < n_own:
                    break
                yield stop, carried.slice(0, n_own)
                carried, at = carried.slice(n_own), stop

    def _window(self, order: Order, w: int, start_row: int, step: int) -> pa.Table:
        """Return this rank's rows of one window of the epoch, in the epoch's order."""
        first, stop = max(start_row, w * order.size), min((w + 1) * order.size, self.n_rows)
        rows = np.arange(first, stop) if self.seed is None else order.rows(first, stop)
        own = (np.arange(first, stop) - start_row) % step % self.n_ranks == self.rank
        return self._take(rows[own])

    def _block_of_its_rows(self) -> int:
        """Return so many rows per block that a window has about ``WINDOW_BYTES``: the same for the same version."""
        few = self._take(np.arange(min(FEW, self.n_rows)))
        per_row = few.nbytes / max(few.num_rows, 1)
        return int(max(1, min(BLOCK, WINDOW_BYTES / max(per_row, 1) / WINDOW)))

    def take(self, rows: Sequence[int]) -> pa.Table:
        """Return rows of this side by their position, for look-ups."""
        return self._take(np.asarray(rows, dtype=np.int64))

    def _take(self, rows: np.ndarray[Any, Any]) -> pa.Table:
        chosen = rows if self._positions is None else self._positions[rows]
        in_order = np.argsort(chosen, kind="stable")  # of one file after the other
        found = self.table.take(self.version, chosen[in_order].tolist(), self.columns)
        back = np.empty(len(rows), dtype=np.int64)
        back[in_order] = np.arange(len(rows))
        return found.take(pa.array(back))


def positions(table: Table, version: int, uri: str, side: str | None) -> np.ndarray[Any, Any] | None:
    """Return where the rows of one side are in the table, None where that is all of them."""
    where = of_side(uri, side)
    if not where:
        return None
    (name, _, value), at, found = where[0], 0, []
    for batch in table.scan(version, [name]):
        sides = batch.column(0).to_numpy(zero_copy_only=False)
        found.append(at + np.flatnonzero(sides == value))
        at += len(sides)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)


def stream(uri: str, columns: Sequence[str] | None = None, *, side: str | None = "train", **options: Any) -> Any:
    """Return a version as a Ray Dataset for ``streaming_split``: pinned and limited by what ``slice_context`` set.

    Give the dataset ``ingest_config`` where Ray Train reads it: Train's own default forgets the planned nodes.
    """
    table, version = opened(uri)
    return table.read(version, columns, of_side(uri, side), **options)


def ingest_config() -> Any:
    """Return Ray Train's DataConfig that keeps its reading on the nodes and within the limits of ``slice_context``."""
    from ray.data import DataContext, ExecutionOptions
    from ray.train import DataConfig

    own = DataContext.get_current().execution_options
    kept = ExecutionOptions(label_selector=own.label_selector, resource_limits=own.resource_limits)
    return DataConfig(execution_options=kept)


def _read_ahead(read: Callable[[int], pa.Table], starts: range, ahead: int) -> Iterator[pa.Table]:
    """Yield what ``read`` returns for each start, read by a thread that is ``ahead`` of the caller and ends with it."""
    if ahead <= 0:
        yield from map(read, starts)
        return
    queue: Queue[Any] = Queue(ahead)
    over = threading.Event()

    def put(item: Any) -> bool:
        while not over.is_set():
            try:
                queue.put(item, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def run() -> None:
        try:
            for start in starts:
                if not put((True, read(start))):
                    return
            put((True, None))
        except BaseException as error:  # raised where the caller waits
            put((False, error))

    reader = threading.Thread(target=run, name="aios-feed", daemon=True)
    reader.start()
    try:
        while True:
            try:
                good, item = queue.get(timeout=60)
            except Empty:
                if reader.is_alive():
                    continue
                raise RuntimeError("the reader of the training input ended without a word") from None
            if not good:
                raise item
            if item is None:
                return
            yield item
    finally:
        over.set()
        reader.join(timeout=5)
