"""Kills on real Ray under load, then a judgement of the log: ``python -m tests.chaos --kills 100``."""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.world import HOME, World  # first: it sets what Ray reads when it is imported

from aios.store.sql import SqlLog  # isort: skip
from tests.chaos import measure  # isort: skip
from tests.chaos.judge import wrong_in  # isort: skip
from tests.chaos.load import PAUSED, TENANTS, Load  # isort: skip

SAMPLE = 300
"""How many of the acknowledged workloads the living control plane is asked about, at the end."""


@dataclass(slots=True)
class Faults:
    """Does one fault after another to a world, as its seed says."""

    world: World
    choice: random.Random
    done: Counter[str] = field(default_factory=Counter)
    recovered_s: list[float] = field(default_factory=list)

    def plane(self) -> None:
        self.recovered_s.append(self.world.kill_plane())
        self.done["kill -9 of the control plane"] += 1

    def worker(self) -> bool:
        """Kill a process of an attempt, a supervisor or a worker; returns False where none runs."""
        living = self.world.living()
        if not living:
            return False
        one = self.choice.choice(living)
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGKILL)
            self.done[f"kill -9 of a {one.role}"] += 1
            return True
        return False

    def raylet(self) -> None:
        self.world.kill_node(self.choice.choice(sorted(self.world.nodes)))
        self.world.join()
        self.done["kill -9 of a raylet, and a node that joins"] += 1

    def gcs(self) -> None:
        self.world.kill_gcs(self.choice.choice((0.5, 5.0)))
        self.done["kill -9 of the GCS, and its restart"] += 1

    def freeze(self) -> None:
        """Stop a node for longer than anybody waits, and let it go on when its work is elsewhere."""
        frozen = self.world.freeze_node(self.choice.choice(sorted(self.world.nodes)))
        self.world.join()
        time.sleep(25.0)
        self.world.thaw(frozen)
        self.done["SIGSTOP of a node for 25 s, and SIGCONT"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills of the control plane")
    parser.add_argument("--worker-kills", type=int, default=25, help="kills of supervisors and workers")
    parser.add_argument("--raylet-kills", type=int, default=4)
    parser.add_argument("--gcs-kills", type=int, default=3)
    parser.add_argument("--freezes", type=int, default=2, help="nodes that are stopped for 25 s")
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--runs-every", type=int, default=60, help="one submission in so many runs")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--load-s", type=float, default=900.0, help="how long submissions may go on after the last fault"
    )
    parser.add_argument("--pause-s", type=float, default=2.0, help="between two faults, on average")
    parser.add_argument("--end-s", type=float, default=240.0, help="how long the rest may take after the last fault")
    parser.add_argument("--measure", type=int, metavar="N", help="measure recovery times N times each instead")
    args = parser.parse_args()
    world = World()
    try:
        if args.measure:
            return measure.report(world, args.measure)
        return chaos(world, args)
    finally:
        world.close()


def chaos(world: World, args: argparse.Namespace) -> int:
    began_s = time.monotonic()
    effects = HOME / "effects"
    with world.client() as client:
        client.apply_tenants(list(TENANTS))
        client.pause_tenant(PAUSED)
    load = Load(world.client, str(effects), args.seed, args.submissions, runs_every=args.runs_every)
    load.start(args.threads)
    faults = Faults(world, random.Random(args.seed))
    for fault in _order(faults, args):
        if fault is None:
            _until(faults.worker, 20.0)
        else:
            fault()
        time.sleep(faults.choice.uniform(0.0, 2 * args.pause_s))
    under_faults_s = time.monotonic() - began_s
    load.join(args.load_s)
    with world.client() as client:
        _until(lambda: not client.workloads(), args.end_s)
        told = load.ledger.acknowledged
        asked = faults.choice.sample(told, min(len(told), SAMPLE)) if told else []
        ends = {id: client.get(id).status for id in asked}
    log = SqlLog(world.settings.store_url, look=True)
    events = [event for _, event in log.read()]
    wrong = wrong_in(events, load.ledger.acknowledged, ends, effects, 1 + len(faults.recovered_s))
    wrong += [why for why in load.ledger.refused if "became" in why]
    wrong += _broken()
    _tell(args.seed, load, faults, len(events), under_faults_s, wrong)
    return 1 if wrong else 0


def _order(faults: Faults, args: argparse.Namespace) -> list[Callable[[], None] | None]:
    """Return all faults in an order that the seed gives; None: a process of some attempt."""
    order: list[Callable[[], None] | None] = [faults.plane] * args.kills + [None] * args.worker_kills
    order += [faults.raylet] * args.raylet_kills + [faults.gcs] * args.gcs_kills + [faults.freeze] * args.freezes
    faults.choice.shuffle(order)
    return order


def _until(look: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while not (seen := look()) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return seen


def _broken() -> list[str]:
    """Return what the control planes themselves found wrong."""
    found = []
    for path in sorted((HOME / "a" / "logs").rglob("*")):
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [line[:300] for line in lines if "invariant_broken" in line or "step_failed" in line]
    return found[:20]


def _tell(seed: int, load: Load, faults: Faults, n_events: int, under_s: float, wrong: list[str]) -> None:
    ledger = load.ledger
    print(f"seed {seed}: {len(ledger.acknowledged)} submissions acknowledged, {len(ledger.stopped)} of them stopped,")
    print(f"  {len(ledger.refused)} refused or given up, {n_events} events, {under_s:.0f} s under faults")
    for what, n in sorted(faults.done.items()):
        print(f"  {n:4d} x {what}")
    if faults.recovered_s:
        times = sorted(faults.recovered_s)
        p95 = times[min(len(times) - 1, int(0.95 * len(times)))]
        middle = statistics.median(times)
        print(f"  control plane back and acting: p50 {middle:.2f} s, p95 {p95:.2f} s, max {times[-1]:.2f} s")
    for why in ledger.refused[:5]:
        print(f"  refused: {why}")
    print(f"  broken promises: {len(wrong)}")
    for line in wrong[:40]:
        print(f"    {line}")
    if wrong:
        print(f"again: python -m tests.chaos --seed {seed}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
