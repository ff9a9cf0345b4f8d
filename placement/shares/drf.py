"""Weighted dominant-resource fairness over the tenant tree, by progressive filling.

Every tenant first gets what of its demand its quota covers; what remains is filled at speeds equal to the tenants'
weights until a resource runs out, level by level down the tree.

References
----------
Ghodsi et al., Dominant Resource Fairness, NSDI 2011; Bhattacharya et al., Hierarchical Scheduling for Diverse
Datacenter Workloads, SoCC 2013, doi:10.1145/2523616.2523637.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from placement.model import ROOT, NodeState, Problem, Resources, Tenant, TenantId, total

Amounts = dict[str, float]


@dataclass(slots=True)
class _Asker:
    """A subtree that fills: what it asks for, the fraction that its quota covers, and its weight."""

    tenant: TenantId
    asks: Amounts
    floor: float
    most: float
    weight: float
    got: float = 0.0

    def dominant(self, capacity: Mapping[str, float]) -> float:
        return max((a / capacity[n] for n, a in self.asks.items() if capacity.get(n, 0) > 0), default=0.0)


class WeightedDrf:
    """Guarantees first, the rest by weight."""

    name = "drf"

    def __call__(self, problem: Problem) -> Mapping[TenantId, float]:
        ready = [node.resources for node in problem.nodes if node.state is not NodeState.DOWN]
        free = total(ready) - total(problem.foreign.values())
        capacity = {name: float(amount) for name, amount in free.items() if amount > 0}
        shares: dict[TenantId, float] = {}
        _divide(_Tenants(problem), ROOT, capacity, capacity, shares)
        return shares


class _Tenants:
    """The tree, with what each subtree asks for and is guaranteed."""

    def __init__(self, problem: Problem) -> None:
        self.by_id: dict[TenantId, Tenant] = {t.id: t for t in problem.tenants}
        self.children: dict[TenantId, list[TenantId]] = {}
        for tenant in problem.tenants:
            parent = tenant.parent if tenant.parent in self.by_id and tenant.parent is not None else ROOT
            self.children.setdefault(parent, []).append(tenant.id)
        self.own: dict[TenantId, Resources] = {t: Resources() for t in self.by_id}
        for running in problem.running:
            self.own[running.demand.tenant] += running.resources
        for demand in problem.pending:
            self.own[demand.tenant] += demand.resources()

    def asks(self, tenant: TenantId) -> Resources:
        return total([self.own[tenant], *(self.asks(child) for child in self.children.get(tenant, ()))])

    def quota(self, tenant: TenantId) -> Resources:
        own = self.by_id[tenant].quota
        return total(self.quota(child) for child in self.children.get(tenant, ())) if own is None else own


def _divide(
    tenants: _Tenants, parent: TenantId, room: Amounts, capacity: Amounts, shares: dict[TenantId, float]
) -> None:
    """Divide ``room`` among the children of ``parent`` (and what it asks for itself), then go down."""
    children = tenants.children.get(parent, [])
    askers = [_asker(tenants, child, capacity) for child in children]
    if parent != ROOT and children and tenants.own[parent]:
        askers.append(_Asker(ROOT, _amounts(tenants.own[parent]), 0.0, 1.0, tenants.by_id[parent].weight))
    _fill(askers, room, capacity)
    for asker in askers:
        if asker.tenant != ROOT:
            shares[asker.tenant] = asker.got * asker.dominant(capacity)
            below = {name: amount * asker.got for name, amount in asker.asks.items()}
            if tenants.children.get(asker.tenant):
                _divide(tenants, asker.tenant, below, capacity, shares)


def _amounts(resources: Resources) -> Amounts:
    return {name: float(amount) for name, amount in resources.items()}


def _asker(tenants: _Tenants, tenant: TenantId, capacity: Amounts) -> _Asker:
    asks, quota, facts = tenants.asks(tenant), tenants.quota(tenant), tenants.by_id[tenant]
    covered = [quota.get(name) / amount for name, amount in asks.items() if quota.get(name)]
    bounds = [amount / asks.get(name) for name, amount in facts.limit or () if asks.get(name)]
    bounds += [
        (quota.get(name) + amount) / asks.get(name) for name, amount in facts.borrow_limit or () if asks.get(name)
    ]
    bounds += [0.0 for name in asks if name not in capacity]
    most = min([1.0, *bounds])
    return _Asker(tenant, _amounts(asks), min([most, *covered]) if covered else 0.0, most, facts.weight)


def _fill(askers: Sequence[_Asker], room: Amounts, capacity: Amounts) -> None:
    """Raise everyone's fraction: first to what quotas cover, then by weight until nothing more fits."""
    left = dict(room)
    _raise([(a, a.floor, a.floor) for a in askers if a.floor > 0], left)
    rising = [a for a in askers if a.asks and a.dominant(capacity) > 0]
    _raise([(a, a.weight / a.dominant(capacity), a.most) for a in rising], left)


def _raise(rising: Sequence[tuple[_Asker, float, float]], left: Amounts) -> None:
    """Raise (asker, speed, most) together; each stops at its most or when a resource it asks for runs out."""
    active = [entry for entry in rising if entry[0].got < entry[2] - 1e-12]
    while active:
        rate: Amounts = {}
        for asker, speed, _ in active:
            for name, amount in asker.asks.items():
                rate[name] = rate.get(name, 0.0) + speed * amount
        step = min((most - asker.got) / speed for asker, speed, most in active)
        step = min([step, *(max(0.0, left.get(name, 0.0)) / r for name, r in rate.items() if r > 0)])
        for asker, speed, _ in active:
            asker.got += speed * step
        for name, r in rate.items():
            left[name] = left.get(name, 0.0) - r * step
        dry = {name for name in rate if left.get(name, 0.0) <= 1e-9 * max(1.0, rate[name])}
        active = [e for e in active if e[0].got < e[2] - 1e-12 and not dry & {n for n, a in e[0].asks.items() if a > 0}]
