"""How far an ingest is: rows, bytes, rate and estimated end, told by the tasks that read, passed on each second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from aios.engines import Reporter
from pipelines.run import on_nodes

EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Meter:
    """Where tasks say what they have read; a task that is run again says it again, so it is an estimate."""

    counter: Any = None

    def read(self, rows: int, n_bytes: int, share: float) -> None:
        """Say that so many rows and bytes were read, ``share`` of all that there is."""
        if self.counter is not None:
            self.counter.add.remote(rows, n_bytes, share)


NO_METER = Meter()


class _Counter:
    def __init__(self) -> None:
        self.rows, self.bytes, self.share = 0, 0, 0.0

    def add(self, rows: int, n_bytes: int, share: float) -> None:
        self.rows += rows
        self.bytes += n_bytes
        self.share += share

    def so_far(self) -> tuple[int, int, float]:
        return self.rows, self.bytes, self.share


def figures(rows: int, n_bytes: int, share: float, elapsed_s: float) -> dict[str, Any]:
    """Return what is shown of progress; the end is estimated from the share that was read."""
    out: dict[str, Any] = {"rows": rows, "bytes": n_bytes, "rows_per_s": round(rows / max(elapsed_s, 1e-3))}
    if 0 < share < 1:
        out |= {"percent": round(100 * share, 1), "left_s": round(elapsed_s * (1 - share) / share)}
    return out


@contextmanager
def metered(reporter: Reporter, nodes: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> Iterator[Meter]:
    """Give tasks a meter and report what it shows until the block ends."""
    actor = ray.remote(num_cpus=0)(_Counter).options(label_selector=on_nodes(nodes)).remote()
    began, over = clock(), threading.Event()
    shown: Mapping[str, Any] = {}

    def look() -> None:
        nonlocal shown
        while not over.wait(EVERY_S):
            try:
                rows, n_bytes, share = ray.get(actor.so_far.remote(), timeout=10)
            except ray.exceptions.RayError:
                continue  # it starts, or its node is gone: progress is no reason to fail
            now = figures(rows, n_bytes, min(share, 1.0), clock() - began)
            if rows and now.get("rows") != shown.get("rows"):
                reporter.progress(now)
                shown = now

    looking = threading.Thread(target=look, name="aios-ingest-progress", daemon=True)
    looking.start()
    try:
        yield Meter(actor)
    finally:
        over.set()
        looking.join(timeout=15)
        ray.kill(actor)
