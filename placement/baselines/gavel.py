"""Gavel's policies and Themis's objective in Gavel's form: time fractions by a linear programme, kept by rounds.

References
----------
Narayanan et al., Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning Workloads, OSDI 2020: max-min
fairness (section 4.1), makespan and finish-time fairness (section 4.2), and the round mechanism (section 5).
Mahajan et al., Themis: Fair and Efficient GPU Cluster Scheduling, NSDI 2020: finish-time fairness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from placement.model import Plan, Problem, SolveStats
from placement.planners.base import Budget
from placement.planners.goodput.fractions import equal_finish, largest_least
from placement.planners.goodput.options import Job, Option, Pools, Row, jobs_of
from placement.planners.goodput.seating import Seating
from placement.planners.goodput.worth import Worth, left_s, mix_rate
from placement.planners.tree import Tree

ROUND_S = 360.0
NEW = 1e9
"""Priority of a fraction of which nothing was received yet, as in Gavel's mechanism."""

Table = list[list[float]]


class Allotment:
    """What a policy chooses from: each job's best option in each pool, its size there, and what it has had."""

    def __init__(self, problem: Problem, pools: Pools, jobs: Sequence[Job]) -> None:
        self.problem, self.jobs, self.names = problem, jobs, list(pools.rooms)
        self.capacity = pools.capacity()
        self.options: list[list[int | None]] = [[_best(job, pool) for pool in self.names] for job in jobs]
        self.rates = [
            [0.0 if at is None else job.options[at].rate for at in row]
            for job, row in zip(jobs, self.options, strict=True)
        ]
        scarce = "GPU" if any(name == "GPU" and amount for (_, name), amount in self.capacity.items()) else "CPU"
        self.rooms = [self.capacity.get((name, scarce), 0) / 1000 for name in self.names]
        self.sizes = [max(_amount(option, scarce) for option in job.options) for job in jobs]
        self.lefts = [max(1.0, left_s(problem, job, ROUND_S)) for job in jobs]
        self.mixes = [max(1e-9, mix_rate(job, self.capacity)) for job in jobs]
        self.ages = [max(0.0, problem.now_s - job.demand.submitted_s) for job in jobs]


def _amount(option: Option, scarce: str) -> float:
    return sum(amount for (_, name), amount in option.use if name == scarce) / 1000


def _best(job: Job, pool: str) -> int | None:
    found = [at for at, option in enumerate(job.options) if option.pool == pool]
    return max(found, key=lambda at: job.options[at].rate, default=None)


def max_min(a: Allotment) -> Table:
    """Return the fractions by which the least normalised throughput is the largest; wide gangs count as wide."""
    scale = [max(size, 1e-3) / mix for size, mix in zip(a.sizes, a.mixes, strict=True)]
    return largest_least(a.rates, a.sizes, a.rooms, scale)


def finish_time(a: Allotment) -> Table:
    """Return the fractions by which the worst ratio of shared to isolated finish time is the smallest."""
    n = max(1, len(a.jobs))
    alone = []
    for job, left, mix, size in zip(a.jobs, a.lefts, a.mixes, a.sizes, strict=True):
        slowdown = max(1.0, n * size / max(1e-3, sum(a.rooms)))
        alone.append((job.demand.served_s + left) / mix * slowdown)
    return equal_finish(a.rates, a.sizes, a.rooms, a.ages, a.lefts, alone)


def makespan(a: Allotment) -> Table:
    """Return the fractions by which all that is known ends soonest."""
    return largest_least(a.rates, a.sizes, a.rooms, [1.0 / left for left in a.lefts])


class InRounds:
    """A policy of time fractions with Gavel's rounds: who has had the least of what is due goes first.

    What a job has had of a pool is not known apart, so the time that it had in all is set against each fraction.
    Gangs that no single pool holds run where they fit.
    """

    time_slice_s = ROUND_S

    def __init__(self, name: str, policy: Callable[[Allotment], Table]) -> None:
        self.name, self.policy = name, policy

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        tree = Tree(problem)
        pools = Pools(problem, tree)
        jobs = jobs_of(problem, pools)
        able = [job for job in jobs if job.options]
        allotment = Allotment(problem, pools, able)
        fractions = self.policy(allotment) if able else []
        order = sorted(_claims(allotment, fractions), key=lambda claim: (-claim[0], claim[1:]))
        first: dict[int, float] = {}
        for priority, idx, _ in order:
            first.setdefault(idx, priority)
        ranks = [Worth(allotment.lefts[idx], first.get(idx, 0.0), ()) for idx in range(len(able))]
        seating = Seating(problem, tree, pools, able, ranks)
        seating.seat(_fitting(able, allotment, order), range(len(able)))
        seating.fill(sorted(range(len(able)), key=lambda idx: (-ranks[idx].weight, idx)))
        return seating.plan(problem, SolveStats(planner=self.name, status="feasible"))


def _claims(a: Allotment, fractions: Table) -> list[tuple[float, int, int]]:
    """Return (priority, job, option) for every fraction that can be taken now."""
    out: list[tuple[float, int, int]] = []
    for idx, (job, row) in enumerate(zip(a.jobs, fractions, strict=True)):
        had_s = a.problem.now_s - job.running.started_s if job.running is not None else 0.0
        had = (job.demand.served_s + had_s) / max(ROUND_S, a.ages[idx])
        for at, share in zip(a.options[idx], row, strict=True):
            if at is not None and at < job.n_now and share > 0:
                out.append((share / had if had > 0 else share * NEW, idx, at))
    return out


def _fitting(jobs: Sequence[Job], a: Allotment, order: Sequence[tuple[float, int, int]]) -> dict[int, int]:
    """Return what fits together in the order of priority; work that can't be stopped now comes first."""
    free: dict[Row, int] = dict(a.capacity)
    chosen: dict[int, int] = {}

    def take(idx: int, at: int, option: Option) -> None:
        chosen[idx] = at
        for row, amount in option.use:
            free[row] = free.get(row, 0) - amount

    for idx, job in enumerate(jobs):
        if job.must_run:
            take(idx, 0, job.options[0])
    for _, idx, at in order:
        option = jobs[idx].options[at]
        if idx not in chosen and all(amount <= free.get(row, 0) for row, amount in option.use):
            take(idx, at, option)
    return chosen


def policies() -> tuple[tuple[InRounds, str], ...]:
    """Return the policies with a sentence each."""
    return (
        (InRounds("gavel-max-min", max_min), "Max-min fair time fractions over accelerator types in rounds (Gavel)."),
        (InRounds("gavel-ftf", finish_time), "The worst finish-time fairness is the smallest (Themis, as in Gavel)."),
        (InRounds("gavel-makespan", makespan), "All that is known ends soonest (Gavel's minimum makespan)."),
    )
