"""Shares in use: each tenant's dominant share of the cluster, now or under a plan, and its share above quota."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from placement.model import Bundle, NodeState, Plan, Problem, Resources, Tenant, TenantId, total
from placement.model.demand import counted


def capacity(problem: Problem) -> Resources:
    """Return what all nodes that are not down have, less foreign use."""
    have = total(node.resources for node in problem.nodes if node.state is not NodeState.DOWN)
    if not problem.foreign:
        return have
    up = {node.id for node in problem.nodes if node.state is not NodeState.DOWN}
    return have - total(amounts for node, amounts in problem.foreign.items() if node in up)


def use_by_tenant(problem: Problem, plan: Plan | None = None) -> Mapping[TenantId, Resources]:
    """Return what each subtree uses: now, or under a plan."""
    return sums_by_subtree(problem.tenants, _held(problem, plan))


def sums_by_subtree(
    tenants: Iterable[Tenant], parts: Iterable[tuple[TenantId, tuple[Bundle, ...]]]
) -> dict[TenantId, Resources]:
    """Return the sum of bundles of each tenant and all below it; like bundles are added once."""
    counts: Counter[tuple[TenantId, int]] = Counter()
    vectors: dict[int, Resources] = {}
    for tenant, bundles in parts:
        for bundle, n in counted(bundles):
            counts[tenant, id(bundle.resources)] += n
            vectors[id(bundle.resources)] = bundle.resources
    parents = {tenant.id: tenant.parent for tenant in tenants}
    sums: dict[TenantId, dict[str, int]] = {tenant: {} for tenant in parents}
    lines = {tenant: _line(parents, tenant) for tenant in parents}
    for (tenant, key), n in counts.items():
        for above in lines[tenant]:
            into = sums[above]
            for name, amount in vectors[key].items():
                into[name] = into.get(name, 0) + amount * n
    return {tenant: Resources.of(amounts) for tenant, amounts in sums.items()}


def _held(problem: Problem, plan: Plan | None) -> Iterator[tuple[TenantId, tuple[Bundle, ...]]]:
    """Return (tenant, bundles held) of all work: now, or under a plan."""
    sizes = {}
    if plan is not None:
        sizes = {resize.demand: resize.to for resize in plan.resizes}
        sizes |= {preemption.demand: 0 for preemption in plan.preemptions}
    for running in problem.running:
        demand = running.demand
        n = sizes.get(demand.id, len(running.nodes)) if sizes else len(running.nodes)
        yield demand.tenant, demand.bundles if n == len(demand.bundles) else demand.bundles[:n]
    if plan is not None and plan.grants:
        demands = {demand.id: demand for demand in problem.pending}
        for grant in plan.grants:
            yield demands[grant.demand].tenant, demands[grant.demand].form(grant.form).bundles[: len(grant.nodes)]


def _line(parents: Mapping[TenantId, TenantId | None], tenant: TenantId) -> tuple[TenantId, ...]:
    """Return a tenant and its ancestors, without the root."""
    out: list[TenantId] = []
    at: TenantId | None = tenant
    while at is not None and at in parents and at not in out:
        out.append(at)
        at = parents[at]
    return tuple(out)


def dominant(use: Resources, of: Resources) -> float:
    """Return the largest fraction of ``of`` that ``use`` is, 0 where there is none."""
    return max((amount / of.get(name) for name, amount in use.items() if of.get(name) > 0), default=0.0)


def used_shares(problem: Problem, plan: Plan | None = None) -> Mapping[TenantId, float]:
    """Return each tenant's dominant share, 0..1."""
    whole = capacity(problem)
    return {tenant: dominant(use, whole) for tenant, use in use_by_tenant(problem, plan).items()}


def guarantees(tenants: Iterable[Tenant]) -> dict[TenantId, Resources]:
    """Return each tenant's quota; where an inner one names none, the sum of its children's."""
    by_id = {tenant.id: tenant for tenant in tenants}
    children: dict[TenantId | None, list[TenantId]] = {}
    for tenant in by_id.values():
        children.setdefault(tenant.parent, []).append(tenant.id)
    known: dict[TenantId, Resources] = {}

    def of(tenant: TenantId) -> Resources:
        if tenant not in known:
            own = by_id[tenant].quota
            known[tenant] = total(of(child) for child in children.get(tenant, ())) if own is None else own
        return known[tenant]

    return {tenant: of(tenant) for tenant in by_id}


def shares_above_quota(problem: Problem, plan: Plan | None = None) -> Mapping[TenantId, float]:
    """Return each tenant's largest use above quota / capacity / weight: what law 6 compares."""
    whole, quota = capacity(problem), guarantees(problem.tenants)
    weights = {tenant.id: tenant.weight for tenant in problem.tenants}
    return {
        tenant: dominant((use - quota[tenant]).positive(), whole) / weights[tenant]
        for tenant, use in use_by_tenant(problem, plan).items()
    }
