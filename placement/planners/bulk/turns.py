"""Whose turn it is, kept up to date: the tournament of ``planners.order``, replayed only where something changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from placement.model import ROOT, Demand, TenantId
from placement.planners.bulk.kinds import Groups
from placement.planners.tree import Tree, Vector, add

Rank = tuple[int, bool, tuple[float, int]]


@dataclass(slots=True)
class Step:
    """One thing a tenant may ask for next: a demand's start, or one more bundle of an elastic one."""

    demand: Demand
    number: int
    """Its place among the pending; -1 for running work."""
    arrival: tuple[float, int]
    priority: int
    groups: Groups
    more: Vector
    grows: bool = False
    asked: int = 0
    """How often it was asked again."""
    void: bool = False
    """No longer asked for."""
    rank: Rank = field(init=False)
    """The order inside a tenant."""

    def __post_init__(self) -> None:
        self.rank = -self.priority, self.grows, self.arrival


Key = tuple[bool, bool, float, tuple[float, int]]


class Book:
    """The use of every tenant, with its share."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.use: dict[TenantId, Vector] = {tenant: {} for tenant in tree.tenants}
        self._shares: dict[TenantId, float] = {}
        self._above: dict[TenantId, bool] = {}
        self._is_limited = {t: self._limited(t) for t in tree.tenants}
        self._most = {t: tuple(self._limits(t)) for t in tree.tenants}
        self.version = 0
        """How often something has been counted."""

    def _limited(self, tenant: TenantId) -> bool:
        facts = [self.tree.tenants[t] for t in self.tree.paths[tenant]]
        return bool(self.tree.lending_is_limited) or any(t.limit or t.borrow_limit for t in facts)

    def _limits(self, tenant: TenantId) -> Iterator[tuple[TenantId, str, int]]:
        """Yield the most of a resource that a tenant and those above it may use, by limit or by borrowing."""
        for top in self.tree.paths[tenant]:
            facts, quota = self.tree.tenants[top], self.tree.quota[top]
            for name, most in facts.limit or ():
                yield top, name, most
            for name, most in facts.borrow_limit or ():
                yield top, name, quota.get(name, 0) + max(0, most)

    def count(self, tenant: TenantId, amounts: Vector, sign: int = 1) -> None:
        self.version += 1
        self.tried(tenant, amounts, sign)

    def tried(self, tenant: TenantId, amounts: Vector, sign: int = 1) -> None:
        """Count what is taken back at once."""
        for node in self.tree.paths[tenant]:
            add(self.use[node], amounts, sign)
            self._shares.pop(node, None)
            self._above.pop(node, None)

    def share(self, tenant: TenantId) -> float:
        known = self._shares.get(tenant)
        if known is None:
            known = self._shares[tenant] = self.tree.share(tenant, self.use[tenant])
        return known

    def above(self, tenant: TenantId) -> bool:
        """Return whether the tenant uses more than its guarantee of anything governed."""
        known = self._above.get(tenant)
        if known is None:
            known = self._above[tenant] = self.tree.above(tenant, self.use[tenant], self.use[tenant])
        return known

    def limited(self, tenant: TenantId) -> bool:
        """Return whether anything but capacity may refuse the tenant."""
        return self._is_limited[tenant]

    def allowed(self, tenant: TenantId, more: Vector) -> bool:
        if not self._is_limited[tenant]:
            return True
        if not self.tree.lending_is_limited:
            use = self.use
            return not any(
                name in more and use[top].get(name, 0) + more[name] > most for top, name, most in self._most[tenant]
            )
        self.tried(tenant, more)
        refused = self.tree.refusal(tenant, self.use, more)
        self.tried(tenant, more, -1)
        return refused is None

    def guaranteed(self, tenant: TenantId, more: Vector) -> bool:
        """Return whether the tenant's use stays within its guarantee with these amounts."""
        tree, use, quota = self.tree, self.use[tenant], self.tree.quota[tenant]
        any_governed = False
        for name, amount in more.items():
            if name in tree.governed:
                any_governed = True
                if use.get(name, 0) + amount > quota.get(name, 0):
                    return False
        return any_governed


class Turns:
    """The steps that are still to be decided, and whose turn it is."""

    def __init__(self, book: Book) -> None:
        self.book, self.tree = book, book.tree
        self._queues: dict[TenantId, list[tuple[Rank, int, Step]]] = {t: [] for t in self.tree.tenants}
        self._serial = 0
        self._winners: dict[TenantId, Step | None] = {}
        self._keys: dict[TenantId, Key] = {}
        self._stale: set[TenantId] = set(self.tree.tenants)
        self._top = self.tree.children[ROOT]

    def push(self, step: Step) -> None:
        self._serial += 1
        heappush(self._queues[step.demand.tenant], (step.rank, self._serial, step))
        self.touch(step.demand.tenant)

    def touch(self, tenant: TenantId) -> None:
        """Note that the tenant's use or queue has changed."""
        self._stale.update(self.tree.paths[tenant])

    def pop(self, step: Step) -> None:
        """Take the step whose turn it was off its queue."""
        heappop(self._queues[step.demand.tenant])
        self.touch(step.demand.tenant)

    def next(self) -> Step | None:
        if self._stale:
            for tenant in sorted(self._stale, key=self._depth) if len(self._stale) > 1 else self._stale:
                self._renew(tenant)
            self._stale.clear()
        best: TenantId | None = None
        key: Key | None = None
        keys = self._keys
        for tenant in self._top:
            if tenant in keys:
                other = keys[tenant]
                if key is None or other < key:
                    best, key = tenant, other
        return None if best is None else self._winners[best]

    def _depth(self, tenant: TenantId) -> int:
        """Return the order of renewing: children before their parents."""
        return -len(self.tree.paths[tenant])

    def _renew(self, tenant: TenantId) -> None:
        winner = self._head(tenant)
        key = None if winner is None else self._key(tenant, winner)
        own = winner
        for child in self.tree.children[tenant]:
            other = self._keys.get(child)
            if other is not None and (key is None or other < key):
                winner, key = self._winners[child], other
        self._winners[tenant] = winner
        if winner is None:
            self._keys.pop(tenant, None)
        elif key is not None:
            self._keys[tenant] = key if winner is own else self._key(tenant, winner)

    def _head(self, tenant: TenantId) -> Step | None:
        queue = self._queues[tenant]
        while queue and queue[0][2].void:
            heappop(queue)
        return queue[0][2] if queue else None

    def _key(self, tenant: TenantId, step: Step) -> Key:
        borrows = not self.book.guaranteed(tenant, step.more)
        return borrows, step.grows, self.book.share(tenant), step.arrival
