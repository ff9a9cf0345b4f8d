"""A whole run on virtual time: the production loop, kernel and planner over a simulated cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aios.adapters.sim import SimExecutor
from aios.adapters.simulated import Pace, Runtime, estimated
from aios.control.loop import Listener, Loop
from aios.control.planning import InlinePlanning, PlannerFunction, Planning
from aios.errors import Rejected
from aios.kernel.adopt import Judge
from aios.kernel.events import Event, Limits, PlanAdopted, PreemptionOrdered, Submitted
from aios.kernel.ports import ApplyTenants, Log, Refused, Submit
from aios.kernel.queue import added, placed
from aios.kernel.state import State, Status, Workload
from aios.kernel.step import POLICY
from aios.store.memory import MemoryLog
from placement.check import violations
from placement.model import Node, Policy, Resources, Tenant, total
from placement.planners.base import Budget

LONGEST_S = 30 * 86400.0
LONG_S = 3600.0
MOST_AT_ONCE = 500
"""Turns at one moment of virtual time."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A submission and when it comes."""

    at_s: float
    submit: Submit


@dataclass(frozen=True, slots=True)
class SimRow:
    """What became of one workload."""

    id: str
    name: str
    tenant: str
    priority: int
    kind: str
    status: str
    reason: str
    message: str
    submitted_s: float
    started_s: float | None
    finished_s: float | None
    waited_s: float
    ran_s: float
    attempts: int
    planned: tuple[str, ...]
    actual: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimTenant:
    """A tenant's mean dominant share of the cluster over the run, and what the plans entitled it to."""

    tenant: str
    entitled: float | None
    used: float


@dataclass(frozen=True, slots=True)
class SimReport:
    """What a simulated run came to; ``refused`` are submissions that were not accepted."""

    rows: tuple[SimRow, ...]
    tenants: tuple[SimTenant, ...]
    makespan_s: float
    turns: int
    plans: int
    plans_by_status: Mapping[str, int]
    preemptions: int
    refused: tuple[str, ...] = ()
    events: tuple[Event, ...] = field(default=(), repr=False)


def simulate(
    arrivals: Sequence[Arrival],
    nodes: Sequence[Node],
    tenants: Sequence[Tenant],
    planner: PlannerFunction,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    policy: Policy = POLICY,
    runtime: Runtime = estimated,
    pace: Pace | None = None,
    solve_s: float = 0.0,
    until_s: float = LONGEST_S,
    listener: Listener | None = None,
    limits: Sequence[Limits] = (),
) -> SimReport:
    """Run submissions to their end, or until nothing more can happen, and report; see ``run``."""
    executor = SimExecutor(nodes, seed, runtime, pace)
    done = run(
        executor,
        arrivals,
        tenants,
        InlinePlanning(planner, budget, solve_s),
        policy=policy,
        until_s=until_s,
        listener=listener,
        limits=limits,
    )
    return _report(done)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run left: the state, the log, how often it turned, and what was refused."""

    state: State
    log: Log
    turns: int
    refused: tuple[str, ...]


def run(
    executor: SimExecutor,
    arrivals: Sequence[Arrival],
    tenants: Sequence[Tenant],
    planning: Planning,
    *,
    policy: Policy = POLICY,
    judge: Judge = violations,
    poll_s: float = LONG_S,
    until_s: float = LONGEST_S,
    listener: Listener | None = None,
    limits: Sequence[Limits] = (),
) -> Ran:
    """Run submissions on a simulated cluster with the loop and the kernel of production.

    Parameters
    ----------
    planning : Planning
        With the planner of production, and how long each solve takes on virtual time.
    poll_s : float
        The longest time between two looks at the cluster.
    until_s : float
        Where to stop at the latest, on virtual time.
    """
    log = MemoryLog()
    loop = Loop(log, executor, planning, policy=policy, judge=judge, poll_s=poll_s)
    if listener is not None:
        loop.on_events(listener)
    loop.start()
    refused: list[str] = []
    loop.submit(ApplyTenants(tuple(tenants), limits=tuple(limits)))
    for arrival in arrivals:
        executor.at(arrival.at_s, lambda submit=arrival.submit: _hand_in(loop, submit, refused))  # type: ignore[misc]
    turns = run_until_quiet(loop, executor, until_s)
    return Ran(loop.state, log, turns, tuple(refused))


def run_until_quiet(loop: Loop, executor: SimExecutor, until_s: float = LONGEST_S) -> int:
    """Turn until nothing more happens by itself; return the number of turns.

    Raises Rejected where the planner changes its mind again and again at one moment.
    """
    turns, since_s, at_once = 0, -1.0, 0
    while executor.now_s() <= until_s and not loop.stopped:
        at_once = at_once + 1 if executor.now_s() == since_s else 0
        since_s = executor.now_s()
        if at_once > MOST_AT_ONCE:
            raise Rejected(
                f"at {since_s:g} s the policy has changed its mind {MOST_AT_ONCE} times: it goes round in a circle",
                hint="what it stops must not be what it starts next; give it a time slice",
            )
        turn = loop.turn()
        turns += 1
        idle_s = loop.idle_s(turn)
        quiet = turn is not None and not turn.events and not turn.actions and idle_s >= LONG_S
        if quiet and executor.next_s() is None:
            break
        executor.wait(idle_s)
    return turns


def _hand_in(loop: Loop, submit: Submit, refused: list[str]) -> None:
    def answered(reply: object) -> None:
        if isinstance(reply, Refused):
            refused.append(f"{', '.join(work.name for work in submit.works)}: {reply.message}; {reply.hint}")

    loop.submit(submit).add_done_callback(lambda future: answered(future.result()))


def _report(ran: Ran) -> SimReport:
    state, events = ran.state, tuple(event for _, event in ran.log.read())
    plans = [event for event in events if isinstance(event, PlanAdopted)]
    by_status: dict[str, int] = {}
    for plan in plans:
        by_status[plan.status] = by_status.get(plan.status, 0) + 1
    workloads = [state.workloads[event.work.id] for event in events if isinstance(event, Submitted)]
    makespan_s = max((end_s for w in workloads if (end_s := _end_s(w)) is not None), default=0.0)
    return SimReport(
        rows=tuple(_row(workload) for workload in workloads),
        tenants=_shares(state, plans, makespan_s),
        makespan_s=makespan_s,
        turns=ran.turns,
        plans=len(plans),
        plans_by_status=dict(sorted(by_status.items())),
        preemptions=sum(isinstance(event, PreemptionOrdered) for event in events),
        refused=ran.refused,
        events=events,
    )


def _end_s(workload: Workload) -> float | None:
    attempt = workload.attempt
    return workload.finished_s if workload.finished_s is not None else attempt.ready_s if attempt else None


def _row(workload: Workload) -> SimRow:
    work, attempt = workload.work, workload.attempt
    return SimRow(
        id=work.id,
        name=work.name,
        tenant=work.tenant,
        priority=work.priority,
        kind=work.kind,
        status="READY" if workload.ready and workload.status is Status.RUNNING else workload.status.value,
        reason=workload.reason,
        message=workload.message,
        submitted_s=workload.submitted_s,
        started_s=workload.attempts[0].started_s if workload.attempts else None,
        finished_s=workload.finished_s,
        waited_s=workload.waited_s,
        ran_s=workload.ran_s,
        attempts=len(workload.attempts),
        planned=tuple(attempt.nodes) if attempt else (),
        actual=tuple(attempt.actual) if attempt else (),
    )


def _shares(state: State, plans: Sequence[PlanAdopted], makespan_s: float) -> tuple[SimTenant, ...]:
    """Return each tenant's dominant share and what it was entitled to, averaged over the run."""
    size = total(node.resources for node in state.nodes.values())
    entitled = _entitled(plans, makespan_s)
    held: dict[str, dict[str, float]] = {}
    for workload in state.workloads.values():
        by_name = held.setdefault(workload.work.tenant, {})
        for attempt in workload.attempts:
            end_s = makespan_s if attempt.ended_s is None else attempt.ended_s
            amounts = total(added([placed(workload.held(attempt), attempt.nodes)]).values())
            for name, amount in amounts.items():
                by_name[name] = by_name.get(name, 0.0) + amount * max(0.0, end_s - attempt.granted_s)
    return tuple(
        SimTenant(id, entitled.get(id), _dominant(held.get(id, {}), size, makespan_s)) for id in sorted(state.tenants)
    )


def _entitled(plans: Sequence[PlanAdopted], makespan_s: float) -> dict[str, float]:
    """Return what plans entitled each tenant to, each plan weighing as long as it was the latest."""
    sums: dict[str, float] = {}
    if not plans or makespan_s <= plans[0].at_s:
        return sums
    ends_s = [plan.at_s for plan in plans[1:]] + [makespan_s]
    for plan, end_s in zip(plans, ends_s, strict=True):
        for tenant, share, _ in plan.shares:
            lasted_s = max(0.0, min(end_s, makespan_s) - plan.at_s)
            sums[tenant] = sums.get(tenant, 0.0) + share * lasted_s / (makespan_s - plans[0].at_s)
    return sums


def _dominant(held: Mapping[str, float], size: Resources, makespan_s: float) -> float:
    shares = [amount / (size.get(name) * makespan_s) for name, amount in held.items() if size.get(name) and makespan_s]
    return max(shares, default=0.0)
