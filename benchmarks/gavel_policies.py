"""Gavel's policies on its own rounds: first come first served, isolated, max-min, finish-time fairness, makespan."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gavel_rounds import GPUS, TYPES, Fractions, Job, Mechanism, Rounds
from placement.planners.goodput.fractions import equal_finish, largest_least

CAPACITY = [float(GPUS[kind]) for kind in TYPES]


def fifo_perf(now_s: float, jobs: Sequence[Job]) -> list[list[float]]:
    """Return the fastest type that is free for each job in order of arrival, until one does not fit."""
    free, out = dict(GPUS), [[0.0] * len(TYPES) for _ in jobs]
    for job, row in zip(jobs, out, strict=True):
        able = [kind for kind, name in enumerate(TYPES) if free[name] >= job.gpus]
        if not able:
            break
        best = max(able, key=lambda kind: job.rates[kind])
        if job.rates[best] > 0:
            row[best] = 1.0
            free[TYPES[best]] -= job.gpus
    return out


def isolated(now_s: float, jobs: Sequence[Job]) -> list[list[float]]:
    """Return 1/n of the cluster for each of n jobs."""
    out = []
    for job in jobs:
        row = [GPUS[kind] / len(jobs) / job.gpus for kind in TYPES]
        out.append([x / max(1.0, sum(row)) for x in row])
    return out


def max_min(now_s: float, jobs: Sequence[Job]) -> list[list[float]]:
    """Return Gavel's max-min fairness: the least normalised throughput per GPU is the largest (section 4.1)."""
    scale = [job.gpus / job.mix_rate for job in jobs]
    return largest_least([job.rates for job in jobs], [job.gpus for job in jobs], CAPACITY, scale)


def makespan(now_s: float, jobs: Sequence[Job]) -> list[list[float]]:
    """Return the fractions by which all known jobs end soonest (section 4.2)."""
    scale = [1.0 / job.left for job in jobs]
    return largest_least([job.rates for job in jobs], [job.gpus for job in jobs], CAPACITY, scale)


class FinishTimeFairness:
    """Themis's objective in Gavel's form: the worst ratio of shared to isolated finish time is the smallest."""

    def __init__(self) -> None:
        self.alone_s: dict[int, float] = {}
        self.before: dict[int, tuple[float, float]] = {}

    def __call__(self, now_s: float, jobs: Sequence[Job]) -> list[list[float]]:
        ages, lefts, alone = [], [], []
        for job, row in zip(jobs, isolated(now_s, jobs), strict=True):
            rate = sum(x * r for x, r in zip(row, job.rates, strict=True))
            left, old_rate = self.before.get(job.idx, (job.left, rate))
            self.alone_s[job.idx] = self.alone_s.get(job.idx, 0.0) + (left - job.left) / old_rate
            self.before[job.idx] = (job.left, rate)
            ages.append(now_s - job.arrival_s)
            lefts.append(job.left)
            alone.append(self.alone_s[job.idx] + job.left / rate)
        rates, gpus = [job.rates for job in jobs], [job.gpus for job in jobs]
        return equal_finish(rates, gpus, CAPACITY, ages, lefts, alone)


def baselines() -> dict[str, tuple[Rounds, dict[str, tuple[float, ...]]]]:
    """Return each policy anew, with what its authors' simulator gave: (mean JCT h, makespan h, worst rho) by trace."""

    def rounds(policy: Fractions, only_allotted: bool = False) -> Rounds:
        return Mechanism(policy, only_allotted)

    return {
        "fifo_perf": (rounds(fifo_perf, True), {"continuous": (5.42, 20.1, 1.91), "static": (11.2, 25.2, 5.95)}),
        "isolated": (rounds(isolated), {"continuous": (5.52, 21.7, 1.25), "static": (10.4, 23.0, 3.81)}),
        "max_min_fairness": (rounds(max_min), {"continuous": (4.06, 17.8, 1.35), "static": (9.91, 19.0, 2.64)}),
        "finish_time_fairness": (
            rounds(FinishTimeFairness()),
            {"continuous": (4.17, 18.0, 1.11), "static": (10.1, 19.6, 2.75)},
        ),
        "min_total_duration": (rounds(makespan), {"continuous": (6.38, 17.1, 26.1), "static": (17.7, 18.0, 7.68)}),
    }
