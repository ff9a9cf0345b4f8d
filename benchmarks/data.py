"""Ingest to a published version, and training input, beside plain Ray Data: ``python -m benchmarks.data``.

Both sides run the same pipeline in the same cluster, interleaved, in random order. *ingest* makes rows (numbers, a
category, a time; or images) in Ray Data tasks and writes them: plain Parquet, or a dataset version with its content
hash, manifest and protection. *input* reads them as batches of numpy: ``streaming_split`` over the Parquet files, the
same over the version, and ``Feed``, shuffled, by the consumer itself. Seconds are of the wall; CPU seconds are those of
this process and all of Ray's workers. Memory is the largest sum of their resident sets, shared memory counted once.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of this process alone, read when Ray is imported

import numpy as np
import ray
import ray.data

from pipelines.data.address import Address
from pipelines.data.feed import Feed, stream
from pipelines.data.lance_table import LanceTable
from pipelines.data.table import Write
from pipelines.run import quiet

TICK_S = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")
HERTZ = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """What one run took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@contextmanager
def measured(into: list[Cost]) -> Iterator[None]:
    """Add the cost of what runs inside, this process and everything below it."""
    over, peak = threading.Event(), [0.0]

    def watch() -> None:
        while not over.wait(TICK_S):
            peak[0] = max(peak[0], sum(_resident(pid) for pid in _family()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began_s, cpu_s = time.perf_counter(), _cpu()
    yield
    cost = Cost(time.perf_counter() - began_s, _cpu() - cpu_s, peak[0] / 2**20)
    over.set()
    watcher.join()
    into.append(cost)


def _family() -> list[int]:
    """Return this process and Ray's workers; not the raylet, the GCS and the dashboard, which every run has."""
    found = [os.getpid()]
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if b"ray::" in (path / "cmdline").read_bytes()[:64]:
                    found.append(int(path.name))
            except OSError:
                continue
    return found


_GONE: dict[int, float] = {}
"""CPU seconds of each process as last seen, so that those that ended count too."""


def _cpu() -> float:
    for pid in _family():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            _GONE[pid] = (int(fields[11]) + int(fields[12])) / HERTZ
        except OSError:
            continue
    return sum(_GONE.values())


def _resident(pid: int) -> int:
    """Return a process's own memory: resident less shared, which is the object store that all look at."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * PAGE


# What is written.


def tabular(batch: dict[str, Any]) -> dict[str, Any]:
    """Return twelve columns for a batch of ids (n,), each row a function of its id."""
    ids = batch["id"]
    draw = np.random.default_rng(int(ids[0]))
    numbers = {f"x{i}": draw.normal(size=len(ids)) for i in range(7)}
    counts = {f"n{i}": draw.integers(0, 10_000, len(ids)) for i in range(2)}
    kind = np.array(["alpha", "beta", "gamma", "delta"])[draw.integers(0, 4, len(ids))]
    return {"id": ids, **numbers, **counts, "kind": kind, "y": numbers["x0"] + counts["n0"] / 1e4}


def images(batch: dict[str, Any]) -> dict[str, Any]:
    """Return an image of 64 x 64 x 3 bytes and its label for each id."""
    ids = batch["id"]
    draw = np.random.default_rng(int(ids[0]))
    return {"id": ids, "image": draw.integers(0, 255, (len(ids), 64, 64, 3), dtype=np.uint8), "label": ids % 10}


def rows(n: int, make: Callable[[dict[str, Any]], dict[str, Any]], per_task: int) -> Any:
    made = ray.data.range(n, override_num_blocks=max(2, n // per_task))
    return made.map_batches(make, batch_size=min(per_task, 65_536), num_cpus=1)


def write_parquet(folder: Path, n: int, make: Any, per_task: int) -> None:
    rows(n, make, per_task).write_parquet(str(folder), ray_remote_args={"num_cpus": 1})


def write_version(folder: Path, n: int, make: Any, per_task: int) -> str:
    """Write and describe a version as the ingest engine does; return its address."""
    table = LanceTable(str(folder / "table.lance"))
    done = table.write(rows(n, make, per_task), Write("overwrite", properties={"aios.run": "bench"}), num_cpus=1)
    described = table.annotate(Write("append", done.version, {"aios.manifest": json.dumps({"rows": n})}))
    table.protect("bench.1", described.version)
    assert done.fingerprint.rows == n
    return str(Address("lance", table.location, described.version))


# What is read.


def consume(shard: Any, batch_size: int) -> int:
    return sum(len(batch["id"]) for batch in shard.iter_batches(batch_size=batch_size, prefetch_batches=2))


def read_split(dataset: Any, batch_size: int) -> int:
    (shard,) = dataset.streaming_split(1, equal=False)
    return consume(shard, batch_size)


def read_feed(uri: str, batch_size: int) -> int:
    total = 0
    for _, batch in Feed(uri, None, side=None, batch_size=batch_size, seed=0).batches():
        total += batch.num_rows
        for name in batch.schema.names:
            column = batch.column(name).combine_chunks()
            column.to_numpy_ndarray() if hasattr(column, "to_numpy_ndarray") else column.to_numpy(zero_copy_only=False)
    return total


def bench(kind: str, n: int, rounds: int, seed: int, batch_size: int) -> dict[str, Any]:
    """Return medians of every way for one kind of rows."""
    make, per_task = (tabular, 250_000) if kind == "rows" else (images, 1_000)
    costs: dict[str, list[Cost]] = {
        name: [] for name in ("write parquet", "write version", "split parquet", "split version", "feed")
    }
    order = random.Random(seed)
    for _ in range(rounds + 1):  # the first round starts Ray's workers and does not count
        root = Path(tempfile.mkdtemp(prefix="data-bench-"))
        try:
            _round(root, kind, n, make, per_task, batch_size, order, costs)
        finally:
            shutil.rmtree(root)
    middle = {name: _median(found[1:]) for name, found in costs.items()}
    ratios = {
        "ingest": _ratio(costs, "write parquet", "write version"),
        "split": _ratio(costs, "split parquet", "split version"),
        "feed": _ratio(costs, "split parquet", "feed"),
    }
    return {"kind": kind, "n": n, "rounds": rounds, "cost": middle, "ratio": ratios}


def _round(
    root: Path, kind: str, n: int, make: Any, per_task: int, batch_size: int, order: random.Random, costs: Any
) -> None:
    uri = ""

    def plain() -> None:
        write_parquet(root / "parquet", n, make, per_task)

    def version() -> None:
        nonlocal uri
        uri = write_version(root, n, make, per_task)

    writing = [("write parquet", plain), ("write version", version)]
    order.shuffle(writing)
    for name, do in writing:
        with measured(costs[name]):
            do()
    reading: list[tuple[str, Callable[[], int]]] = [
        ("split parquet", lambda: read_split(ray.data.read_parquet(str(root / "parquet"), num_cpus=1), batch_size)),
        ("split version", lambda: read_split(stream(uri, side=None, num_cpus=1), batch_size)),
        ("feed", lambda: read_feed(uri, batch_size)),
    ]
    order.shuffle(reading)
    for name, read in reading:
        with measured(costs[name]):
            assert read() == n, f"{name} did not read every row"


def _median(costs: list[Cost]) -> dict[str, float]:
    return {
        "wall_s": round(statistics.median(c.wall_s for c in costs), 3),
        "cpu_s": round(statistics.median(c.cpu_s for c in costs), 3),
        "peak_mib": round(max(c.peak_mib for c in costs), 1),
    }


def _ratio(costs: dict[str, list[Cost]], plain: str, own: str) -> dict[str, float]:
    """Return throughput against the plain way: the median over rounds, by wall and by CPU seconds."""
    pairs = list(zip(costs[plain][1:], costs[own][1:], strict=True))
    return {
        "wall": round(statistics.median(one.wall_s / two.wall_s for one, two in pairs), 3),
        "cpu": round(statistics.median(one.cpu_s / two.cpu_s for one, two in pairs), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of tabular data at 1x")
    parser.add_argument("--images", type=int, default=10_000, help="images at 1x; 0: none")
    parser.add_argument("--scales", default="1,2,4", help="multiples of the rows, for memory; the first has all rounds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    quiet()
    ray.init(num_cpus=args.cpus, include_dashboard=False, object_store_memory=2**30, log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.use_datasource_v2 = context.enable_progress_bars = context.print_on_execution_start = False
    results = []
    for i, scale in enumerate(int(word) for word in args.scales.split(",")):
        results.append(bench("rows", args.rows * scale, args.rounds if i == 0 else 1, args.seed, args.batch_size))
        show(results[-1])
    if args.images:
        results.append(bench("images", args.images, args.rounds, args.seed, 256))
        show(results[-1])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def show(result: dict[str, Any]) -> None:
    print(f"{result['n']:,} {result['kind']}, {result['rounds']} rounds", flush=True)
    for name, cost in result["cost"].items():
        rate = result["n"] / cost["wall_s"]
        took = f"{cost['wall_s']:8.2f} s  {cost['cpu_s']:8.2f} CPU s"
        print(f"  {name:<14} {took}  {rate:12,.0f} /s  {cost['peak_mib']:7.0f} MiB")
    for name, ratio in result["ratio"].items():
        print(f"  {name:<14} {ratio['wall']:.2f} of plain by the wall, {ratio['cpu']:.2f} by CPU seconds", flush=True)


if __name__ == "__main__":
    main()
