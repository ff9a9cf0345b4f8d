"""The order of service: in which order a boundless cluster would serve what waits (laws 3, 6, 8).

A tournament up the tenant tree. Serving one demand changes the keys of its own tenant and that one's ancestors alone,
so every inner tenant keeps its children in a heap and only the winner's line is worked out anew.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

from placement.inuse import capacity, guarantees, use_by_tenant
from placement.model import Demand, Problem, TenantId

Key = tuple[bool, float, int]
Amounts = tuple[tuple[str, int], ...]


def order_of_service(problem: Problem) -> tuple[Demand, ...]:
    """Return pending demands in the order of service.

    At each level of the tree: who stays within its guarantee, then the lowest share above quota, then who came first.
    """
    line = _Line(problem)
    return tuple(iter(line.next, None))


class _Line:
    def __init__(self, problem: Problem) -> None:
        self.weights = {tenant.id: tenant.weight for tenant in problem.tenants}
        self.parents = {t.id: t.parent if t.parent in self.weights else None for t in problem.tenants}
        self.children: dict[TenantId | None, list[TenantId]] = {}
        for tenant, parent in self.parents.items():
            self.children.setdefault(parent, []).append(tenant)
        quota = guarantees(problem.tenants)
        named = {name for amounts in quota.values() for name in amounts}
        self.guarded = named or {n for d in problem.pending for b in d.bundles for n in b.resources}
        self.quota = {tenant: dict(amounts.items()) for tenant, amounts in quota.items()}
        self.use = {tenant: dict(amounts.items()) for tenant, amounts in use_by_tenant(problem).items()}
        self.capacity = {name: amount for name, amount in capacity(problem).items() if amount > 0}
        arrivals = sorted(range(len(problem.pending)), key=lambda i: (problem.pending[i].submitted_s, i))
        self.arrival = {problem.pending[i].id: place for place, i in enumerate(arrivals)}
        self.queues: dict[TenantId, list[Demand]] = {}
        for demand in sorted(problem.pending, key=lambda d: (-d.priority, self.arrival[d.id]), reverse=True):
            self.queues.setdefault(demand.tenant, []).append(demand)
        self._asked: dict[tuple[int, int], Amounts] = {}
        self.above = {tenant: self._above(tenant) for tenant in self.weights}
        self.first: dict[TenantId | None, Demand | None] = {}
        self.rivals: dict[TenantId | None, list[tuple[Key, TenantId]]] = {}
        self._fill(None)

    def _fill(self, tenant: TenantId | None) -> None:
        """Work out the first of every subtree, the lower ones before."""
        rivals: list[tuple[Key, TenantId]] = []
        for child in self.children.get(tenant, ()):
            self._fill(child)
            found = self.first[child]
            if found is not None:
                rivals.append((self._key(child, found), child))
        heapify(rivals)
        self.rivals[tenant] = rivals
        self.first[tenant] = self._winner(tenant)

    def next(self) -> Demand | None:
        """Serve one more demand: take it off its queue and count it as used."""
        found = self.first[None]
        if found is None:
            return None
        self.queues[found.tenant].pop()
        more = self._asks(found)
        at: TenantId | None = found.tenant
        served: TenantId | None = None
        while True:
            if served is not None:
                self._again(at, served)
            if at is not None:
                use = self.use[at]
                for name, amount in more:
                    use[name] = use.get(name, 0) + amount
                self.above[at] = self._above(at)
            self.first[at] = self._winner(at)
            if at is None:
                return found
            served, at = at, self.parents[at]

    def _again(self, parent: TenantId | None, child: TenantId) -> None:
        """Enter a child anew; it was the first of its rivals."""
        rivals, found = self.rivals[parent], self.first[child]
        assert rivals[0][1] == child, "only the first of its rivals is served"
        if found is None:
            heappop(rivals)
        else:
            heapreplace(rivals, (self._key(child, found), child))

    def _winner(self, tenant: TenantId | None) -> Demand | None:
        rivals = self.rivals[tenant]
        queue = self.queues.get(tenant) if tenant is not None else None
        if tenant is not None and queue and (not rivals or self._key(tenant, queue[-1]) < rivals[0][0]):
            return queue[-1]
        return self.first[rivals[0][1]] if rivals else None

    def _asks(self, demand: Demand) -> Amounts:
        bundles, n = demand.bundles, demand.min_bundles
        if bundles.count(bundles[0]) != len(bundles):
            return demand.resources(n).items()
        key = (id(bundles[0]), n)
        if key not in self._asked:
            self._asked[key] = bundles[0].resources.times(n).items()
        return self._asked[key]

    def _above(self, tenant: TenantId) -> float:
        quota, capacity = self.quota[tenant], self.capacity
        most = 0.0
        for name, amount in self.use[tenant].items():
            over = amount - quota.get(name, 0)
            if over > 0 and name in capacity:
                most = max(most, over / capacity[name])
        return most / self.weights[tenant]

    def _key(self, tenant: TenantId, demand: Demand) -> Key:
        use, quota, guarded = self.use[tenant], self.quota[tenant], False
        for name, amount in self._asks(demand):
            if name in self.guarded:
                guarded = True
                if use.get(name, 0) + amount > quota.get(name, 0):
                    return True, self.above[tenant], self.arrival[demand.id]
        return not guarded, self.above[tenant], self.arrival[demand.id]
