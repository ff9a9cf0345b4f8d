"""What the control plane takes over HTTP: acknowledged submissions a second, and how long each waits at a steady rate.

``python -m benchmarks.submissions [--seconds S] [--clients N] [--rate R]`` serves a whole control plane (API, loop,
log, a planner in a process of its own) on a simulated cluster, to clients in a process of their own. Wall-clock time
counts, so that other work on the same cores shows; CPU seconds of the control plane's process stand beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from aios.api.app import create_app
from aios.assembly import greedy
from aios.control.loop import Loop
from aios.control.plane import Plane, Watched
from aios.control.planning import ThreadedPlanning
from aios.control.snapshots import Snapshots
from aios.control.solving import ChildPlanner
from aios.kernel.ports import ApplyTenants
from aios.kernel.retention import Keep
from aios.store import folded
from aios.store.sql import SqlLog
from aios.telemetry.metrics import Metrics
from benchmarks.store import Cluster
from tests.support.building import tenant
from tests.support.plane import free_port
from tests.support.silence import silence

TOKEN = "a-token-for-benchmarks"
CLIENTS, RATE, SECONDS = 64, 200.0, 10.0
RATE_GOAL, P99_GOAL_MS = 500.0, 100.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement (10)")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="that submit as soon as they were answered (64)")
    parser.add_argument("--rate", type=float, default=RATE, help="submissions a second, whatever is answered (200)")
    parser.add_argument("--load", nargs=2, metavar=("PORT", "HOW"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.load:
        port, how = asked.load
        asyncio.run(_load(int(port), how, asked))
        return 0
    with silence():
        for how in ("rate", "clients"):
            _measure(how, asked)
    return 0


def _measure(how: str, asked: argparse.Namespace) -> None:
    """Serve a control plane on a new log, and have another process submit."""
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as name:
        plane, planner, port = _served(Path(name))
        try:
            before, cpu_s = plane.log_head(), time.process_time()
            command = [sys.executable, "-m", "benchmarks.submissions", "--load", str(port), how]
            command += ["--seconds", str(asked.seconds), "--clients", str(asked.clients), "--rate", str(asked.rate)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            cpu_s, events = time.process_time() - cpu_s, plane.log_head() - before
        finally:
            plane.stop()
            planner.close()
    _show(how, asked, found, cpu_s, events)


class _Plane(Plane):
    def log_head(self) -> int:
        return self.loop.state.version


def _served(folder: Path) -> tuple[_Plane, ChildPlanner, int]:
    log, cluster, planner = SqlLog(f"sqlite:///{folder / 'aios.db'}"), Watched(Cluster()), ChildPlanner(greedy)
    planning = ThreadedPlanning(planner, cluster.wake)
    loop = Loop(log, cluster, planning, snapshots=Snapshots(folded.dumps, folded.loads), keep=Keep())
    metrics = Metrics()
    loop.on_events(metrics)
    plane = _Plane(log, cluster, loop, greedy, folder / "storage", lambda id, n: Path(), metrics.render)
    port = free_port()
    plane.start(create_app(plane, TOKEN), "127.0.0.1", port, lambda: None)
    planner.start()
    plane.submit(ApplyTenants((tenant("default"),)))
    return plane, planner, port


def _show(how: str, asked: argparse.Namespace, found: dict[str, float], cpu_s: float, events: int) -> None:
    n, took = found["n"], f"p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms"
    cost = f"{1e3 * cpu_s / n:.2f} CPU ms each, {events / n:.1f} events; load {os.getloadavg()[0]:.1f}"
    if how == "rate":
        met = "met" if found["p99_ms"] < P99_GOAL_MS else "MISSED"
        goal = f"goal p99 {P99_GOAL_MS:.0f} ms: {met}"
        print(f"{asked.rate:.0f} submissions/s: {took} ({goal}); {n / found['s']:.0f}/s came")
    else:
        met = "met" if n / found["s"] >= RATE_GOAL else "MISSED"
        print(f"{asked.clients} clients: {n / found['s']:.0f}/s acknowledged (goal {RATE_GOAL:.0f}: {met}); {took}")
    print(f"    {cost}; {found['refused']:.0f} refused", flush=True)


# -- the clients' process

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _load(port: int, how: str, asked: argparse.Namespace) -> None:
    """Submit over connections that stay open, and print how long each answer took."""
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(asked.clients):
        free.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    waits: list[float] = []
    numbers, refused = itertools.count(), 0
    began_s = time.monotonic()
    until_s = began_s + asked.seconds

    async def one(due_s: float) -> None:
        nonlocal refused
        connection = await free.get()
        refused += await _submit(*connection, next(numbers)) != 201
        free.put_nowait(connection)
        waits.append(time.monotonic() - due_s)

    async def client() -> None:
        while time.monotonic() < until_s:
            await one(time.monotonic())

    if how == "clients":
        await asyncio.gather(*(client() for _ in range(asked.clients)))
    else:
        due_s, chance, going = began_s, Random(1), []
        while due_s < until_s:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            going.append(asyncio.create_task(one(due_s)))
            due_s += chance.expovariate(asked.rate)
        await asyncio.gather(*going)
    spent_s = time.monotonic() - began_s
    found = {"n": len(waits), "s": spent_s, "refused": refused}
    print(json.dumps({**found, "p50_ms": _at(waits, 0.5), "p99_ms": _at(waits, 0.99)}))


async def _submit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> int:
    """Submit one script and return the status of the answer."""
    document = {"kind": "script", "name": f"bench-{number}", "entrypoint": "python train.py", "estimate": 20}
    body = json.dumps({"documents": [document]}).encode()
    head = (
        "POST /api/v1/workloads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nIdempotency-Key: bench-{number}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(answer.split(b" ", 2)[1])


def _at(waits: Sequence[float], share: float) -> float:
    return 1e3 * sorted(waits)[min(len(waits) - 1, int(share * len(waits)))]


if __name__ == "__main__":
    sys.exit(main())
