"""What the event log takes: events and acknowledged submissions a second, recovery, and what it survives.

``python -m benchmarks.store`` measures on SQLite in a temporary folder (``--url`` for PostgreSQL, where there must be
no log yet); ``--kills N``, ``--torn N`` and ``--flips`` do at length what the tests do in samples, and fail where
anything was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from aios.adapters.sim import SimExecutor
from aios.control.loop import Loop
from aios.control.plane import SWITCH_S, Plane, Watched
from aios.control.planning import ThreadedPlanning
from aios.kernel.events import Event
from aios.kernel.ports import Accepted, ApplyTenants, NewWork, Reply
from aios.store.backups import backup
from aios.store.memory import MemoryLog
from aios.store.sql import SqlLog
from aios.store.verifying import verify
from aios.telemetry.metrics import Metrics
from placement.explain import explain_plan
from placement.model import Plan, Problem
from placement.planners import ladder
from placement.planners.base import Budget
from tests.support import kills, wreck
from tests.support.building import node, submit, tenant, want
from tests.support.silence import silence

CLIENTS = 64
RATE = 200.0
BATCHES = (1, 10, 100)
_HARM = ("lost", "torn", "changed", "snapshots_lost")


class Cluster(SimExecutor):
    """Forty simulated nodes on the real clock."""

    def __init__(self) -> None:
        super().__init__([node(f"n{i}", cpu=16) for i in range(40)])
        self._bell, self._zero_s = threading.Event(), time.monotonic()

    def wait(self, timeout_s: float) -> None:
        self._bell.wait(timeout_s)
        self._bell.clear()
        self.advance(max(self.now_s(), time.monotonic() - self._zero_s))

    def wake(self) -> None:
        self._bell.set()


class Running:
    """A control plane's loop and planner in threads of their own, with no API in front of it."""

    def __init__(self, url: str) -> None:
        sys.setswitchinterval(SWITCH_S)
        self.log = SqlLog(url)
        cluster = Watched(Cluster())
        planning = ThreadedPlanning(_plan, cluster.wake)
        self.loop = Loop(self.log, cluster, planning)
        metrics = Metrics()
        self.loop.on_events(metrics)
        self.plane = Plane(self.log, cluster, self.loop, _plan, Path(), lambda id, n: Path(), metrics.render)
        self.loop.start()
        self._stop, self._cluster = threading.Event(), cluster
        self._thread = threading.Thread(target=self.loop.run, args=(self._stop,))
        self._thread.start()
        self.plane.submit(ApplyTenants((tenant("team"),)))

    def close(self) -> None:
        self._stop.set()
        self._cluster.wake()
        self._thread.join()
        self.log.close()


def _plan(problem: Problem, budget: Budget) -> Plan:
    return explain_plan(problem, ladder.plan(problem, budget, time.monotonic))


def work(name: str, run_s: float = 20.0) -> NewWork:
    return want(name, estimate_s=run_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", help="of a log that is not there yet; default: SQLite in a temporary folder")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (10)")
    parser.add_argument("--events", type=int, default=100_000, help="of the log that is recovered (100,000)")
    parser.add_argument("--kills", type=int, default=0, help="kill -9 this many writers instead of measuring")
    parser.add_argument("--torn", type=int, default=0, help="tear this many write-ahead logs instead")
    parser.add_argument("--flips", action="store_true", help="flip a bit of every byte of a small log instead")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as name, silence():
        folder = Path(name)
        url = asked.url or f"sqlite:///{folder / 'aios.db'}"
        harm = 0
        if asked.kills:
            harm += killed(url, asked.kills, asked.seed)
        if asked.torn:
            harm += torn(folder, asked.torn, asked.seed)
        if asked.flips:
            harm += flipped(folder, asked.seed)
        if not (asked.kills or asked.torn or asked.flips):
            measured(url, folder, asked.seconds, asked.events)
    sys.exit(1 if harm else 0)


def measured(url: str, folder: Path, seconds: float, n_events: int) -> None:
    """Print the table."""
    print(f"{'what':<46}{'value':>12}   notes\n{'-' * 96}")
    for measure in (
        _steady,
        _burst,
    ):  # each on a control plane that has just taken over; the second finds the first's work
        plane = Running(url)
        try:
            measure(plane, seconds)
        finally:
            plane.close()
    _recovery(url, folder, n_events)
    log = SqlLog(url)
    epoch = log.begin()
    for size in BATCHES:
        rate, spent = appended(log, epoch, size, seconds / 3)
        _line(f"events appended/s, {size} in a batch", f"{rate:,.0f}", f"{spent:.0%} of one CPU")
    log.close()


def appended(log: SqlLog, epoch: int, size: int, seconds: float) -> tuple[float, float]:
    """Append batches for a while; return events a second and the share of a CPU that it took."""
    n, began_s, cpu_s = 0, time.monotonic(), time.process_time()
    while time.monotonic() < began_s + seconds:
        log.append(epoch, [kills.event(i) for i in range(size)])
        n += size
    spent_s = time.monotonic() - began_s
    return n / spent_s, (time.process_time() - cpu_s) / spent_s


def _burst(plane: Running, seconds: float, clients: int = CLIENTS) -> None:
    """Clients that submit as soon as they were answered."""
    waits: list[float] = []
    end_s = time.monotonic() + seconds
    before, cpu_s = plane.log.head().seq, time.process_time()

    def client(number: int) -> None:
        for i in range(10**9):
            if time.monotonic() >= end_s:
                return
            name, began_s = f"burst-{number}-{i}", time.monotonic()
            _expect(plane.plane.submit(submit(work(name), key=name)))
            waits.append(time.monotonic() - began_s)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = (time.process_time() - cpu_s) / seconds
    events = (plane.log.head().seq - before) / seconds
    took = f"p50 {_at(waits, 0.5):.0f} ms, p99 {_at(waits, 0.99):.0f} ms"
    _line(
        f"acknowledged submissions/s, {clients} clients",
        f"{len(waits) / seconds:,.0f}",
        f"{took}; {events:,.0f} events/s; {spent:.0%} of one CPU",
    )


def _steady(plane: Running, seconds: float, rate: float = RATE) -> None:
    """Submissions that come at a rate, whatever became of the ones before."""
    waits: list[float] = []
    futures: list[Future[Reply]] = []
    chance, due_s = Random(1), time.monotonic()
    before, end_s = len(plane.loop.state.live), due_s + seconds

    def told(began_s: float) -> Callable[[Future[Reply]], None]:
        return lambda _: waits.append(time.monotonic() - began_s)

    while due_s < end_s:
        time.sleep(max(0.0, due_s - time.monotonic()))
        name = f"steady-{len(futures)}"
        future = plane.loop.submit(submit(work(name), key=name))
        future.add_done_callback(told(due_s))
        futures.append(future)
        due_s += chance.expovariate(rate)
    for future in futures:
        _expect(future.result(60))
    _line(
        f"p99 of {rate:.0f} submissions/s (ms)", f"{_at(waits, 0.99):.0f}",
        f"p50 {_at(waits, 0.5):.0f}; {len(futures) / seconds:.0f}/s came; {before} workloads were live before",
    )  # fmt: skip


def _recovery(url: str, folder: Path, n_events: int) -> None:
    """Fill the log up with submissions that are over, then back it up, verify it, and take over."""
    log = SqlLog(url)
    epoch, last = log.begin(), log.head().seq
    sample = _life()
    while last < n_events:
        last = log.append(epoch, [_as_new(event, last + i) for i, event in enumerate(sample * 50)])
    log.close()
    path = folder / "copy.db"
    made_s = _timed(lambda: backup(url, path, datetime.now(UTC)))
    size = f"{path.stat().st_size / 2**20:.0f} MiB"
    _line(f"backup of {last:,} events (s)", f"{made_s:.1f}", f"{size}, read again and verified")
    _line(f"verify of {last:,} events (s)", f"{_timed(lambda: verify(url)):.1f}", "chain, text, fold")
    again = SqlLog(url)
    loop = Loop(again, Cluster(), ThreadedPlanning(_plan, lambda: None))
    _line(f"recovery of {last:,} events (s)", f"{_timed(loop.start):.1f}", "until the new epoch is recorded")
    again.close()


def _life() -> list[Event]:
    """Return the events of a workload that came and was stopped."""
    log, cluster = MemoryLog(), SimExecutor([node("n0", cpu=4)])
    loop = Loop(log, cluster, ThreadedPlanning(_plan, cluster.wake))
    loop.start()
    loop.submit(ApplyTenants((tenant("team"),)))
    loop.submit(submit(work("sample"), key="sample"))
    loop.turn()
    return [event for _, event in log.read() if type(event).__name__ == "Submitted"]


def _as_new(event: Event, n: int) -> Event:
    name = f"recovered-{n}"
    changed = replace(event.work, id=name, name=name)  # type: ignore[union-attr]  # _life() gives submissions alone
    return replace(event, work=changed, key=name)  # type: ignore[call-arg]  # as above


def killed(url: str, n: int, seed: int) -> int:
    """Kill writers; return how much harm was done."""

    began_s = time.monotonic()
    found, spent_s = vars(kills.main(url, n, seed)), time.monotonic() - began_s
    print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items()) + f"; {spent_s:.0f} s")
    return sum(found[name] for name in _HARM)


def torn(folder: Path, n: int, seed: int) -> int:
    whole = wreck.written(folder / "torn.db", 60, in_wal=40)
    found = wreck.torn(folder / "torn.db", folder / "work.db", whole, 20 * wreck.BATCH, n, seed)
    return _counted(f"{n} torn or scrambled write-ahead logs", found, n - found["prefix"])


def flipped(folder: Path, seed: int) -> int:
    path, chance = folder / "flipped.db", Random(seed)
    whole = wreck.written(path, 8, snapshot=True)
    bits = [(byte, chance.randrange(8)) for byte in range(path.stat().st_size)]
    found = wreck.flipped(path, folder / "work.db", whole, bits)
    return _counted(f"a bit of each of {len(bits)} bytes", found, found["silent"])


def _counted(what: str, found: Counter[str], harm: int) -> int:
    print(f"{what}: " + ", ".join(f"{name} {n}" for name, n in sorted(found.items())))
    return harm


def _expect(reply: Reply) -> None:
    if not isinstance(reply, Accepted):
        raise SystemExit(f"refused: {reply.message}")


def _timed(do: Callable[[], object]) -> float:
    began_s = time.monotonic()
    do()
    return time.monotonic() - began_s


def _at(waits: Sequence[float], share: float) -> float:
    return sorted(waits)[min(len(waits) - 1, int(share * len(waits)))] * 1000


def _line(what: str, value: str, notes: str) -> None:
    print(f"{what:<46}{value:>12}   {notes}", flush=True)


if __name__ == "__main__":
    main()
