"""What a round of work is worth to each job: the shorter what is left and the less fair its fate, the more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from placement.model import Problem
from placement.planners.goodput.constants import LEAST_LEFT_S, OVERRUN, RESTART_S, SHORTNESS, UNFAIRNESS, WIDTH
from placement.planners.goodput.options import Job, Row, dominant


@dataclass(frozen=True, slots=True)
class Worth:
    """A job in the programme's terms.

    Attributes
    ----------
    left_s : float
        Work that is left, in seconds of the first form at speed 1.
    weight : float
        Worth of a whole round at the job's best rate: 1 for what a round finishes and is treated fairly.
    values : tuple of float
        Worth of a round in each option.
    """

    left_s: float
    weight: float
    values: tuple[float, ...]


def worths(problem: Problem, jobs: Sequence[Job], capacity: Mapping[Row, int], round_s: float) -> list[Worth]:
    """Return each job's worth.

    ``weight = (1 / left on the mix of pools) ** SHORTNESS * max(1, rho) ** UNFAIRNESS * size ** WIDTH``, times the
    tenant's weight. The size is in places of the median job. rho is the projected finish-time fairness (Themis,
    NSDI'20): the time from submission to the end if the job ran from now on the mix of pools, over the time that it
    would take with its part of the cluster.
    """
    tenants = {tenant.id: tenant.weight for tenant in problem.tenants}
    lefts = [left_s(problem, job, round_s) for job in jobs]
    mixes = [mix_rate(job, capacity) for job in jobs]
    places = [_places(job, capacity) if job.options else 1.0 for job in jobs]
    usual = median(places) if places else 1.0
    crowd = crowding(jobs, capacity)
    weights: list[float] = []
    for job, left, mix, room in zip(jobs, lefts, mixes, places, strict=True):
        if not job.options or mix <= 0:
            weights.append(0.0)
            continue
        served = job.demand.served_s + _worked_s(problem, job)
        alone_s = (served + left) / mix * crowd
        rho = (max(0.0, problem.now_s - job.demand.submitted_s) + left / mix) / alone_s
        weight = (round_s / max(left / mix, round_s)) ** SHORTNESS * max(1.0, rho) ** UNFAIRNESS
        weight *= max(1.0, usual / max(room, 1e-9)) ** WIDTH
        weights.append(weight * tenants[job.demand.tenant])
    return [
        Worth(left, weight, _values(job, weight, round_s))
        for job, left, weight in zip(jobs, lefts, weights, strict=True)
    ]


def _values(job: Job, weight: float, round_s: float) -> tuple[float, ...]:
    best = max((option.rate for option in job.options), default=1.0)
    stays = 1.0 + RESTART_S / round_s  # what stops is told to save its progress first: it loses no more than that
    return tuple(
        weight * (stays if at < job.n_here else 1.0) * option.rate / best for at, option in enumerate(job.options)
    )


def _worked_s(problem: Problem, job: Job) -> float:
    """Return the work that the present run has done."""
    running = job.running
    if running is None:
        return 0.0
    here = next((option for option in job.options if option.n_bundles == len(running.nodes)), None)
    return max(0.0, problem.now_s - running.started_s) * (here.rate if here is not None else 1.0)


def left_s(problem: Problem, job: Job, round_s: float) -> float:
    """Return the work that is thought to be left.

    Of what has no estimate as much is left as is done (at least a round), which makes it least attained service first
    (Tiresias, NSDI'19); what has outrun its estimate has ``OVERRUN`` of what is done left.
    """
    demand, worked = job.demand, _worked_s(problem, job)
    served = demand.served_s + worked
    if demand.runtime_s is None:
        return max(round_s, served)
    left = demand.runtime_s - worked
    return left if left > LEAST_LEFT_S else max(LEAST_LEFT_S, OVERRUN * served)


def mix_rate(job: Job, capacity: Mapping[Row, int]) -> float:
    """Return the job's rate at its full size on the cluster's mix of pools, where it has no option at rate 0."""
    best: dict[str, tuple[float, float]] = {}
    for option in job.options:
        room = 1.0 / max(1e-12, dominant(option.use, capacity))
        if option.rate > best.get(option.pool, (0.0, 0.0))[0]:
            best[option.pool] = (option.rate, room)
    rooms = sum(room for _, room in best.values())
    return sum(rate * room for rate, room in best.values()) / rooms if rooms else 0.0


def crowding(jobs: Sequence[Job], capacity: Mapping[Row, int]) -> float:
    """Return how many jobs there are for each place, at least 1; a place is what the median job takes."""
    places = [_places(job, capacity) for job in jobs if job.options]
    return max(1.0, len(places) / max(1.0, median(places))) if places else 1.0


def _places(job: Job, capacity: Mapping[Row, int]) -> float:
    """Return how many jobs like this one the cluster holds at once."""
    by_pool: dict[str, float] = {}
    for option in job.options:
        room = 1.0 / max(1e-12, dominant(option.use, capacity))
        by_pool[option.pool] = max(room, by_pool.get(option.pool, 0.0))
    return sum(by_pool.values())


def next_arrival_s(problem: Problem, jobs: Sequence[Job], round_s: float) -> float:
    """Return in how many seconds the next job is likely to come: as long as the latest one is ago.

    Infinite where all came within a round of each other: a batch.
    """
    came = [job.demand.submitted_s for job in jobs]
    if not came or max(came) - min(came) <= round_s:
        return float("inf")
    return max(round_s, problem.now_s - max(came))
