"""A trace of jobs through the control plane of production, on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aios.adapters.sim import SimExecutor
from aios.adapters.simulated import Pace
from aios.contenders import Contender, Timed
from aios.control.planning import InlinePlanning
from aios.kernel.events import Outcome
from aios.kernel.ports import NewWork, Submit
from aios.kernel.state import State, Workload
from aios.simulate import Arrival, run
from placement.model import Demand, DemandId, Node, Resources, Tenant, TenantId, total
from placement.sim.cluster import Cluster
from placement.sim.estimates import Estimating, draw, estimate
from placement.sim.metrics import Metrics, metrics
from placement.sim.records import History, Record, Stay
from placement.throughput import units
from placement.traces.loads import isolated_s
from placement.traces.model import Job, Trace

POLL_S = 86_400.0
PACE = Pace(launch_s=0.0, ready_s=0.0, save_every_s=1800.0, yield_s=0.0, restart_s=30.0, saves_wake=False)
"""Work starts and yields at once, saves its progress every half hour and when it yields, and needs 30 s to go on."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one policy made of a trace."""

    policy: str
    metrics: Metrics
    history: History
    refused: tuple[str, ...] = ()


def replay(
    trace: Trace,
    cluster: Cluster,
    contender: Contender,
    *,
    seed: int = 0,
    noisy: bool = False,
    pace: Pace = PACE,
    clock: Callable[[], float] = lambda: 0.0,
) -> Replayed:
    """Run a trace under a policy.

    Parameters
    ----------
    noisy : bool
        Whether the planner sees run times with an error; the true ones decide when work ends.
    clock : callable
        CPU seconds of this process, for the time that plans take; nothing else depends on it.
    """
    jobs = {job.id: job for job in trace.jobs}
    timed = Timed(contender.planner, clock)
    planner = Estimating(timed, lambda id: _runtime_s(jobs, id), seed) if noisy else timed
    executor = SimExecutor(cluster.nodes, seed, lambda work: jobs[work.name].runtime_s, pace)
    ran = run(
        executor,
        [Arrival(job.submitted_s, Submit((_work(job, seed, noisy),))) for job in trace.jobs],
        _tenants(cluster, trace.jobs),
        InlinePlanning(planner, contender.budget),
        policy=contender.policy,
        judge=contender.judge,
        poll_s=POLL_S,
        until_s=float("inf"),
    )
    history = History(
        cluster.nodes,
        _records(ran.state, jobs, cluster.nodes, executor.now_s()),
        executor.effects.wasted,
        tuple(timed.took_s),
    )
    return Replayed(contender.name, metrics(history), history, ran.refused)


def _resources(job: Job) -> Resources:
    return total(bundle.resources for bundle in job.bundles)


def _runtime_s(jobs: Mapping[str, Job], id: DemandId) -> float | None:
    job = jobs.get(id.rpartition("-")[0])  # an id is the name, a hyphen and a few digits
    return None if job is None else job.runtime_s


def _work(job: Job, seed: int, noisy: bool) -> NewWork:
    expected_s = estimate(job.runtime_s, 0.0, draw(seed, job.id)) if noisy else job.runtime_s
    demand = Demand(
        DemandId(job.id),
        TenantId(job.tenant),
        job.bundles,
        priority=job.priority,
        min_bundles=job.min_bundles,
        runtime_s=expected_s,
        speed=job.speed,
        scaling=job.scaling,
    )
    return NewWork(
        name=job.id,
        kind="script",
        tenant=job.tenant,
        priority=job.priority,
        demand=demand,
        spec="{}",
        content=job.id,
        estimate_s=expected_s,
    )


def _tenants(cluster: Cluster, jobs: Iterable[Job]) -> tuple[Tenant, ...]:
    """Return the cluster's tenants, and those that only jobs name, with weight 1 and no quota."""
    known = {tenant.id: tenant for tenant in cluster.tenants}
    for job in jobs:
        known.setdefault(TenantId(job.tenant), Tenant(TenantId(job.tenant)))
    return tuple(known[id] for id in sorted(known))


def _records(state: State, jobs: Mapping[str, Job], nodes: Sequence[Node], now_s: float) -> tuple[Record, ...]:
    alone = {job.id: isolated_s(job, nodes) for job in jobs.values()}
    return tuple(
        _record(state.workloads[state.names[name]], job, alone[name], now_s)
        for name, job in jobs.items()
        if name in state.names
    )


def _record(workload: Workload, job: Job, alone_s: float, now_s: float) -> Record:
    stays = tuple(
        Stay(
            attempt.nodes,
            attempt.granted_s,
            now_s if attempt.ended_s is None else attempt.ended_s,
            job.bundles,
            attempt.outcome is Outcome.PREEMPTED,
        )
        for attempt in workload.attempts
    )
    return Record(job.id, job.tenant, workload.submitted_s, workload.finished_s, alone_s, units(_resources(job)), stays)
