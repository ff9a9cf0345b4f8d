"""What fairness policies know of the tenants: the tree, what each asks for, is guaranteed and may use at most."""

from __future__ import annotations

from placement.inuse import capacity, guarantees, sums_by_subtree
from placement.model import ROOT, Problem, Resources, Tenant, TenantId

Amounts = dict[str, float]
"""Amounts as fractions of the cluster's capacity."""


class TenantTree:
    """The tenant tree of a problem, in fractions of the cluster.

    Attributes
    ----------
    own : dict of TenantId to Amounts
        What a tenant itself asks for: all that runs and waits, without its members'.
    limits : dict of TenantId to Amounts
        The most that a subtree may use of each resource that is bounded: its limit, its quota and what it may borrow.
    withheld : dict of TenantId to Amounts
        What of a tenant's quota others may not use while it is idle.
    """

    def __init__(self, problem: Problem) -> None:
        self.by_id: dict[TenantId, Tenant] = {t.id: t for t in problem.tenants}
        self.children: dict[TenantId, list[TenantId]] = {}
        for facts in problem.tenants:
            parent = facts.parent if facts.parent in self.by_id and facts.parent is not None else ROOT
            self.children.setdefault(parent, []).append(facts.id)
        self.capacity = {name: float(amount) for name, amount in capacity(problem).items() if amount > 0}
        work = [(r.demand.tenant, r.demand.bundles[: len(r.nodes)]) for r in problem.running]
        work += [(demand.tenant, demand.bundles) for demand in problem.pending]
        subtree = sums_by_subtree(problem.tenants, work)
        quota = guarantees(problem.tenants)
        self.absent: set[TenantId] = set()
        """Tenants that ask for a resource of which the cluster has nothing: they can't start as they are."""
        self.own: dict[TenantId, Amounts] = {}
        self.quota: dict[TenantId, Amounts] = {}
        self.limits: dict[TenantId, Amounts] = {}
        self.withheld: dict[TenantId, Amounts] = {}
        for tenant, facts in self.by_id.items():
            below = self.children.get(tenant, ())
            own = dict(subtree[tenant].items())
            for child in below:
                for name, amount in subtree[child].items():
                    own[name] -= amount
            if any(amount > 0 and name not in self.capacity for name, amount in own.items()):
                self.absent.add(tenant)
            self.own[tenant] = self._fractions(own)
            self.quota[tenant] = self._fractions(dict(quota[tenant].items()))
            self.limits[tenant] = self._limits(facts, quota[tenant])
            self.withheld[tenant] = self._fractions(
                {name: max(0, quota[tenant].get(name) - amount) for name, amount in facts.lend_limit or ()}
            )

    def _fractions(self, amounts: dict[str, int]) -> Amounts:
        have = self.capacity
        return {name: amount / have[name] for name, amount in amounts.items() if amount > 0 and name in have}

    def _limits(self, facts: Tenant, quota: Resources) -> Amounts:
        most = dict(facts.limit or ())
        for name, amount in facts.borrow_limit or ():
            most[name] = min(most.get(name, quota.get(name) + amount), quota.get(name) + amount)
        return {name: amount / self.capacity[name] for name, amount in most.items() if name in self.capacity}

    def below(self, tenant: TenantId) -> list[TenantId]:
        """Return a tenant and all tenants below it."""
        out = [tenant]
        for child in self.children.get(tenant, ()):
            out += self.below(child)
        return out

    def asks(self, tenant: TenantId) -> Amounts:
        """Return what a subtree asks for."""
        out: Amounts = {}
        for member in self.below(tenant):
            for name, amount in self.own[member].items():
                out[name] = out.get(name, 0.0) + amount
        return out

    def guaranteed(self, tenant: TenantId) -> float:
        """Return the fraction of what a subtree asks for that its quota covers, 0..1."""
        asks = self.asks(tenant)
        covered = [amount / asks[name] for name, amount in self.quota[tenant].items() if asks.get(name)]
        return min([1.0, *covered]) if covered else 0.0


def dominant(amounts: Amounts) -> float:
    """Return the largest fraction of the cluster."""
    return max(amounts.values(), default=0.0)
