"""How good our policies are on traces, beside those of others: ``python -m benchmarks.quality --traces DIR``.

Every run is the production kernel on virtual time, as in ``aios simulate``: traces x loads x estimates x policies. Each
figure of ours stands against the best of the others on the same figure, which no single one of them reaches at once.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from aios.contenders import contender
from aios.replay import PACE, replay
from placement.baselines import BASELINES
from placement.model import total
from placement.sim.cluster import Cluster, short_cluster
from placement.sim.metrics import finish_time_fairness
from placement.throughput import units
from placement.traces.loads import at_load
from placement.traces.model import Trace
from placement.traces.prepare import fitting, sample, tenants
from placement.traces.readers import read

OURS = ("aios", "aios-weighted", "aios-goodput")
OTHERS = (
    "fifo",
    "easy",
    "conservative",
    "multifactor",
    "drf-reclaim",
    "las",
    "srtf",
    "sjf",
    "gavel-max-min",
    "gavel-ftf",
)
QUICK = ("aios-goodput", "easy", "drf-reclaim", "las", "srtf", "gavel-max-min")
LOADS = (0.6, 0.8, 1.0)
ESTIMATES = ("noisy", "exact")
UNFAIR = 1.05
BETTER = 0.20
"""By how much our mean completion time is to be shorter than that of FIFO with backfill and of DRF with reclaim."""
SLACK = 0.005
"""Part by which two figures may differ and count as the same."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A trace, how many of its jobs, and the cluster that they run on."""

    name: str
    files: str
    cluster: str
    n_jobs: int
    n_quick: int


SUITES = (
    Suite("philly", "philly/philly.csv.gz", "4xV100:8", 300, 150),
    Suite("gavel-msr", "gavel/msr/seed=0/*.trace.gz", "2xV100:8,2xP100:8,2xK80:8", 250, 100),
    Suite("gavel", "gavel/physical_cluster/max_min_fairness.trace", "2xV100:4,4xP100:4,6xK80:4", 96, 96),
    Suite("pollux", "pollux/workloads/workload-1.csv", "8xV100:4", 160, 80),
    Suite("tiresias", "tiresias/60_job.csv", "4xV100:4", 60, 60),
)
LONGEST_S = 86_400.0
"""Jobs that run longer alone are left out: one of them would outlast all others, and set every load by itself."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run: what, under which load, with which knowledge of run times, and who decides."""

    suite: str
    load: float
    estimates: str
    policy: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run came to: hours and seconds by name, shares 0..1."""

    jct_h: float
    jct_p99_h: float
    wait_h: float
    wait_p99_h: float
    makespan_h: float
    utilisation: float
    rho_worst: float
    rho_mean: float
    unfair: float
    jain: float
    preemptions: int
    wasted: float
    plans: int
    plan_mean_ms: float
    plan_max_ms: float
    cpu_s: float
    unfinished: int


MEASURES: Mapping[str, Callable[[Figures], float]] = {
    "mean JCT h": lambda f: f.jct_h,
    "p99 JCT h": lambda f: f.jct_p99_h,
    "mean wait h": lambda f: f.wait_h,
    "p99 wait h": lambda f: f.wait_p99_h,
    "makespan h": lambda f: f.makespan_h,
    "worst rho": lambda f: f.rho_worst,
    "mean rho": lambda f: f.rho_mean,
    "unfair %": lambda f: 100 * f.unfair,
}
"""What is the better the smaller it is."""


def prepared(folder: Path, suite: Suite, n_jobs: int, load: float, quotas: str) -> tuple[Trace, Cluster]:
    """Return the jobs of a suite at a load, drawn with one seed from all of the trace where it has more."""
    paths = sorted(folder.glob(suite.files))
    if not paths:
        raise SystemExit(f"{suite.name}: there is no {folder / suite.files}: give the folder that holds {suite.name}")
    parts = [read(path) for path in paths]
    jobs = sorted(
        (job for part in parts for job in part.jobs if job.runtime_s <= LONGEST_S),
        key=lambda job: (job.submitted_s, job.id),
    )
    cluster = short_cluster(suite.cluster)
    trace = fitting(replace(parts[0], jobs=tuple(jobs)), cluster.nodes)
    if len(trace.jobs) > n_jobs:
        trace = sample(trace, n_jobs, seed=0)
    if quotas != "none":
        cluster = replace(cluster, tenants=tenants(trace, cluster.nodes, by_work=quotas == "by-work"))
    return at_load(trace, cluster.nodes, load), cluster


def run(folder: Path, case: Case, quick: bool, restart_s: float, quotas: str, slice_s: float | None) -> Figures:
    """Run one case; ``slice_s`` is the time slice of ours that works in rounds, where it is not the usual one."""
    suite = next(suite for suite in SUITES if suite.name == case.suite)
    trace, cluster = prepared(folder, suite, suite.n_quick if quick else suite.n_jobs, case.load, quotas)
    began_s = time.process_time()
    done = replay(
        trace,
        cluster,
        contender(case.policy, cluster.policy, slice_s if case.policy in OURS else None),
        noisy=case.estimates == "noisy",
        pace=replace(PACE, restart_s=restart_s),
        clock=time.process_time,
    )
    cpu_s, m = time.process_time() - began_s, done.metrics
    size = units(total(node.resources for node in cluster.nodes))
    rhos = finish_time_fairness(done.history.records, size).values()
    return Figures(
        jct_h=(m.jct_mean_s or 0.0) / 3600,
        jct_p99_h=(m.jct_p99_s or 0.0) / 3600,
        wait_h=(m.wait_mean_s or 0.0) / 3600,
        wait_p99_h=(m.wait_p99_s or 0.0) / 3600,
        makespan_h=m.makespan_s / 3600,
        utilisation=m.utilisation,
        rho_worst=m.rho_worst or 0.0,
        rho_mean=m.rho_mean or 0.0,
        unfair=sum(rho > UNFAIR for rho in rhos) / max(1, len(rhos)),
        jain=m.jain or 0.0,
        preemptions=m.preemptions,
        wasted=m.wasted,
        plans=m.plans,
        plan_mean_ms=1e3 * (m.plan_mean_s or 0.0),
        plan_max_ms=1e3 * (m.plan_max_s or 0.0),
        cpu_s=cpu_s,
        unfinished=m.n_jobs - m.n_finished,
    )


Results = dict[Case, Figures]
HEAD = (
    f"{'policy':14s} {'JCT h':>7s} {'p99':>7s} {'wait h':>7s} {'p99':>7s} {'mksp h':>7s} {'util':>5s} {'rho':>6s}"
    f" {'mean':>5s} {'>1.05':>6s} {'Jain':>5s} {'preempt':>7s} {'waste':>6s} {'plan ms':>8s} {'max':>6s} {'CPU s':>6s}"
)


def row(policy: str, f: Figures) -> str:
    return (
        f"{policy:14s} {f.jct_h:7.2f} {f.jct_p99_h:7.1f} {f.wait_h:7.2f} {f.wait_p99_h:7.1f} {f.makespan_h:7.1f}"
        f" {f.utilisation:5.0%} {f.rho_worst:6.2f} {f.rho_mean:5.2f} {f.unfair:6.1%} {f.jain:5.3f} {f.preemptions:7d}"
        f" {f.wasted:6.2%} {f.plan_mean_ms:8.1f} {f.plan_max_ms:6.0f} {f.cpu_s:6.1f}"
        + (f"  {f.unfinished} never ended" if f.unfinished else "")
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal in one setting: ours against what it is held to."""

    goal: str
    ours: float
    held_to: float
    whose: str
    met: bool


def verdicts(rows: Mapping[str, Figures], mine: str) -> Iterator[Verdict]:
    """Yield the goals for one of our policies in one setting."""
    others = {name: figures for name, figures in rows.items() if name not in OURS}
    ours = rows[mine]
    for goal in ("mean JCT h", "p99 wait h", "worst rho"):
        of = MEASURES[goal]
        whose = min(others, key=lambda name: of(others[name]))
        best = of(others[whose])
        yield Verdict(goal, of(ours), best, whose, of(ours) <= best * (1 + SLACK) + 1e-9)
    for name in ("easy", "drf-reclaim"):
        if name in others:
            most = (1 - BETTER) * others[name].jct_h
            yield Verdict(f"mean JCT {BETTER:.0%} under {name}", ours.jct_h, most, name, ours.jct_h <= most)


def shown(results: Results, suite: str, load: float, estimates: str) -> Iterator[str]:
    """Yield the table of one setting, then what came of the goals."""
    rows = {c.policy: f for c, f in results.items() if (c.suite, c.load, c.estimates) == (suite, load, estimates)}
    yield f"\n{suite}, load {load:.0%}, {estimates} run times"
    yield HEAD
    yield from (row(policy, figures) for policy, figures in rows.items())
    mine = [name for name in OURS if name in rows]
    others = {name: figures for name, figures in rows.items() if name not in OURS}
    if not mine or not others:
        return
    for title, of in MEASURES.items():
        best = min(mine, key=lambda name: of(rows[name]))
        rival = min(others, key=lambda name: of(others[name]))
        yield f"  {title:12s} ours {of(rows[best]):7.2f} ({best}), others {of(others[rival]):7.2f} ({rival})"
    for name in mine:
        for v in verdicts(rows, name):
            part = v.ours / v.held_to - 1 if v.held_to else 0.0
            outcome = "pass" if v.met else "MISS"
            yield f"  {outcome} {name}: {v.goal}: {v.ours:.2f}, at most {v.held_to:.2f} ({v.whose}), {part:+.0%}"


def summary(results: Results) -> Iterator[str]:
    """Yield in how many settings each goal was met, by policy."""
    settings = list(dict.fromkeys((c.suite, c.load, c.estimates) for c in results))
    yield "\nGoals met, of all settings"
    for name in OURS:
        met: dict[str, list[bool]] = {}
        for setting in settings:
            rows = {c.policy: f for c, f in results.items() if (c.suite, c.load, c.estimates) == setting}
            if name in rows and any(policy not in OURS for policy in rows):
                for v in verdicts(rows, name):
                    met.setdefault(v.goal, []).append(v.met)
        if met:
            parts = "; ".join(f"{goal} {sum(each)}/{len(each)}" for goal, each in met.items())
            yield f"  {name}: {parts}"


def plot(results: Results, folder: Path) -> None:
    """Write a picture for each trace: mean completion time and worst rho by load, with noisy run times."""
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for suite in dict.fromkeys(case.suite for case in results):
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        for axis, (title, of) in zip(axes, list(MEASURES.items())[::5], strict=False):
            for policy in dict.fromkeys(case.policy for case in results):
                mine = {c.load: f for c, f in results.items() if (c.suite, c.policy) == (suite, policy)}
                loads = sorted(mine)
                style = {"lw": 2.5} if policy in OURS else {"lw": 1, "ls": "--"}
                axis.plot([100 * x for x in loads], [of(mine[x]) for x in loads], label=policy, marker=".", **style)
            axis.set(xlabel="load %", ylabel=title, yscale="log", title=suite)
        axes[1].legend(fontsize=6, ncols=2)
        figure.savefig(folder / f"quality-{suite}.png", dpi=70)
        plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--traces", type=Path, required=True, help="folder with philly/, gavel/, pollux/ and tiresias/")
    parser.add_argument("--quick", action="store_true", help="fewer jobs and policies, one load, noisy run times")
    parser.add_argument("--only", default="", help=f"some of {', '.join(suite.name for suite in SUITES)}")
    parser.add_argument("--policies", default="", help="default: ours and those of others")
    parser.add_argument("--loads", default="", help="per cent, default 60,80,100")
    parser.add_argument("--estimates", default="", help="noisy, exact; default: both")
    parser.add_argument("--quotas", choices=("none", "equal", "by-work"), default="none", help="of the trace's tenants")
    parser.add_argument("--restart", type=float, default=PACE.restart_s, help="seconds that going on takes")
    parser.add_argument("--slice", type=float, default=None, help="seconds of our own rounds")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, default=None, help="write pictures to this folder")
    options = parser.parse_args(argv)
    names = [name for name in options.only.split(",") if name] or [suite.name for suite in SUITES]
    unknown = sorted(set(names) - {suite.name for suite in SUITES})
    if unknown:
        parser.error(f"there is no trace {unknown[0]!r}: choose of {', '.join(suite.name for suite in SUITES)}")
    everyone = QUICK if options.quick else (*OURS, *(name for name in OTHERS if name in BASELINES))
    policies = [name for name in options.policies.split(",") if name] or list(everyone)
    loads = [float(x) / 100 for x in options.loads.split(",") if x] or list(LOADS[1:2] if options.quick else LOADS)
    kinds = [x for x in options.estimates.split(",") if x] or list(ESTIMATES[:1] if options.quick else ESTIMATES)
    cases = [Case(s, load, kind, policy) for s in names for load in loads for kind in kinds for policy in policies]
    results: Results = {}
    arguments = (options.quick, options.restart, options.quotas, options.slice)
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(run, options.traces, case, *arguments) for case in cases]
        for case, future in zip(cases, futures, strict=True):
            results[case] = future.result()
            if case.policy == policies[-1]:
                print("\n".join(shown(results, case.suite, case.load, case.estimates)), flush=True)
    print("\n".join(summary(results)))
    print(f"{len(results)} runs, {sum(f.cpu_s for f in results.values()):.0f} CPU s")
    if options.json is not None:
        rows = [{**asdict(case), **asdict(figures)} for case, figures in results.items()]
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.plot is not None:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
