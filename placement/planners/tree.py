"""The tenant tree as planners count with it: guarantees, limits, what is lent, and shares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

from placement.model import ROOT, NodeState, PreemptionPolicy, Problem, Resources, Tenant, TenantId

Vector = dict[str, int]
Use = Mapping[TenantId, Mapping[str, int]]


def add(into: Vector, amounts: Resources | Mapping[str, int], sign: int = 1) -> None:
    """Add amounts in place."""
    for name, amount in amounts.items():
        into[name] = into.get(name, 0) + sign * amount


def summed(amounts: Iterable[Resources]) -> Vector:
    """Return the sum as a dict."""
    out: Vector = {}
    for each in amounts:
        add(out, each)
    return out


class Tree:
    """What never changes during one planning question.

    Attributes
    ----------
    quota : mapping of tenant to amounts
        Guarantee of the whole subtree: the tenant's own, or the sum of its children's where it names none.
    governed : frozenset of resource names
        Resources that some quota names. Nobody is guaranteed any of the others, so nobody is above there; where no
        quota names anything, everything is governed with a quota of 0.
    capacity : amounts
        All nodes that are not down, less foreign use.
    """

    def __init__(self, problem: Problem) -> None:
        self.tenants: dict[TenantId, Tenant] = {t.id: t for t in problem.tenants}
        self.default_policy = problem.policy.preemption
        self.children: dict[TenantId, list[TenantId]] = {ROOT: []}
        for tenant in problem.tenants:
            self.children.setdefault(tenant.id, [])
            self.children.setdefault(self.parent(tenant.id), []).append(tenant.id)
        self.paths: dict[TenantId, tuple[TenantId, ...]] = {t: self._path(t) for t in self.tenants}
        self._apart: dict[tuple[TenantId, TenantId], tuple[tuple[TenantId, ...], tuple[TenantId, ...]]] = {}
        self.capacity: Vector = {}
        for node in problem.nodes:
            if node.state is not NodeState.DOWN:
                add(self.capacity, node.resources)
                add(self.capacity, problem.foreign.get(node.id, Resources()), -1)
        self.quota: dict[TenantId, Vector] = {}
        for top in self.children[ROOT]:
            self._guarantee(top)
        named = {name for quota in self.quota.values() for name in quota}
        self._everything = not named
        self.governed = frozenset(named) if named else frozenset(self.capacity) | self._asked(problem)

    @staticmethod
    def _asked(problem: Problem) -> frozenset[str]:
        demands = [r.demand for r in problem.running] + list(problem.pending)
        return frozenset(name for demand in demands for bundle in demand.bundles for name in bundle.resources)

    def parent(self, tenant: TenantId) -> TenantId:
        """Return the parent; ``root`` for topmost tenants and for those whose parent is not described."""
        parent = self.tenants[tenant].parent
        return parent if parent is not None and parent in self.tenants else ROOT

    def _path(self, tenant: TenantId) -> tuple[TenantId, ...]:
        path: list[TenantId] = []
        while tenant != ROOT and tenant not in path:
            path.append(tenant)
            tenant = self.parent(tenant)
        return tuple(path)

    def _guarantee(self, tenant: TenantId) -> Vector:
        below: Vector = {}
        for child in self.children[tenant]:
            add(below, self._guarantee(child))
        own = self.tenants[tenant].quota
        self.quota[tenant] = below if own is None else dict(own.items())
        return self.quota[tenant]

    def policy(self, tenant: TenantId) -> PreemptionPolicy:
        return self.tenants[tenant].preemption or self.default_policy

    def apart(self, one: TenantId, other: TenantId) -> tuple[tuple[TenantId, ...], tuple[TenantId, ...]]:
        """Return both paths up to, not including, the first common ancestor (empty for one and the same tenant)."""
        known = self._apart.get((one, other))
        if known is None:
            a, b = self.paths[one], self.paths[other]
            common = set(a) & set(b)
            known = tuple(t for t in a if t not in common), tuple(t for t in b if t not in common)
            self._apart[one, other] = known
        return known

    def within(self, tenant: TenantId, use: Mapping[str, int], of: Iterable[str]) -> bool:
        """Return whether ``use`` is within the tenant's guarantee in the governed resources among ``of``."""
        quota = self.quota[tenant]
        names = [name for name in of if name in self.governed]
        return bool(names) and all(use.get(name, 0) <= quota.get(name, 0) for name in names)

    def above(self, tenant: TenantId, use: Mapping[str, int], of: Iterable[str]) -> bool:
        """Return whether the tenant uses more than its guarantee of some governed resource among ``of``."""
        quota = self.quota[tenant]
        return any(name in self.governed and use.get(name, 0) > quota.get(name, 0) for name in of)

    def share(self, tenant: TenantId, use: Mapping[str, int]) -> float:
        """Return the largest, over resources, of use above quota / capacity / weight."""
        quota, weight = self.quota[tenant], self.tenants[tenant].weight
        share = 0.0
        for name, amount in use.items():
            over = amount - quota.get(name, 0)
            if over > 0:
                share = max(share, over / max(1, self.capacity.get(name, 0)) / weight)
        return share

    def unlent(self, tenant: TenantId, name: str) -> int:
        """Return what of a tenant's guarantee nobody else may use, idle or not."""
        lend = dict(self.tenants[tenant].lend_limit or ())
        return max(0, self.quota[tenant].get(name, 0) - lend[name]) if name in lend else 0

    @cached_property
    def lending_is_limited(self) -> frozenset[str]:
        """Return the resources for which some tenant limits its lending."""
        return frozenset(name for t in self.tenants.values() for name, _ in t.lend_limit or ())

    def occupied(self, tenant: TenantId, use: Use, name: str) -> int:
        """Return what a subtree uses of a resource or withholds from the others."""
        return max(self._taken(tenant, use, name), self.unlent(tenant, name))

    def _taken(self, tenant: TenantId, use: Use, name: str) -> int:
        """Return what the members of a tenant occupy, and what it uses itself."""
        children = self.children[tenant]
        own = 0 if tenant == ROOT else use.get(tenant, {}).get(name, 0)
        below = sum(use.get(child, {}).get(name, 0) for child in children)
        occupied = sum(self.occupied(child, use, name) for child in children)
        return occupied + (own - below if tenant != ROOT else 0)

    def refusal(self, tenant: TenantId, use: Use, asked: Iterable[str]) -> tuple[TenantId, str, str] | None:
        """Return which limit ``use`` (the newcomer counted in) breaks on the newcomer's path, or None.

        Returns
        -------
        tuple of tenant, resource, word
            The word is ``limit``, ``borrow_limit`` or ``lend_limit``.
        """
        asked = tuple(asked)
        for node in self.paths[tenant]:
            facts, have, quota = self.tenants[node], use.get(node, {}), self.quota[node]
            for name, most in facts.limit or ():
                if name in asked and have.get(name, 0) > most:
                    return node, name, "limit"
            for name, most in facts.borrow_limit or ():
                if name in asked and have.get(name, 0) - quota.get(name, 0) > max(0, most):
                    return node, name, "borrow_limit"
            for name in self.lending_is_limited.intersection(asked):
                if have.get(name, 0) > quota.get(name, 0) and self._overdrawn(self.parent(node), use, name):
                    return node, name, "lend_limit"
        return None

    def _overdrawn(self, parent: TenantId, use: Use, name: str) -> bool:
        """Return whether the members of ``parent`` take more than they lend one another and it can add."""
        taken = self._taken(parent, use, name)
        if parent == ROOT:
            return taken > self.capacity.get(name, 0)
        over = taken - self.quota[parent].get(name, 0)
        if over <= 0:
            return False
        facts = self.tenants[parent]
        borrow, limit = dict(facts.borrow_limit or ()), dict(facts.limit or ())
        if (name in borrow and over > borrow[name]) or (name in limit and taken > limit[name]):
            return True
        return self._overdrawn(self.parent(parent), use, name)
