"""What the control plane costs where much has happened: a turn, recovery, memory; and a backlog decided in simulation.

``python -m benchmarks.kernel [--ended N] [--live N] [--only turn|recovery|backlog]`` measures CPU seconds of this
process. The backlog is that of Kueue's performance tests: 30 queues in 5 cohorts, 500 workloads each.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from aios.adapters.simulated import Pace
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning
from aios.control.retiring import TOGETHER
from aios.control.snapshots import EVERY, Snapshots
from aios.kernel.actions import Action
from aios.kernel.events import (
    AttemptEnded,
    AttemptStarted,
    EpochStarted,
    Event,
    Finished,
    Granted,
    NodeChanged,
    Outcome,
    Retired,
    Submitted,
    TenantsApplied,
    Waits,
    Work,
    WorkloadId,
)
from aios.kernel.evolve import replay
from aios.kernel.ports import Log, Observed, ObservedAttempt, ObservedNode, Phase, Submit
from aios.kernel.retention import Keep
from aios.simulate import Arrival, SimReport, simulate
from aios.store import folded
from aios.store.memory import MemoryLog
from aios.store.sql import SqlLog
from placement.model import DemandId, Node, Objective, Plan, Policy, Problem, Resources, Tenant, TenantId
from placement.planners import ladder
from placement.planners.base import Budget
from tests.support.building import node, tenant, want
from tests.support.silence import silence

T = TypeVar("T")

NODES = 100
CPUS = 8
TURNS = 30
APPEND = 2_000
TURN_GOAL_S = 0.050
RECOVERY_GOAL_S = 10.0
BACKLOG_GOAL_S = 120.0

KEEP = Keep()

SOLVE_S = 1.0
"""How long each solve takes on the backlog's virtual time."""

QUEUES, COHORTS = 30, 5
NOMINAL, BORROWS = 20, 100
CLASSES = (  # how many in a queue, CPUs, run time, time between two, priority
    ("small", 350, 1, 0.2, 0.1, 50),
    ("medium", 100, 5, 0.5, 0.5, 100),
    ("large", 50, 20, 1.0, 1.2, 200),
)
"""Kueue's performance test, test/performance/scheduler/default_generator_config.yaml."""


def history(n_ended: int, n_live: int) -> Iterator[Event]:
    """Give the log of a cluster on which that much has ended, and that much lives: as much as fits runs.

    Of what has ended all but the last 10,000 were retired, as the control plane does it, some hundreds at a time.
    """
    nodes = [node(f"n{i:03}", cpu=CPUS) for i in range(NODES)]
    yield EpochStarted(0.0, 1, "")
    yield TenantsApplied(0.0, tuple(tenant(f"t{i}") for i in range(20)))
    for one in nodes:
        yield NodeChanged(0.0, one)
    fence, ended = 0, deque[WorkloadId]()
    for i in range(n_ended):
        at_s, fence = float(i), fence + 1
        work, where = _work(f"old{i}", i, at_s), nodes[i % NODES].id
        yield Submitted(at_s, work, f"key-{i}")
        yield Waits(at_s, work.id, "WaitingForResources", f"needs 1 CPU, {i % 7} are free")
        yield Granted(at_s, work.id, 1, fence, (where,), i, f"plan {i} (greedy, feasible)")
        yield AttemptStarted(at_s, work.id, 1, (where,))
        yield AttemptEnded(at_s, work.id, 1, Outcome.SUCCEEDED, (where,), exit_code=0)
        yield Finished(at_s, work.id, "SUCCEEDED", exit_code=0)
        ended.append(work.id)
        if len(ended) == KEEP.ended_most + TOGETHER:
            yield Retired(at_s, tuple(ended.popleft() for _ in range(TOGETHER)))
    for i in range(n_live):
        at_s = float(n_ended + i)
        work = _work(f"new{i}", i, at_s)
        yield Submitted(at_s, work, f"live-{i}")
        if i >= NODES * CPUS:
            yield Waits(at_s, work.id, "WaitingForResources", "needs 1 CPU, 0 are free")
            continue
        fence += 1
        yield Granted(at_s, work.id, 1, fence, (nodes[i % NODES].id,), i, f"plan {i} (greedy, feasible)")
        yield AttemptStarted(at_s, work.id, 1, (nodes[i % NODES].id,))


def _work(name: str, i: int, at_s: float) -> Work:
    id = WorkloadId(f"{name}-{i % 65536:04x}")
    new = want(name, cpu=1, tenant=f"t{i % 20}", priority=i % 3)
    demand = replace(new.demand, id=DemandId(id), submitted_s=at_s, priority=i % 3)
    spec = f'{{"entrypoint":"python train.py --seed {i}","kind":"script","name":"{name}","resources":{{"cpu":1}}}}'
    return Work(id, name, "script", new.tenant, i % 3, demand, spec, new.content, estimate_s=60.0, user=f"u{i % 50}")


class Still:
    """A cluster on which nothing changes any more: all that should run runs."""

    def __init__(self, log: Log) -> None:
        self.shown, self._now_s = Observed(), 0.0
        for _, event in log.read():
            self._now_s = max(self._now_s, event.at_s)

    def show(self, loop: Loop) -> None:
        """Show the nodes of a state, and every attempt that it holds open."""
        open_ = [(w, w.current) for id in loop.state.live if (w := loop.state.workloads[id]).current is not None]
        self.shown = Observed(
            tuple(ObservedNode(one) for _, one in sorted(loop.state.nodes.items())),
            tuple(ObservedAttempt(w.id, a.number, a.fence, Phase.RUNNING, a.nodes) for w, a in open_ if a is not None),
        )

    def now_s(self) -> float:
        self._now_s += 0.01
        return self._now_s

    def wait(self, timeout_s: float) -> None:
        """Do not wait."""

    def wake(self) -> None:
        """Do nothing."""

    def observe(self) -> Observed:
        return self.shown

    def apply(self, actions: Sequence[Action]) -> None:
        raise AssertionError(f"nothing is to be done here: {actions[:3]}")


def _nothing(problem: Problem, budget: Budget) -> Plan:
    return Plan()


def written(log: Log, n_ended: int, n_live: int) -> int:
    """Write the history and return how many events it has."""
    epoch, n, batch = log.begin(), 0, list[Event]()
    for event in history(n_ended, n_live):
        batch.append(event)
        if len(batch) == APPEND:
            n = log.append(epoch, batch)
            batch = []
    return log.append(epoch, batch) if batch else n


def turn(n_ended: int, n_live: int) -> None:
    """Measure turns in which nothing new is to be planned."""
    log = MemoryLog()
    n = written(log, n_ended, n_live)
    cluster = Still(log)
    loop, planning_s = _started(log, cluster)
    cluster.show(loop)
    first_s, _ = _cpu(lambda: [loop.turn() for _ in range(3)])
    recorded = loop.state.version
    gc.collect()
    gc.freeze()
    taken = sorted(_cpu(loop.turn)[0] for _ in range(TURNS))
    gc.unfreeze()
    assert loop.state.version == recorded, "nothing was to be recorded"
    middle, n_retired = statistics.median(taken), len(loop.state.retired)
    ended = f"{n_ended:,} ended, {n_retired:,} of them retired"
    print(f"turn       {ended}, {n_live:,} live, {n:,} events; CPU ms of a turn without planning")
    print(f"           median {1e3 * middle:.1f}, worst {1e3 * taken[-1]:.1f} of {TURNS}{_goal(middle, TURN_GOAL_S)}")
    print(f"           the first three, which ask for a plan and adopt it: {1e3 * first_s:.0f} together")
    print(f"           fold of the log {planning_s:.1f} s, {1e6 * planning_s / n:.0f} us an event")


def _started(log: Log, cluster: Still) -> tuple[Loop, float]:
    loop = Loop(log, cluster, InlinePlanning(_nothing), keep=KEEP)
    seconds, _ = _cpu(loop.start)
    return loop, seconds


def recovery(n_ended: int, n_live: int) -> None:
    """Measure how long a new process takes to be back on SQLite, with the oldest snapshot there may be, and without."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'aios.db'}"
        log = SqlLog(url)
        n = written(log, n_ended, n_live)
        before = replay(itertools.islice(history(n_ended, n_live), max(1, n - EVERY)))
        cost_s, body = _cpu(lambda: folded.dumps(before, 0.0))
        log.save_snapshot(log.begin(), before.version, body)
        log.close()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(f"recovery   {n_ended:,} ended, {n_live:,} live, {n:,} events, {size / 1e6:.0f} MB; CPU s until it turns")
        for how in ("snapshot", "log"):
            found = subprocess.run(
                [sys.executable, "-m", "benchmarks.kernel", "--recover", url, how], capture_output=True, check=True
            )
            seconds, memory, live = json.loads(found.stdout)
            assert live == n_live
            what = f"from a snapshot {n - before.version:,} events old" if how == "snapshot" else "from the log alone"
            print(
                f"           {seconds:.1f} {what}{_goal(seconds, RECOVERY_GOAL_S)}; {memory:.0f} MiB in memory",
                flush=True,
            )
        print(f"           a snapshot: {cost_s:.1f} CPU s beside the turns, {len(body) / 1e6:.0f} MB")


def _recover(url: str, how: str) -> None:
    """Come back, and print what it took, the largest memory, and how much lives."""
    log = SqlLog(url)
    snapshots = Snapshots(folded.dumps, folded.loads, every=10**9) if how == "snapshot" else None
    loop = Loop(log, Still(MemoryLog()), InlinePlanning(_nothing), snapshots=snapshots, keep=KEEP)
    seconds, _ = _cpu(loop.start)
    assert snapshots is None or snapshots.sequence
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(loop.state.live)]))


def backlog(queues: int = QUEUES) -> SimReport:
    """Decide the backlog of Kueue's performance test in simulation, and return what became of it."""
    quota, borrows = Resources.parse({"CPU": NOMINAL}), tuple(Resources.parse({"CPU": BORROWS}).items())
    cohorts = [tenant(f"cohort{i}") for i in range(COHORTS)]
    tenants: list[Tenant] = [*cohorts]
    arrivals = []
    for i in range(queues):
        parent = TenantId(f"cohort{i % COHORTS}")
        tenants.append(tenant(f"queue{i:02}", parent=parent, quota=quota, borrow_limit=borrows))
        for kind, n, size, run_s, every_s, priority in CLASSES:
            for k in range(n):
                new = want(f"{kind}-{i:02}-{k}", cpu=size, tenant=f"queue{i:02}", priority=priority, estimate_s=run_s)
                arrivals.append(Arrival(round(k * every_s, 3), Submit((new,), f"{kind}-{i}-{k}")))
    nodes: list[Node] = [node(f"n{i:02}", cpu=NOMINAL) for i in range(queues)]
    policy = Policy(objective=Objective.WEIGHTED)
    pace = Pace(launch_s=0.0, save_every_s=3600.0, yield_s=0.1, saves_wake=False)
    return simulate(arrivals, nodes, tenants, _plan, pace=pace, solve_s=SOLVE_S, policy=policy)


def _plan(problem: Problem, budget: Budget) -> Plan:
    return ladder.plan(problem, budget, time.monotonic)


def _show_backlog(queues: int) -> None:
    seconds, report = _cpu(lambda: backlog(queues))
    ended = sum(row.status == "SUCCEEDED" for row in report.rows)
    print(f"backlog    {len(report.rows):,} workloads in {queues} queues and {COHORTS} cohorts, {ended:,} succeeded")
    print(f"           {seconds:.1f} CPU s{_goal(seconds, BACKLOG_GOAL_S)}")
    print(f"           {report.turns:,} turns, {report.plans:,} plans, {report.preemptions:,} preemptions")
    print(f"           {report.makespan_s:.0f} s of virtual time, {len(report.refused)} refused")


def _cpu(call: Callable[[], T]) -> tuple[float, T]:
    before = time.process_time()
    done = call()
    return time.process_time() - before, done


def _goal(measured: float, goal: float) -> str:
    how = "met" if measured < goal else "MISSED"
    return f" (goal {goal:g} s: {how})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ended", type=int, default=100_000)
    parser.add_argument("--live", type=int, default=5_000)
    parser.add_argument("--queues", type=int, default=QUEUES)
    parser.add_argument("--only", choices=("turn", "recovery", "backlog"), help="measure this alone")
    parser.add_argument("--recover", nargs=2, metavar=("URL", "HOW"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.recover:
        _recover(*args.recover)
        return 0
    parts: dict[str, Callable[[], None]] = {
        "turn": lambda: turn(args.ended, args.live),
        "recovery": lambda: recovery(args.ended, args.live),
        "backlog": lambda: _show_backlog(args.queues),
    }
    with silence():
        for name in (args.only,) if args.only else parts:
            parts[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
