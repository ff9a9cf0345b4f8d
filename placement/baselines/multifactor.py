"""Slurm as it is commonly run: multifactor priority with fair tree, and backfill.

References
----------
Slurm, Multifactor Priority Plugin (age, fair share, job size, QOS) and Fair Tree Fairshare Algorithm (siblings by
shares / usage, depth first, factor = rank / number of ranks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from placement.baselines.conservative import Conservative
from placement.model import ROOT, Demand, Plan, Problem, Resources, TenantId, total
from placement.planners.base import Budget
from placement.planners.tree import Tree

AGE, FAIR_SHARE, JOB_SIZE, QOS = 1_000.0, 10_000.0, 500.0, 1_000_000.0
"""PriorityWeight of each factor: classes first, then fair share, then age up to PriorityMaxAge, then size."""
MAX_AGE_S = 7 * 24 * 3600.0


class Multifactor:
    """The waiting by multifactor priority; reservations as in conservative backfill."""

    name = "multifactor"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        return Conservative(self.name, by_factors)(problem, budget)


def by_factors(problem: Problem) -> Sequence[Demand]:
    """Return the waiting by multifactor priority, equals as they came."""
    fair = fair_tree(problem)
    whole = total(node.resources for node in problem.nodes)

    def priority(demand: Demand) -> float:
        age = min(1.0, max(0.0, problem.now_s - demand.submitted_s) / MAX_AGE_S)
        size = _dominant(demand.resources(), whole)
        return AGE * age + FAIR_SHARE * fair[demand.tenant] + JOB_SIZE * size + QOS * demand.priority

    return sorted(problem.pending, key=lambda d: (-priority(d), d.submitted_s))


def fair_tree(problem: Problem) -> Mapping[TenantId, float]:
    """Return each tenant's fair-share factor, 0..1: 1 for who has used the least of what its weight gives it."""
    tree, used = Tree(problem), _usage(problem)
    order: list[TenantId] = []

    def visit(parent: TenantId) -> None:
        siblings = tree.children[parent]
        usage = {t: sum(used[u] for u in used if t in tree.paths[u]) for t in siblings}
        for tenant in sorted(siblings, key=lambda t: usage[t] / tree.tenants[t].weight):
            order.append(tenant)
            visit(tenant)

    visit(ROOT)
    return {tenant: (len(order) - at) / len(order) for at, tenant in enumerate(order)}


def _usage(problem: Problem) -> Mapping[TenantId, float]:
    """Return each tenant's decayed use and that of what it runs, in seconds of the whole cluster's largest share."""
    whole = total(node.resources for node in problem.nodes)
    out: dict[TenantId, float] = {}
    for tenant in problem.tenants:
        out[tenant.id] = max((amount * 1e3 / max(1, whole.get(name)) for name, amount in tenant.usage), default=0.0)
    for running in problem.running:
        ran_s = max(0.0, problem.now_s - running.started_s)
        out[running.demand.tenant] += ran_s * _dominant(running.resources, whole)
    return out


def _dominant(amounts: Resources, whole: Resources) -> float:
    return max((amount / max(1, whole.get(name)) for name, amount in amounts.items()), default=0.0)
