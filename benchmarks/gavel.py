"""The goodput planner in Gavel's setting, beside Gavel's own policies: ``python -m benchmarks.gavel --traces DIR``.

8 V100, 16 P100 and 24 K80 GPUs, rounds of 360 s, the traces of its physical cluster. ``published`` is what the authors'
simulator gave for the same policy: how near this one comes to it says how far it can be trusted. In Gavel's rounds
every job may move at every round at no cost, so the planner is asked with all jobs pending.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from math import exp
from pathlib import Path

import numpy as np

from benchmarks.gavel_policies import baselines
from benchmarks.gavel_rounds import GPUS, ROUND_S, TRACES, TYPES, Assignment, Job, Measured, measured, read, simulate
from placement.check import violations
from placement.model import (
    ACCELERATOR_KEY,
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    Objective,
    Policy,
    Problem,
    Resources,
    Tenant,
    TenantId,
)
from placement.planners.base import Budget
from placement.planners.goodput import Goodput

GOALS = "goals: mean JCT < 3.9 h and worst rho < 1.1 (continuous), makespan < 18.5 h (static)"
NODES = tuple(
    Node(NodeId(f"{kind}-{i}"), Resources.parse({"GPU": 1}), ((ACCELERATOR_KEY, kind),))
    for kind in TYPES
    for i in range(GPUS[kind])
)
POLICY = Policy(objective=Objective.GOODPUT, time_slice_s=ROUND_S)
ERROR = 0.3
"""Standard deviation of the logarithm of an estimate that knows nothing of the job's progress yet."""


class Ours:
    """Asks the goodput planner at each round; every answer goes before the judge.

    ``seed``: estimates of what is left are wrong by a log-normal factor that shrinks as the job progresses; None: they
    are exact.
    """

    def __init__(self, jobs: Sequence[Job], seed: int | None = None) -> None:
        errors = np.random.default_rng(seed).normal(0.0, ERROR, len(jobs)) if seed is not None else np.zeros(len(jobs))
        self.errors = [float(error) for error in errors]
        self.plan, self.cpu_s, self.worst_s, self.n_plans = Goodput(), 0.0, 0.0, 0

    def __call__(self, now_s: float, jobs: Sequence[Job]) -> Assignment:
        tenant = TenantId("all")
        pending = tuple(self._demand(job, tenant) for job in jobs)
        problem = Problem(NODES, (Tenant(tenant),), pending=pending, now_s=now_s, policy=POLICY)
        began_s = time.process_time()
        plan = self.plan(problem, Budget())
        took_s = time.process_time() - began_s
        self.cpu_s, self.worst_s, self.n_plans = self.cpu_s + took_s, max(self.worst_s, took_s), self.n_plans + 1
        assert not violations(problem, plan), violations(problem, plan)
        kinds = {grant.demand: {node.rsplit("-", 1)[0] for node in grant.nodes} for grant in plan.grants}
        assert all(len(kind) == 1 for kind in kinds.values()), "a gang is spread over types"
        return {int(name): TYPES.index(next(iter(kind))) for name, kind in kinds.items()}

    def _demand(self, job: Job, tenant: TenantId) -> Demand:
        reference = job.rates[0]
        done = (job.n_steps - job.left) / job.n_steps
        left_s = job.left / reference * exp(self.errors[job.idx] * (1.0 - done))
        return Demand(
            DemandId(str(job.idx)),
            tenant,
            (Bundle(Resources.parse({"GPU": 1})),) * job.gpus,
            submitted_s=job.arrival_s,
            runtime_s=left_s,
            speed=tuple((kind, rate / reference) for kind, rate in zip(TYPES, job.rates, strict=True)),
            served_s=(job.n_steps - job.left) / reference,
        )


def row(name: str, figures: dict[str, Measured], note: str) -> str:
    values = [(m.jct_h, m.p99_h, m.makespan_h, m.worst_rho, 100 * m.unfair, m.worst_rho_now) for m in figures.values()]
    cells = ["{:6.2f} {:6.1f} {:6.2f} {:6.2f} {:5.1f} {:6.2f}".format(*each) for each in values]
    return f"{name:24s} | {' | '.join(cells)} | {note}"


def run(folder: Path, decider: Callable[[str, list[Job]], Callable[..., Assignment]]) -> dict[str, Measured]:
    """Return the figures on every trace."""
    out: dict[str, Measured] = {}
    for title, trace in TRACES.items():
        jobs = read(folder, trace)
        simulate(jobs, decider(title, jobs))
        out[title] = measured(jobs)
    return out


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gavel", description=__doc__)
    parser.add_argument("--traces", type=Path, required=True, help="folder with Gavel's tables and physical_cluster/")
    parser.add_argument("--noisy", type=int, default=3, help="runs with wrong estimates, each with its own seed")
    parser.add_argument("--ours", action="store_true", help="leave Gavel's policies out")
    options = parser.parse_args(argv)
    titles = " | ".join(f"{title:^40s}" for title in TRACES)
    print(f"{'':24s} | {titles} |")
    print(f"{'policy':24s} | {' | '.join(['JCT h  p99 h  makesp worst  unf.%  rho now'] * len(TRACES))} | ")
    for name in [] if options.ours else baselines():
        figures = run(options.traces, lambda title, jobs, name=name: baselines()[name][0])  # type: ignore[misc]
        published = baselines()[name][1]
        said = "; ".join("JCT {:g}, makespan {:g}, rho {:g}".format(*published[title]) for title in TRACES)
        print(row(name, figures, f"published: {said}"), flush=True)
    for seed in [None, *range(options.noisy)]:
        ours: list[Ours] = []

        def decider(title: str, jobs: list[Job], seed: int | None = seed, ours: list[Ours] = ours) -> Ours:
            ours.append(Ours(jobs, seed))
            return ours[-1]

        figures = run(options.traces, decider)
        n_plans = sum(each.n_plans for each in ours)
        cost = f"{1e3 * sum(e.cpu_s for e in ours) / n_plans:.0f} ms, worst {1e3 * max(e.worst_s for e in ours):.0f} ms"
        title = "goodput" if seed is None else f"goodput, {ERROR:.0%} error, {seed}"
        print(row(title, figures, f"{n_plans} plans, CPU {cost}"), flush=True)
    print(GOALS)


if __name__ == "__main__":
    main()
