"""The planning question: who waits, who holds what, and what is kept for whom.

Work that was told to yield still holds its nodes, and the workload that it yields to has them kept in its ``Waits``.
The planner sees the cluster as it will be: who yields is gone, who has nodes kept runs there. What the leaving hold
beyond what is kept counts as foreign use, so that a new grant can be launched at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from aios.kernel.events import WorkloadId
from aios.kernel.ports import Observed
from aios.kernel.state import Attempt, State, Status, Workload
from placement.model import (
    ROOT,
    Demand,
    Node,
    NodeId,
    NodeState,
    Plan,
    Policy,
    Problem,
    Resources,
    Running,
    Tenant,
    TenantId,
    total,
)

Question = tuple[object, ...]
"""What a plan depends on, apart from the time: two equal questions have the same answer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A plan is wanted for this problem, seen at this version of the state."""

    problem: Problem
    version: int
    question: Question


@dataclass(frozen=True, slots=True)
class Proposed:
    """A plan and what it is the answer to; ``failed`` where the planner gave none."""

    plan: Plan
    ask: Ask
    failed: bool = False


def ask(state: State, now_s: float, observed: Observed, policy: Policy | None = None) -> Ask | None:
    """Return the question whose answer would help now; None where nothing waits."""
    if not any(is_pending(state, workload, now_s) and not kept(state, workload.id) for workload in live(state)):
        return None
    now = problem(state, now_s, observed, policy)
    return Ask(now, state.version, question(now))


def problem(state: State, now_s: float, observed: Observed, policy: Policy | None = None) -> Problem:
    """Return the cluster as the planner is to see it."""
    running, pending = [], []
    leaving: list[Mapping[NodeId, Resources]] = []
    kept_nodes: list[Mapping[NodeId, Resources]] = []
    for workload in live(state):
        attempt, nodes = workload.current, kept(state, workload.id)
        if attempt is not None and yields(attempt):
            leaving.append(placed(workload.work.demand, attempt.nodes))
        elif attempt is not None:
            running.append(_running(workload, attempt))
        elif nodes:
            kept_nodes.append(placed(workload.work.demand, nodes))
            running.append(Running(_as_placed(workload.work.demand, nodes, preemptible=False), nodes, now_s))
        elif is_pending(state, workload, now_s):
            pending.append(workload.work.demand)
    nodes_up = tuple(node for node in _in_order(state.nodes.values()) if node.state is not NodeState.DOWN)
    surplus = _surplus(added(leaving), added(kept_nodes))
    foreign = added([foreign_use(observed), surplus])
    return Problem(
        nodes=nodes_up,
        tenants=_tenants(state, [r.demand for r in running] + pending),
        running=tuple(running),
        pending=tuple(pending),
        now_s=now_s,
        policy=Policy() if policy is None else policy,
        foreign={node.id: foreign[node.id] for node in nodes_up if node.id in foreign},
    )


def question(problem: Problem) -> Question:
    return (
        problem.nodes,
        problem.tenants,
        tuple((r.demand.id, r.nodes, r.demand.preemptible) for r in problem.running),
        tuple(demand.id for demand in problem.pending),
        tuple(sorted(problem.foreign.items())),
        problem.policy,
    )


def live(state: State) -> Iterator[Workload]:
    """Return the workloads that are not over, in order of submission."""
    return (state.workloads[id] for id in state.live)


def is_pending(state: State, workload: Workload, now_s: float) -> bool:
    """Return whether a workload wants nodes now."""
    return (
        workload.status in (Status.QUEUED, Status.PREEMPTED)
        and workload.stop_requested_s is None
        and workload.not_before_s <= now_s
        and not unmet(state, workload)
    )


def unmet(state: State, workload: Workload) -> tuple[WorkloadId, ...]:
    """Return the workloads that must succeed (services: be ready) before this one may start."""
    return tuple(id for id in workload.work.needs if not _met(state.workloads.get(id)))


def _met(need: Workload | None) -> bool:
    return need is not None and (need.status is Status.SUCCEEDED or (need.work.service and need.ready))


def kept(state: State, id: WorkloadId) -> tuple[NodeId, ...]:
    """Return the nodes that are kept for a waiting workload."""
    waits = state.waits.get(id)
    return waits.nodes if waits is not None else ()


def yields(attempt: Attempt) -> bool:
    """Return whether an attempt was told to make room."""
    return attempt.preempt_cause != ""


def yielding_for(state: State, id: WorkloadId) -> tuple[WorkloadId, ...]:
    """Return the workloads that still have to end for this one."""
    found = []
    for other in live(state):
        attempt = other.current
        if attempt is not None and yields(attempt) and id in attempt.preempted_for:
            found.append(other.id)
    return tuple(found)


def placed(demand: Demand, nodes: tuple[NodeId, ...]) -> dict[NodeId, Resources]:
    """Return what a demand takes of each node: bundle i on ``nodes[i]``."""
    by_node: dict[NodeId, list[Resources]] = {}
    for bundle, node in zip(demand.bundles, nodes, strict=False):
        by_node.setdefault(node, []).append(bundle.resources)
    return {node: total(parts) for node, parts in by_node.items()}


def added(parts: Iterable[Mapping[NodeId, Resources]]) -> dict[NodeId, Resources]:
    """Return the sum by node."""
    by_node: dict[NodeId, list[Resources]] = {}
    for part in parts:
        for node, resources in part.items():
            by_node.setdefault(node, []).append(resources)
    return {node: total(amounts) for node, amounts in by_node.items()}


def foreign_use(observed: Observed) -> dict[NodeId, Resources]:
    return {seen.node.id: seen.foreign for seen in observed.nodes if seen.foreign}


def _surplus(leaving: Mapping[NodeId, Resources], kept_nodes: Mapping[NodeId, Resources]) -> dict[NodeId, Resources]:
    surplus = {node: (held - kept_nodes.get(node, Resources())).positive() for node, held in leaving.items()}
    return {node: amount for node, amount in surplus.items() if amount}


def _running(workload: Workload, attempt: Attempt) -> Running:
    demand = workload.work.demand
    may_yield = demand.preemptible and workload.status is not Status.STOPPING
    started_s = attempt.granted_s if attempt.started_s is None else attempt.started_s
    saved_s = workload.checkpoint_s
    if saved_s is not None and saved_s < attempt.granted_s:
        saved_s = started_s  # it began from that checkpoint: nothing older can be lost
    return Running(_as_placed(demand, attempt.nodes, preemptible=may_yield), attempt.nodes, started_s, saved_s)


def _as_placed(demand: Demand, nodes: tuple[NodeId, ...], *, preemptible: bool) -> Demand:
    """Return what runs as the planner may treat it: with the size it has, and whole or not at all."""
    return replace(demand, bundles=demand.bundles[: len(nodes)], min_bundles=len(nodes), preemptible=preemptible)


def _tenants(state: State, demands: Iterable[Demand]) -> tuple[Tenant, ...]:
    """Return all known tenants; one that old work names and nobody knows any more is taken as it is."""
    known = dict(state.tenants.items())
    for demand in demands:
        if demand.tenant not in known:
            known[demand.tenant] = Tenant(demand.tenant)
    return tuple(known[id] for id in sorted(known) if id != ROOT)


def ancestors(tenants: Mapping[TenantId, Tenant], id: TenantId) -> tuple[TenantId, ...]:
    """Return a tenant and those above it, nearest first; stops where the chain ends or closes."""
    chain: list[TenantId] = []
    at: TenantId | None = id
    while at is not None and at != ROOT and at not in chain:
        chain.append(at)
        tenant = tenants.get(at)
        at = tenant.parent if tenant is not None else None
    return tuple(chain)


def _in_order(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: node.id)
