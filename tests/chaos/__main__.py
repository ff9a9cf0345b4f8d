"""Kills on real Ray under load, then a judgement of the log: ``python -m tests.chaos --kills 100``."""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from tests.chaos.world import HOME, World  # first: it sets what Ray reads when it is imported

from aios.store.sql import SqlLog  # isort: skip
from tests.chaos import measure  # isort: skip
from tests.chaos.aims import Aim  # isort: skip
from tests.chaos.faults import Faults  # isort: skip
from tests.chaos.judge import wrong_in  # isort: skip
from tests.chaos.load import PAUSED, STEADY, TENANTS, Load  # isort: skip
from tests.chaos.service import Endpoint  # isort: skip

SAMPLE = 300
"""How many of the acknowledged workloads the living control plane is asked about, at the end."""
CATCH_UP_S = 10.0
"""How long a fault waits for the load to have sent what the faults before it let go."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills of the control plane")
    parser.add_argument("--worker-kills", type=int, default=25, help="kills of workers (two in three) and supervisors")
    parser.add_argument(
        "--replica-kills", type=int, default=5, help="kills of replicas of an endpoint; 0: there is none"
    )
    parser.add_argument("--raylet-kills", type=int, default=4)
    parser.add_argument("--gcs-kills", type=int, default=3)
    parser.add_argument("--freezes", type=int, default=2, help="nodes that are stopped for 25 s")
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--runs-every", type=int, default=60, help="one submission in so many runs")
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load-s", type=float, default=600.0, help="how long submissions may go on after all faults")
    parser.add_argument("--pause-s", type=float, default=1.0, help="between two faults, on average")
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
    with world.client() as client:
        # 1. Something that runs throughout, where replicas are to be killed.
        client.apply_tenants(list(TENANTS))
        client.pause_tenant(PAUSED)
        endpoint = Endpoint(client) if args.replica_kills else None
        if endpoint is not None:
            endpoint.start()
            endpoint.train(1)
        # 2. Faults under a load that lasts as long as they do.
        began_s = time.monotonic()
        load = Load(world.client, str(HOME / "effects"), args.seed, args.submissions, runs_every=args.runs_every)
        steady = [client.submit(load.steady(number)).workloads[0].id for number in range(STEADY)]
        load.start(args.threads)
        faults = Faults(world, random.Random(args.seed), Aim(world.settings.store_url))
        order = faults.order(
            args.kills, args.worker_kills, args.replica_kills, args.raylet_kills, args.gcs_kills, args.freezes
        )
        for idx, fault in enumerate(order):
            load.sent(CATCH_UP_S)
            load.let((idx + 1) / len(order))
            time.sleep(faults.choice.uniform(0.0, 2 * args.pause_s))
            faults.do(fault)
        under_faults_s = time.monotonic() - began_s
        # 3. What is left of the load, and its end.
        unsent = load.join(args.load_s)
        load_s = time.monotonic() - began_s
        for id in steady:
            client.stop(id)
        told = [*steady, *load.ledger.acknowledged, *(endpoint.end() if endpoint is not None else ())]
        _until(lambda: not client.workloads(), args.end_s)
        ends = {id: client.get(id).status for id in faults.choice.sample(told, min(len(told), SAMPLE))}
    # 4. The judgement.
    events = [event for _, event in SqlLog(world.settings.store_url, look=True).read()]
    wrong = wrong_in(events, told, ends, HOME / "effects", 1 + len(faults.recovered_s))
    wrong += load.ledger.doubled + _broken()
    short = len(order) - faults.done.total()
    _tell(load, faults, endpoint, wrong)
    print(f"  {len(events)} events; {under_faults_s:.0f} s under faults, {load_s:.0f} s until all was submitted")
    if unsent or short:
        print(f"  not done: {unsent} submissions were never sent, {short} faults found nobody to strike")
    if wrong:
        print(f"again: python -m tests.chaos --seed {args.seed}")
    sys.stdout.flush()
    return 1 if wrong or unsent or short else 0


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


def _tell(load: Load, faults: Faults, endpoint: Endpoint | None, wrong: Sequence[str]) -> None:
    ledger = load.ledger
    print(f"seed {load.seed}: {len(ledger.acknowledged)} submissions acknowledged, {len(ledger.refused)} refused")
    for what, n in sorted(ledger.done.items()):
        print(f"  {n:5d} {what}")
    for why in ledger.refused[:5]:
        print(f"  refused: {why}")
    for what, n in sorted(faults.done.items()):
        print(f"  {n:5d} x {what}")
    print("  struck at: " + ", ".join(f"{phase} {n}" for phase, n in sorted(faults.phases.items())))
    if endpoint is not None:
        failed = endpoint.codes.total() - endpoint.codes[200]
        print(f"  endpoint: {endpoint.codes[200]} requests answered, {failed} not {dict(endpoint.codes)}")
    _times("control plane back and acting", faults.recovered_s)
    _times("a submission answered, outages included", ledger.submit_s)
    print(f"  broken promises: {len(wrong)}")
    for line in wrong[:40]:
        print(f"    {line}")


def _times(what: str, found: Sequence[float]) -> None:
    if found:
        times = sorted(found)
        p95 = times[min(len(times) - 1, int(0.95 * len(times)))]
        print(f"  {what}: p50 {statistics.median(times):.2f} s, p95 {p95:.2f} s, max {times[-1]:.2f} s")


if __name__ == "__main__":
    sys.exit(main())
