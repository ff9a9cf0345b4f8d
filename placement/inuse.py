"""Shares in use: each tenant's dominant share of the cluster, now or under a plan, and its share above quota."""

from __future__ import annotations

from collections.abc import Mapping

from placement.model import NodeState, Plan, Problem, Resources, TenantId, total


def capacity(problem: Problem) -> Resources:
    """Return what all nodes that are not down have, less foreign use."""
    up = {node.id for node in problem.nodes if node.state is not NodeState.DOWN}
    foreign = total(amounts for node, amounts in problem.foreign.items() if node in up)
    return total(node.resources for node in problem.nodes if node.id in up) - foreign


def use_by_tenant(problem: Problem, plan: Plan | None = None) -> Mapping[TenantId, Resources]:
    """Return what each subtree uses: now, or under a plan."""
    own: dict[TenantId, list[Resources]] = {tenant.id: [] for tenant in problem.tenants}
    sizes = {r.demand.id: len(r.nodes) for r in problem.running}
    demands = {r.demand.id: r.demand for r in problem.running} | {d.id: d for d in problem.pending}
    if plan is not None:
        sizes |= {grant.demand: len(grant.nodes) for grant in plan.grants}
        sizes |= {resize.demand: resize.to for resize in plan.resizes}
        sizes |= {preemption.demand: 0 for preemption in plan.preemptions}
    for name, n in sizes.items():
        own[demands[name].tenant].append(demands[name].resources(n) if n else Resources())
    parents = {tenant.id: tenant.parent for tenant in problem.tenants}
    out: dict[TenantId, list[Resources]] = {tenant: [] for tenant in own}
    for tenant, amounts in own.items():
        at: TenantId | None = tenant
        seen: set[TenantId] = set()
        while at is not None and at in out and at not in seen:
            out[at] += amounts
            seen.add(at)
            at = parents[at]
    return {tenant: total(amounts) for tenant, amounts in out.items()}


def dominant(use: Resources, of: Resources) -> float:
    """Return the largest fraction of ``of`` that ``use`` is, 0 where there is none."""
    return max((amount / of.get(name) for name, amount in use.items() if of.get(name) > 0), default=0.0)


def used_shares(problem: Problem, plan: Plan | None = None) -> Mapping[TenantId, float]:
    """Return each tenant's dominant share, 0..1."""
    whole = capacity(problem)
    return {tenant: dominant(use, whole) for tenant, use in use_by_tenant(problem, plan).items()}


def shares_above_quota(problem: Problem, plan: Plan | None = None) -> Mapping[TenantId, float]:
    """Return each tenant's largest use above quota / capacity / weight: what law 6 compares."""
    whole = capacity(problem)
    tenants = {tenant.id: tenant for tenant in problem.tenants}

    def quota(tenant: TenantId) -> Resources:
        own = tenants[tenant].quota
        return total(quota(t.id) for t in tenants.values() if t.parent == tenant) if own is None else own

    return {
        tenant: dominant((use - quota(tenant)).positive(), whole) / tenants[tenant].weight
        for tenant, use in use_by_tenant(problem, plan).items()
    }
