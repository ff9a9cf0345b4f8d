"""Gavel's simulated rounds: its traces, its throughput table, its round mechanism and what a run comes to.

Written after the simulator that the authors of "Heterogeneity-Aware Cluster Scheduling Policies for Deep Learning
Workloads" (OSDI 2020) published (``scheduler/scheduler.py``), and kept to its rules: rounds of 360 s that all end
together, whole steps per round, new time fractions at the earliest 1,920 s after the last ones and only where jobs came
or went, servers of one GPU, no cost of switching, no space sharing.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

TYPES = ("v100", "p100", "k80")
GPUS: Mapping[str, int] = {"v100": 8, "p100": 16, "k80": 24}
N_GPUS = sum(GPUS.values())
ROUND_S = 360.0
RESET_S = 1920.0
TRACES = {"continuous": "max_min_fairness", "static": "minimize_makespan"}


@dataclass(slots=True)
class Job:
    """A job of the trace and how far it is; ``rates`` in steps/s for each of ``TYPES`` (0: it can't run there)."""

    idx: int
    arrival_s: float
    n_steps: float
    gpus: int
    rates: tuple[float, ...]
    left: float = 0.0
    finished_s: float = float("inf")
    deficits: list[float] = field(default_factory=lambda: [0.0] * len(TYPES))
    had_s: list[float] = field(default_factory=lambda: [ROUND_S / 2] * len(TYPES))

    @property
    def mix_rate(self) -> float:
        """Return its rate on the cluster's mix of types."""
        return sum(rate * GPUS[kind] for rate, kind in zip(self.rates, TYPES, strict=True)) / N_GPUS


Assignment = dict[int, int]
"""Job's idx to the type it works on in the next round."""
Rounds = Callable[[float, Sequence[Job]], Assignment]
"""Decides each round anew."""
Fractions = Callable[[float, Sequence[Job]], Sequence[Sequence[float]]]
"""Decides time fractions x[job, type], which the round mechanism follows."""


def read(folder: Path, trace: str) -> list[Job]:
    """Return the jobs of a trace under ``folder/physical_cluster``, with their rates."""
    with gzip.open(folder / "simulation_throughputs.json.gz", "rt") as file:
        table = json.load(file)
    jobs: list[Job] = []
    for line in (folder / "physical_cluster" / f"{trace}.trace").read_text().splitlines():
        kind, _, _, _, _, steps, gpus, _, _, arrival_s = line.split("\t")
        rates = tuple(float(table[t][f"('{kind}', {int(gpus)})"]["null"]) for t in TYPES)
        jobs.append(Job(len(jobs), float(arrival_s), float(steps), int(gpus), rates, left=float(steps)))
    return jobs


class Mechanism:
    """Gavel's rounds (section 5): per type, jobs by the fraction that is due over the fraction that they had."""

    def __init__(self, policy: Fractions, only_allotted: bool = False) -> None:
        self.policy, self.only_allotted = policy, only_allotted
        self.x: dict[int, Sequence[float]] = {}
        self.known: set[int] = set()
        self.reset_s: float | None = None
        self.total_s = [0.0] * len(TYPES)

    def __call__(self, now_s: float, jobs: Sequence[Job]) -> Assignment:
        known = {job.idx for job in jobs}
        due = self.reset_s is None or self.reset_s == 0 or now_s - self.reset_s >= RESET_S
        if known != self.known and due:
            self._reset(now_s, jobs)
            self.known = known
        free, chosen = dict(GPUS), Assignment()
        for kind, name in enumerate(TYPES):
            for job in sorted(jobs, key=lambda job: self._rank(job, kind), reverse=True):
                idle = self.only_allotted and self._priority(job, kind) <= 0
                if not idle and job.idx not in chosen and job.rates[kind] > 0 and job.gpus <= free[name]:
                    chosen[job.idx] = kind
                    free[name] -= job.gpus
        return chosen

    def note(self, job: Job, kind: int, ran_s: float) -> None:
        job.had_s[kind] += ran_s
        self.total_s[kind] += ran_s

    def _reset(self, now_s: float, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for kind in range(len(TYPES)):
                if job.idx in self.x and self.reset_s is not None:
                    due_s = self.x[job.idx][kind] * (now_s - self.reset_s)
                    job.deficits[kind] += due_s - (job.had_s[kind] - ROUND_S / 2)
                job.had_s[kind] = ROUND_S / 2
        self.total_s = [len(jobs) * ROUND_S / 2] * len(TYPES)
        self.reset_s = now_s
        fractions = self.policy(now_s, jobs)
        self.x = {job.idx: [min(1.0, max(0.0, x)) for x in row] for job, row in zip(jobs, fractions, strict=True)}

    def _priority(self, job: Job, kind: int) -> float:
        share = self.x[job.idx][kind] if job.idx in self.x else 0.0
        had = job.had_s[kind] / self.total_s[kind] if self.total_s[kind] else 0.0
        return share / had if had else share * 1e9

    def _rank(self, job: Job, kind: int) -> tuple[float, float, float]:
        share = self.x[job.idx][kind] if job.idx in self.x else 0.0
        return self._priority(job, kind), job.deficits[kind], share


def simulate(jobs: list[Job], decide: Rounds) -> None:
    """Run the jobs to their end, round by round."""
    now_s, coming, active = jobs[0].arrival_s, list(jobs), list[Job]()
    while coming or active:
        while coming and coming[0].arrival_s <= now_s:
            active.append(coming.pop(0))
        if not active:
            now_s = coming[0].arrival_s
            continue
        ends_s = [_work(job, kind, now_s, decide) for job, kind in _working(active, decide(now_s, active))]
        active = [job for job in active if job.left > 0]
        now_s = max(ends_s, default=now_s + ROUND_S)


def _working(active: Sequence[Job], chosen: Assignment) -> list[tuple[Job, int]]:
    used = [0] * len(TYPES)
    for job in active:
        if job.idx in chosen:
            used[chosen[job.idx]] += job.gpus
    assert all(n <= GPUS[kind] for n, kind in zip(used, TYPES, strict=True)), "more GPUs given than there are"
    return [(job, chosen[job.idx]) for job in active if job.idx in chosen]


def _work(job: Job, kind: int, now_s: float, decide: Rounds) -> float:
    steps = min(float(int(job.rates[kind] * ROUND_S)), job.left)
    ran_s = steps / job.rates[kind]
    job.left -= steps
    if job.left <= 0:
        job.finished_s = now_s + ran_s
    if isinstance(decide, Mechanism):
        decide.note(job, kind, ran_s)
    return now_s + ran_s


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run came to; hours, and rho by two definitions.

    ``worst_rho``: completion time over (run time on the mix of types x jobs of the trace / GPUs), the definition by
    which Gavel's policies are compared here. ``worst_rho_now``: with the jobs that were there meanwhile, on average.
    """

    jct_h: float
    p99_h: float
    makespan_h: float
    worst_rho: float
    unfair: float
    worst_rho_now: float


def measured(jobs: Sequence[Job]) -> Measured:
    """Return the figures of a finished run."""
    jcts_s = sorted(job.finished_s - job.arrival_s for job in jobs)
    crowd = max(1.0, len(jobs) / N_GPUS)
    rhos = [(job.finished_s - job.arrival_s) / (job.n_steps / job.mix_rate * crowd) for job in jobs]
    return Measured(
        jct_h=fmean(jcts_s) / 3600,
        p99_h=jcts_s[min(len(jcts_s) - 1, int(0.99 * len(jcts_s)))] / 3600,
        makespan_h=max(job.finished_s for job in jobs) / 3600,
        worst_rho=max(rhos),
        unfair=sum(rho > 1.05 for rho in rhos) / len(rhos),
        worst_rho_now=max(rho * crowd / max(1.0, _crowd(jobs, job)) for rho, job in zip(rhos, jobs, strict=True)),
    )


def _crowd(jobs: Sequence[Job], mine: Job) -> float:
    """Return the mean number of jobs per GPU over a job's life."""
    overlaps = (min(o.finished_s, mine.finished_s) - max(o.arrival_s, mine.arrival_s) for o in jobs)
    return sum(max(0.0, s) for s in overlaps) / (mine.finished_s - mine.arrival_s) / N_GPUS
