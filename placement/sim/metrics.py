"""What a run came to, in numbers that can be compared: each with its definition and where it is from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from placement.model import total
from placement.sim.fragmentation import fragmentation
from placement.sim.records import History, Record
from placement.sim.timeline import Steps, held, present, waiting
from placement.throughput import units

UNFAIR = 1.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Measures of one run. Times are seconds; shares are 0..1; None where there is nothing to measure.

    Attributes
    ----------
    n_jobs, n_finished : int
        All that were submitted, and all that ended.
    jct_mean_s, jct_p50_s, jct_p95_s, jct_p99_s : float
        Job completion time, from submission to end, of the jobs that ended. Percentiles are of the nearest rank.
    makespan_s : float
        From the first submission to the last end.
    wait_mean_s, wait_p99_s : float
        The part of the completion time in which a job held nothing: queueing, and pauses after it was preempted.
    utilisation : float
        Accelerator-seconds held over those of the cluster within the makespan (CPUs where there are no accelerators).
    saturated_allocation : float
        The mean share of accelerators held in the time in which somebody waited: what packing loses under full load
        (cf. the GPU allocation ratio of USENIX ATC 2023, section 6).
    fragmentation : float
        The share of accelerators that are free and that the mix of jobs could not use (USENIX ATC 2023, section 3.2),
        the mean over evenly spaced moments between the first and the last submission.
    rho_worst, rho_mean, rho_above_1 : float
        Finish-time fairness (Themis, NSDI 2020, section 3): completion time over what it would be with an equal part
        of the cluster. As in the simulators of Gavel (OSDI 2020) and Shockwave (NSDI 2023) that is the run time alone
        times the contention: jobs per accelerator, the mean over the job's time in the system, at least 1. Alone means
        on the cluster's mix of types. ``rho_above_1`` is the share of jobs that fared worse than that.
    jain : float
        Jain's index (Jain, Chiu, Hawe, DEC-TR-301, 1984) over tenants, of each one's mean of run time alone over
        completion time: 1 where all are slowed down alike, 1/n where one has it all.
    preemptions : int
        Attempts that were told to yield.
    wasted : float
        The share of held accelerator-seconds spent on restarts and on work that was not saved.
    plans, plan_mean_s, plan_p95_s, plan_max_s
        How many plans were asked for, and the CPU seconds that one took.
    """

    n_jobs: int
    n_finished: int
    jct_mean_s: float | None
    jct_p50_s: float | None
    jct_p95_s: float | None
    jct_p99_s: float | None
    makespan_s: float
    wait_mean_s: float | None
    wait_p99_s: float | None
    utilisation: float
    saturated_allocation: float | None
    fragmentation: float
    rho_worst: float | None
    rho_mean: float | None
    rho_above_1: float | None
    jain: float | None
    preemptions: int
    wasted: float
    plans: int
    plan_mean_s: float | None
    plan_p95_s: float | None
    plan_max_s: float | None


def metrics(history: History) -> Metrics:
    """Return all measures of a run."""
    records = history.records
    first_s = min((record.submitted_s for record in records), default=0.0)
    last_s = max((record.submitted_s for record in records), default=0.0)
    end_s = max((stay.until_s for record in records for stay in record.stays), default=first_s)
    size, use = units(total(node.resources for node in history.nodes)), held(records)
    jcts, waits = _known(r.jct_s for r in records), _known(r.waited_s for r in records)
    rhos = list(finish_time_fairness(records, size).values())
    taken = use.area(first_s, end_s)
    return Metrics(
        n_jobs=len(records),
        n_finished=len(jcts),
        jct_mean_s=mean(jcts),
        jct_p50_s=percentile(jcts, 50),
        jct_p95_s=percentile(jcts, 95),
        jct_p99_s=percentile(jcts, 99),
        makespan_s=end_s - first_s,
        wait_mean_s=mean(waits),
        wait_p99_s=percentile(waits, 99),
        utilisation=taken / (size * (end_s - first_s)) if size and end_s > first_s else 0.0,
        saturated_allocation=saturated_allocation(use, waiting(records), size),
        fragmentation=fragmentation(history.nodes, records, first_s, last_s),
        rho_worst=max(rhos, default=None),
        rho_mean=mean(rhos),
        rho_above_1=mean([float(rho > UNFAIR + 1e-9) for rho in rhos]),
        jain=jain(progress_by_tenant(records)),
        preemptions=sum(stay.preempted for record in records for stay in record.stays),
        wasted=history.wasted / taken if taken else 0.0,
        plans=len(history.plan_s),
        plan_mean_s=mean(history.plan_s),
        plan_p95_s=percentile(history.plan_s, 95),
        plan_max_s=max(history.plan_s, default=None),
    )


def finish_time_fairness(records: Sequence[Record], n_accelerators: float) -> dict[str, float]:
    """Return each ended job's completion time over its fair one (see ``Metrics``)."""
    there = present(records)
    out: dict[str, float] = {}
    for record in records:
        if record.finished_s is not None and record.jct_s is not None:
            jobs = there.mean(record.submitted_s, record.finished_s)
            contention = max(1.0, jobs / n_accelerators) if n_accelerators else 1.0
            out[record.id] = record.jct_s / (record.isolated_s * contention)
    return out


def saturated_allocation(use: Steps, queue: Steps, size: float) -> float | None:
    """Return the mean share in use over the time in which somebody waited; None where nobody ever did."""
    taken = lasted_s = 0.0
    for i, n_waiting in enumerate(queue.values[:-1]):
        if n_waiting > 0.5:
            from_s, until_s = queue.times[i], queue.times[i + 1]
            taken, lasted_s = taken + use.area(from_s, until_s), lasted_s + until_s - from_s
    return taken / (lasted_s * size) if lasted_s and size else None


def progress_by_tenant(records: Sequence[Record]) -> Mapping[str, float]:
    """Return each tenant's mean of run time alone over completion time."""
    by_tenant: dict[str, list[float]] = {}
    for record in records:
        if record.jct_s:
            by_tenant.setdefault(record.tenant, []).append(record.isolated_s / record.jct_s)
    return {tenant: sum(parts) / len(parts) for tenant, parts in sorted(by_tenant.items())}


def jain(parts: Mapping[str, float]) -> float | None:
    """Return (sum of x)^2 / (n * sum of x^2)."""
    squares = sum(part * part for part in parts.values())
    return sum(parts.values()) ** 2 / (len(parts) * squares) if squares else None


def mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that is not below ``percent`` per cent of the values (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(percent / 100 * len(ordered)) - 1)] if ordered else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
