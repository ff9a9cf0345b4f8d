"""What a plan of a large cluster costs and how good it is: ``python -m benchmarks.planner``.

Every figure is of the whole answer in this process: the view, the relaxation, the whole-number programme, decoding, the
judge, entitlements and the score. Seconds are CPU seconds. The gap is to the proven bound of the linear programme.
``greedy`` is the same gangs placed one after the other by worth per accelerator, with nobody displaced.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

from benchmarks.clusters import cluster
from benchmarks.turns import Turns
from placement.check import violations
from placement.model import Plan, Problem
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.pools import ByValue

BUDGET = Budget(wall_s=300.0)


@dataclass(frozen=True, slots=True)
class Suite:
    """One line of the table: a size, its seeds, and what is aimed at (CPU seconds at the 95th percentile, gap)."""

    nodes: int
    gangs: int
    seeds: int
    most_s: float
    most_gap: float


SCALE = (
    Suite(100, 200, 5, 0.5, 0.15),
    Suite(1_000, 1_000, 10, 0.5, 0.015),
    Suite(1_000, 5_000, 5, 1.5, 0.01),
    Suite(10_000, 10_000, 3, 3.0, 0.001),
    Suite(100_000, 100_000, 1, 60.0, 0.01),
)
QUICK = (Suite(100, 200, 2, 0.5, 0.15), Suite(1_000, 1_000, 2, 0.5, 0.015))
TURN_S = 0.150


@dataclass(frozen=True, slots=True)
class Line:
    """What one suite measured; times in CPU seconds, memory in MiB, gaps and gains as fractions."""

    suite: str
    seeds: int
    mean_s: float
    p95_s: float
    greedy_s: float
    gap_mean: float
    gap_worst: float
    over_greedy: float
    admitted: float
    displaced: float
    memory_mib: int
    aim: str
    met: bool


def main(arguments: Sequence[str]) -> int:
    """Run the suites asked for and print their tables; 1 where an aim is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planner", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes and few seeds")
    parser.add_argument("--only", choices=("scale", "incremental"), help="one part alone")
    parser.add_argument("--most-nodes", type=int, default=10**9, help="leave out larger clusters")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--plot", type=Path, help="also draw cost over size into this PNG file (needs matplotlib)")
    asked = parser.parse_args(arguments)
    lines: list[Line] = []
    if asked.only in (None, "scale"):
        print(HEAD)
        for suite in QUICK if asked.quick else SCALE:
            if suite.nodes <= asked.most_nodes:
                lines.append(scale(suite))
                print(row(lines[-1]), flush=True)
    if asked.only in (None, "incremental"):
        lines.append(incremental(1_000, 1_000, 5 if asked.quick else 40))
        print(row(lines[-1]) if asked.only is None else f"{HEAD}\n{row(lines[-1])}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")
    if asked.plot:
        plot(lines, asked.plot)
    return 0 if all(line.met for line in lines) else 1


HEAD = (
    "| nodes x gangs | seeds | CPU s mean | p95 | greedy s | gap mean | worst | over greedy | admitted | displaced "
    "| MiB | aim | met |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(line: Line) -> str:
    return (
        f"| {line.suite} | {line.seeds} | {line.mean_s:.3f} | {line.p95_s:.3f} | {line.greedy_s:.3f} "
        f"| {line.gap_mean:.3%} | {line.gap_worst:.3%} | {line.over_greedy:+.1%} | {line.admitted:.0f} "
        f"| {line.displaced:.0f} | {line.memory_mib} | {line.aim} | {'yes' if line.met else 'NO'} |"
    )


def timed(work: Callable[[], Plan]) -> tuple[float, Plan]:
    """Return CPU seconds and the plan; what building the question left to collect is not counted."""
    gc.collect()
    gc.freeze()
    began = process_time()
    plan = work()
    return process_time() - began, plan


def scale(suite: Suite) -> Line:
    """Ask about clusters of one size, each with another seed."""
    results = [asked(cluster(suite.nodes, suite.gangs, seed)) for seed in range(suite.seeds)]
    aim = f"{suite.most_s:g} s, {suite.most_gap:.1%}"
    return _line(f"{suite.nodes:,} x {suite.gangs:,}", results, aim, suite.most_s, suite.most_gap)


@dataclass(frozen=True, slots=True)
class Result:
    seconds: float
    greedy_s: float
    gap: float
    gain: float
    admitted: int
    displaced: int


def asked(problem: Problem, compares: bool = True) -> Result:
    """Ask the ladder one question; the judge has the last word on what is measured."""
    seconds, plan = timed(lambda: ladder.plan(problem, BUDGET))
    if plan.stats.planner != "pools" or violations(problem, plan):
        raise SystemExit(f"{plan.stats.planner} answered: {plan.stats.fallbacks}")
    greedy_s, gain = 0.0, 0.0
    if compares:
        greedy_s, greedy = timed(lambda: ByValue()(problem, BUDGET))
        gain = plan.stats.objective / greedy.stats.objective - 1 if greedy.stats.objective else 0.0
    changes = len(plan.preemptions) + sum(resize.to < resize.before for resize in plan.resizes)
    return Result(seconds, greedy_s, plan.stats.gap, gain, len(plan.grants), changes)


def incremental(n_nodes: int, n_gangs: int, n_turns: int) -> Line:
    """Ask again after 20 changes, turn after turn: ten ends and ten newcomers, the last plan carried out."""
    turns = Turns(cluster(n_nodes, n_gangs, 0))
    for _ in range(3):
        turns.next(ladder.plan(turns.problem, BUDGET))
    results = []
    for _ in range(n_turns):
        results.append(asked(turns.problem, compares=False))
        turns.next(ladder.plan(turns.problem, BUDGET))
    name = f"{n_nodes:,}, a turn of 20 changes ({len(turns.problem.pending)} wait)"
    return _line(name, results, f"{TURN_S:g} s", TURN_S, 1.0)


def _line(name: str, results: Sequence[Result], aim: str, most_s: float, most_gap: float) -> Line:
    seconds = sorted(result.seconds for result in results)
    p95 = seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]
    gaps = [result.gap for result in results]

    def mean(values: Sequence[float]) -> float:
        return statistics.fmean(values)

    return Line(
        name,
        len(results),
        mean(seconds),
        p95,
        mean([r.greedy_s for r in results]),
        mean(gaps),
        max(gaps),
        mean([r.gain for r in results]),
        mean([r.admitted for r in results]),
        mean([r.displaced for r in results]),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        aim,
        p95 <= most_s and mean(gaps) <= most_gap,
    )


def plot(lines: Sequence[Line], path: Path) -> None:
    """Draw CPU seconds over nodes, both logarithmic."""
    import matplotlib  # only drawing needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sized = [line for line in lines if " x " in line.suite]
    sizes = [int(line.suite.split(" x ")[0].replace(",", "")) for line in sized]
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    axes.loglog(sizes, [line.p95_s for line in sized], "o-", label="whole answer, 95th percentile")
    axes.loglog(sizes, [line.greedy_s for line in sized], "s--", label="greedy alone")
    for size, line in zip(sizes, sized, strict=True):
        axes.annotate(f"{line.suite}\ngap {line.gap_mean:.2%}", (size, line.p95_s), fontsize=7)
    axes.set_xlabel("nodes of 8 GPUs")
    axes.set_ylabel("CPU seconds")
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
