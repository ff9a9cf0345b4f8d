"""``python -m tests.sim``: schedules of faults against the production loop on virtual time; ``make sim``."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import fields

from tests.sim.faults import Rates
from tests.sim.schedules import Tally, play_on
from tests.sim.world import World
from tests.support.silence import silence


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    parser.add_argument("--jobs", type=int, default=2, help="how many processes")
    parser.add_argument("--seed", type=int, help="replay this one schedule")
    parser.add_argument("--trace", action="store_true", help="print every event of the one that is replayed")
    args = parser.parse_args(argv)
    if args.seeds < 1 or args.jobs < 1:
        parser.error("--seeds and --jobs are at least 1")
    if args.trace and args.seed is None:
        parser.error("--trace needs --seed")
    return replay(args.seed, args.trace) if args.seed is not None else many(args.first, args.seeds, args.jobs)


def replay(seed: int, trace: bool) -> int:
    """Run one schedule again, event by event where that is asked for."""
    world, wrong = World(seed), ""
    with silence():
        try:
            world.run()
        except Exception as error:  # whatever breaks is a finding
            wrong = f"{type(error).__name__}: {error}"
    if trace:
        for number, event in enumerate(world.events(), start=1):
            print(f"{number:5d} {event}")
    print(f"seed {seed}: {len(world.events())} events, {world.turns} turns, {world.crashes} crashes", end=", ")
    print(f"{world.sim.now_s():.0f} virtual seconds; faults: {dict(sorted(world.faults.counts.items()))}")
    print(f"VIOLATION {wrong}" if wrong else "no violation")
    return 1 if wrong else 0


def many(first: int, n: int, n_jobs: int) -> int:
    """Run many schedules; each that is violated is printed at once with the command that replays it."""
    total, began_s, said = Tally(), time.monotonic(), 0
    for part in play_on(range(first, first + n), n_jobs):
        total.add(part)
        for seed, wrong in sorted(part.wrong.items()):
            print(f"VIOLATION {wrong}\n  replay: python -m tests.sim --seed {seed} --trace", flush=True)
        if total.n // 1000 > said:
            said = total.n // 1000
            print(f"{total.n} of {n} schedules, {len(total.wrong)} violated", flush=True)
    wall_s = time.monotonic() - began_s
    print(f"{total.n} schedules from seed {first} in {wall_s:.0f} s ({total.n / wall_s:.1f}/s on {n_jobs} processes)")
    print(f"{total.virtual_s / 3600:.0f} virtual hours, {total.n_turns} turns, {total.n_events} events,", end=" ")
    print(f"{total.n_crashes} crashes of the control plane")
    print(f"{total.n_faults} faults ({total.n_faults / total.n:.0f} a schedule):")
    for kind in [field.name for field in fields(Rates)]:
        print(f"  {kind:20} {total.faults[kind]:9d}")
    print("what people did:", end=" ")
    print(", ".join(f"{k.removeprefix('people: ')} {v}" for k, v in sorted(total.faults.items()) if ":" in k))
    print(f"violations: {len(total.wrong)}")
    return 1 if total.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
