"""From a trace to an experiment: a window or a sample of it, what fits, and tenants for its virtual clusters."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from placement.model import Node, NodeState, Resources, Tenant, TenantId, total
from placement.traces.model import Job, Trace

GPU = "GPU"


def window(trace: Trace, n: int, seed: int | np.random.Generator = 0) -> Trace:
    """Return ``n`` consecutive jobs from a random place, their time counted from the first; all of a shorter trace."""
    if len(trace.jobs) <= n:
        return trace
    at = int(np.random.default_rng(seed).integers(len(trace.jobs) - n + 1))
    jobs = trace.jobs[at : at + n]
    begin = jobs[0].submitted_s
    return replace(trace, jobs=tuple(replace(job, submitted_s=job.submitted_s - begin) for job in jobs))


def sample(trace: Trace, n: int, seed: int | np.random.Generator = 0) -> Trace:
    """Return ``n`` jobs drawn from all of the trace with replacement, at the arrival times of a window of it.

    Sizes and run times are those of the whole trace then, bursts those of a part; names are new.
    """
    rng = np.random.default_rng(seed)
    times = [job.submitted_s for job in window(trace, n, rng).jobs]
    drawn = rng.integers(len(trace.jobs), size=len(times))
    jobs = (trace.jobs[i] for i in drawn)
    return replace(
        trace,
        jobs=tuple(
            replace(job, id=f"{trace.name}-{i}", submitted_s=at)
            for i, (job, at) in enumerate(zip(jobs, times, strict=True))
        ),
    )


def fitting(trace: Trace, nodes: Sequence[Node]) -> Trace:
    """Return the jobs that could run on these nodes if nothing else did: counted by kind of bundle, node by node."""
    ready = [node for node in nodes if node.state is NodeState.READY]
    room: dict[object, int] = {}

    def fits(job: Job) -> bool:
        for bundle in dict.fromkeys(job.bundles):
            key = (bundle.resources, bundle.selector)
            if key not in room:
                able = (node for node in ready if bundle.selector.accepts(node))
                room[key] = sum(_how_many(bundle.resources, node.resources) for node in able)
            if room[key] < job.bundles.count(bundle):
                return False
        whole = total(node.resources for node in ready)
        return total(bundle.resources for bundle in job.bundles).fits_in(whole)

    return replace(trace, jobs=tuple(job for job in trace.jobs if fits(job)))


def _how_many(asked: Resources, have: Resources) -> int:
    return min((have.get(name) // amount for name, amount in asked.items()), default=1_000_000)


def amount(job: Job, resource: str = GPU) -> int:
    """Return what all bundles of a job ask of a resource, in thousandths (bytes of memory)."""
    return sum(bundle.resources.get(resource) for bundle in job.bundles)


def with_tenants(trace: Trace, n: int) -> Trace:
    """Return the trace with ``n`` made-up tenants, for one that names none: each job's by a hash of its name."""
    jobs = (replace(job, tenant=f"team-{zlib.crc32(job.id.encode()) % n}") for job in trace.jobs)
    return replace(trace, jobs=tuple(jobs))


def tenants(trace: Trace, nodes: Sequence[Node], resource: str = GPU, by_work: bool = False) -> tuple[Tenant, ...]:
    """Return a tenant for each virtual cluster of the trace; their quotas of the resource add up to the cluster.

    ``by_work``: quotas in proportion to the work that they submit, the weights too; else equal ones.
    """
    names = sorted({job.tenant for job in trace.jobs})
    have = sum(node.resources.get(resource) for node in nodes) // 1000
    work = dict.fromkeys(names, 0.0)
    for job in trace.jobs:
        work[job.tenant] += amount(job, resource) * job.runtime_s
    whole = sum(work.values())
    parts = {name: work[name] / whole if by_work and whole > 0 else 1.0 / len(names) for name in names}
    exact = {name: have * part for name, part in parts.items()}
    quota = {name: int(exact[name]) for name in names}
    left = have - sum(quota.values())
    for name in sorted(names, key=lambda name: (quota[name] - exact[name], name))[:left]:
        quota[name] += 1
    return tuple(
        Tenant(
            TenantId(name),
            weight=max(parts[name] * len(names), 1e-6) if by_work else 1.0,
            quota=Resources.of({resource: 1000 * quota[name]}),
        )
        for name in names
    )
