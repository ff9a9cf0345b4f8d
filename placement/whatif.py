"""What if: a planning question with something changed, and what would become of everybody, side by side.

A change is a value; ``apply`` makes the changed question and touches nothing else, so nothing that is asked here ever
happens in the cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from placement.model import (
    ACCELERATOR_KEY,
    RAY_NODE_KEY,
    Borrow,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Plan,
    PreemptionPolicy,
    Problem,
    Reclaim,
    Resources,
    Running,
    Share,
    Tenant,
    TenantId,
    Within,
)
from placement.weights import TERMS

PlannerFunction = Callable[[Problem], Plan]


@dataclass(frozen=True, slots=True)
class AddNodes:
    """So many more nodes like a present one, with its labels, ready and empty."""

    like: NodeId
    number: int = 1


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """A node goes at once: what runs there is queued again."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class DrainNode:
    """A node takes nothing new; what runs there stays until it ends."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class SetWeight:
    tenant: TenantId
    weight: float


@dataclass(frozen=True, slots=True)
class SetQuota:
    """The guarantee of the named resources changes; that of others stays."""

    tenant: TenantId
    amounts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class SetPriority:
    demand: DemandId
    priority: int


@dataclass(frozen=True, slots=True)
class Submit:
    """These wait too, for these tenants too where they are new."""

    demands: tuple[Demand, ...]
    tenants: tuple[Tenant, ...] = ()


@dataclass(frozen=True, slots=True)
class StopWork:
    """A workload ends, or waits no longer."""

    demand: DemandId


@dataclass(frozen=True, slots=True)
class WithoutPreemption:
    """Nobody may displace anybody."""


Change: TypeAlias = (
    AddNodes | RemoveNode | DrainNode | SetWeight | SetQuota | SetPriority | Submit | StopWork | WithoutPreemption
)


def apply(problem: Problem, change: Change) -> Problem:
    """Return the question with the change made; what it names has to exist."""
    match change:
        case AddNodes(like, number):
            return replace(problem, nodes=problem.nodes + copies(problem, like, number))
        case RemoveNode(node):
            return _without_node(problem, node)
        case DrainNode(node):
            drained = (replace(n, state=NodeState.DRAINING) if n.id == node else n for n in problem.nodes)
            leaves = [run for run in problem.running if node in run.nodes and run.demand.preemptible]
            return replace(_queued_again(problem, leaves), nodes=tuple(drained))
        case SetWeight(tenant, weight):
            return _with_tenant(problem, tenant, lambda t: replace(t, weight=weight))
        case SetQuota(tenant, amounts):
            return _with_tenant(problem, tenant, lambda t: replace(t, quota=_quota(t, amounts)))
        case SetPriority(demand, priority):
            return _with_demand(problem, demand, lambda d: replace(d, priority=priority))
        case Submit(demands, tenants):
            known = {tenant.id for tenant in problem.tenants}
            new = tuple(tenant for tenant in tenants if tenant.id not in known)
            return replace(problem, tenants=problem.tenants + new, pending=problem.pending + demands)
        case StopWork(demand):
            return replace(
                problem,
                running=tuple(run for run in problem.running if run.demand.id != demand),
                pending=tuple(waiting for waiting in problem.pending if waiting.id != demand),
            )
        case WithoutPreemption():
            never = PreemptionPolicy(Within.NEVER, Reclaim.NEVER, Borrow.NEVER)
            tenants = tuple(replace(tenant, preemption=None) for tenant in problem.tenants)
            return replace(problem, tenants=tenants, policy=replace(problem.policy, preemption=never))


def apply_all(problem: Problem, changes: Sequence[Change]) -> Problem:
    """Return the question with all changes made, the first first."""
    for change in changes:
        problem = apply(problem, change)
    return problem


def copies(problem: Problem, like: NodeId, number: int) -> tuple[Node, ...]:
    """Return new nodes like one of the problem's, under names that nobody has."""
    model = next(node for node in problem.nodes if node.id == like)
    labels = tuple((key, value) for key, value in model.labels if key != RAY_NODE_KEY)
    taken, out, at = {node.id for node in problem.nodes}, list[Node](), 0
    while len(out) < number:
        at += 1
        name = NodeId(f"{like}+{at}")
        if name not in taken:
            out.append(replace(model, id=name, labels=labels, state=NodeState.READY))
    return tuple(out)


def _queued_again(problem: Problem, leaving: Sequence[Running]) -> Problem:
    """What leaves its nodes waits again, as important and as old as it is."""
    again = tuple(replace(run.demand, submitted_s=min(run.demand.submitted_s, run.started_s)) for run in leaving)
    gone = {demand.id for demand in again}
    running = tuple(run for run in problem.running if run.demand.id not in gone)
    return replace(problem, running=running, pending=again + problem.pending)


def _without_node(problem: Problem, node: NodeId) -> Problem:
    """What ran there waits again; what others use there is gone with it."""
    problem = _queued_again(problem, [run for run in problem.running if node in run.nodes])
    return replace(
        problem,
        nodes=tuple(n for n in problem.nodes if n.id != node),
        foreign={name: used for name, used in problem.foreign.items() if name != node},
        reservations=tuple(
            replace(kept, nodes=tuple(n for n in kept.nodes if n != node)) for kept in problem.reservations
        ),
    )


def _with_tenant(problem: Problem, name: TenantId, change: Callable[[Tenant], Tenant]) -> Problem:
    return replace(problem, tenants=tuple(change(t) if t.id == name else t for t in problem.tenants))


def _quota(tenant: Tenant, amounts: Sequence[tuple[str, int]]) -> Resources:
    return Resources.of({**dict((tenant.quota or Resources()).items()), **dict(amounts)})


def _with_demand(problem: Problem, name: DemandId, change: Callable[[Demand], Demand]) -> Problem:
    def changed(demand: Demand) -> Demand:
        return change(demand) if demand.id == name else demand

    running: tuple[Running, ...] = tuple(replace(run, demand=changed(run.demand)) for run in problem.running)
    return replace(problem, running=running, pending=tuple(map(changed, problem.pending)))


def like_accelerator(nodes: Sequence[Node], kind: str) -> NodeId | None:
    """Return the node that stands for an accelerator type, whatever its case: of the most common shape there is."""
    able = [node for node in nodes if (node.label(ACCELERATOR_KEY) or "").lower() == kind.lower()]
    if not able:
        return None
    common = Counter(node.resources for node in able)
    return max(able, key=lambda node: (node.state is NodeState.READY, common[node.resources], _backwards(node.id))).id


def _backwards(name: str) -> tuple[int, ...]:
    """Return a key by which the first name in the alphabet is the largest."""
    return (*(-ord(char) for char in name), 0)


# Side by side


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one workload: ``state`` is running, starts, waits, preempted, moved, resized or not there."""

    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state} {self.detail}".rstrip()


NOT_THERE = Fate("not there")


@dataclass(frozen=True, slots=True)
class Lot:
    """One workload, with the plan as it is and with the changes."""

    demand: DemandId
    tenant: TenantId
    before: Fate
    after: Fate

    @property
    def changed(self) -> bool:
        """Return whether it is another state, or another size or reason; other nodes alone do not count."""
        return self.before.state != self.after.state or (
            self.before.state in ("waits", "resized") and self.before.detail != self.after.detail
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """Two plans side by side; what changed stands first in ``lots`` and ``shares``.

    Attributes
    ----------
    shares : tuple of (tenant, share before, share after)
        None where a tenant is new.
    terms : tuple of (name, unit, value before, value after)
    """

    before: Plan
    after: Plan
    lots: tuple[Lot, ...] = ()
    shares: tuple[tuple[TenantId, Share | None, Share | None], ...] = ()
    terms: tuple[tuple[str, str, float, float], ...] = ()

    @property
    def changed(self) -> tuple[Lot, ...]:
        return tuple(lot for lot in self.lots if lot.changed)


def compare(problem: Problem, changes: Sequence[Change], planner: PlannerFunction) -> Difference:
    """Return what the planner answers now and with the changes, side by side."""
    other = apply_all(problem, changes)
    return difference(problem, planner(problem), other, planner(other))


def difference(problem: Problem, before: Plan, other: Problem, after: Plan) -> Difference:
    """Return two plans for two questions side by side."""
    tenants = {demand.id: demand.tenant for asked in (problem, other) for demand in demands_of(asked)}
    then, now = fates(problem, before), fates(other, after)
    lots = [Lot(name, tenants[name], then.get(name, NOT_THERE), now.get(name, NOT_THERE)) for name in tenants]
    lots.sort(key=lambda lot: not lot.changed)
    shares = [(t, before.shares.get(t), after.shares.get(t)) for t in sorted({*before.shares, *after.shares})]
    shares.sort(key=lambda row: _same_share(row[1], row[2]))
    had, has = dict(before.stats.terms), dict(after.stats.terms)
    terms = tuple((t.name, t.unit, had.get(t.name, 0.0), has.get(t.name, 0.0)) for t in TERMS)
    return Difference(before, after, tuple(lots), tuple(shares), terms)


def demands_of(problem: Problem) -> tuple[Demand, ...]:
    """Return all work of a question: what waits in its order, then what runs."""
    return problem.pending + tuple(run.demand for run in problem.running)


def fates(problem: Problem, plan: Plan) -> dict[DemandId, Fate]:
    """Return what becomes of every workload under a plan."""
    out = {run.demand.id: Fate("running", f"on {counted(run.nodes)}") for run in problem.running}
    out.update({name: Fate("waits", why.reason.value) for name, why in plan.waiting.items()})
    out.update(
        {p.demand: Fate("preempted", f"by {', '.join(p.beneficiaries) or 'the cluster'}") for p in plan.preemptions}
    )
    out.update({r.demand: Fate("resized", f"{r.before} to {r.to} bundles") for r in plan.resizes})
    out.update({m.demand: Fate("moved", f"to {counted(m.nodes)}") for m in plan.moves})
    out.update({grant.demand: Fate("starts", f"on {counted(grant.nodes)}") for grant in plan.grants})
    return out


def counted(nodes: Sequence[NodeId], most: int = 4) -> str:
    """Return ``a x2, b``: nodes with how often each comes."""
    shown = [name if n == 1 else f"{name} x{n}" for name, n in Counter(nodes).items()]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _same_share(before: Share | None, after: Share | None) -> bool:
    if before is None or after is None:
        return before is after
    return abs(before.used - after.used) < 5e-4 and abs(before.entitled - after.entitled) < 5e-4
