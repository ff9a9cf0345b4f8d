"""Dominant-resource fairness with borrowing and reclaim, as queue managers on Kubernetes do it.

References
----------
Ghodsi et al., Dominant Resource Fairness, NSDI 2011; Kueue, Fair Sharing and Preemption (the queue with the lowest
share is served first, one head at a time, and a head that does not fit is passed; a head within its nominal quota
reclaims from queues that borrow; with fair sharing also where its share after is at most its victim's after, or less
than its victim's before; candidates: other queues first, lowest priority, newest; then whoever can is spared).
"""

from __future__ import annotations

from placement.baselines.ranked import make_room
from placement.baselines.turn import Turn, by_priority
from placement.model import (
    Borrow,
    Cause,
    Demand,
    Plan,
    Problem,
    Reclaim,
    Resources,
    Running,
    TenantId,
    Within,
    total,
)
from placement.planners.arrays.layout import Taken
from placement.planners.base import Budget
from placement.planners.tree import Tree, Vector, add


class DrfReclaim:
    """One head after another, of the tenant with the lowest share; victims by the rules of the tenants."""

    name = "drf-reclaim"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn, book = Turn(problem), _Book(problem)
        queues: dict[TenantId, list[Demand]] = {}
        for demand in reversed(by_priority(problem.pending)):
            queues.setdefault(demand.tenant, []).append(demand)
        keys: dict[TenantId, tuple[float, ...]] = {}
        failed: set[object] = set()
        while queues:
            for tenant in queues:
                if tenant not in keys:
                    keys[tenant] = book.turn_of(queues[tenant][-1])
            tenant = min(queues, key=lambda t: keys[t])
            head = queues[tenant].pop()
            shape = (tenant, head.priority, head.bundles, head.min_bundles, head.topologies)
            if shape not in failed:
                if self._admit(turn, book, head):
                    keys.clear()
                else:
                    failed.add(shape)
            keys.pop(tenant, None)
            if not queues[tenant]:
                del queues[tenant]
        return turn.plan(self.name)

    def _admit(self, turn: Turn, book: _Book, head: Demand) -> bool:
        asked = head.resources()
        if book.refuses(head, asked):
            return False
        if not turn.start(head):
            victims, cause = book.victims(turn, head, asked)
            if not victims or not make_room(turn, head, victims, cause):
                return False
            for victim in victims:
                if victim.demand.id in turn.stopped:
                    book.count(victim.demand.tenant, victim.resources, -1)
        book.count(head.tenant, _granted(head, turn.started[head.id]))
        return True


def _granted(demand: Demand, placed: tuple[Taken, ...]) -> Resources:
    return demand.resources(len(placed))


class _Book:
    """What each subtree uses, and what the tenants' rules allow."""

    def __init__(self, problem: Problem) -> None:
        self.tree = Tree(problem)
        self.use: dict[TenantId, Vector] = {tenant: {} for tenant in self.tree.tenants}
        by_tenant: dict[TenantId, list[Resources]] = {}
        for running in problem.running:
            by_tenant.setdefault(running.demand.tenant, []).append(running.resources)
        for tenant, amounts in by_tenant.items():
            self.count(tenant, total(amounts))

    def count(self, tenant: TenantId, amounts: Resources, sign: int = 1) -> None:
        for node in self.tree.paths[tenant]:
            add(self.use[node], amounts, sign)

    def turn_of(self, head: Demand) -> tuple[float, ...]:
        """Return the key of a head: the shares with it counted in, from the top of the tree down; then its age."""
        shares = [self._share(tenant, head.resources()) for tenant in reversed(self.tree.paths[head.tenant])]
        depth = 8 - len(shares)
        return (*shares, *([0.0] * depth), -float(head.priority), head.submitted_s)

    def _share(self, tenant: TenantId, more: Resources, sign: int = 1) -> float:
        use = dict(self.use[tenant])
        add(use, more, sign)
        return self.tree.share(tenant, use)

    def refuses(self, head: Demand, asked: Resources) -> bool:
        """Return whether a limit of the tenant or one above it stands against the head."""
        self.count(head.tenant, asked)
        broken = self.tree.refusal(head.tenant, self.use, asked)
        self.count(head.tenant, asked, -1)
        return broken is not None and broken[2] != "lend_limit"

    def victims(self, turn: Turn, head: Demand, asked: Resources) -> tuple[list[Running], Cause]:
        """Return whom the head may displace, the first to go first, and under which rule."""
        own = dict(self.use[head.tenant])
        add(own, asked)
        names = tuple(asked)
        nominal = self.tree.within(head.tenant, own, names)
        mine = self.tree.share(head.tenant, own)
        out: list[Running] = []
        use = {tenant: dict(amounts) for tenant, amounts in self.use.items()}
        spent = {tenant for tenant in use if tenant != head.tenant and not self.tree.above(tenant, use[tenant], names)}
        for running in sorted(turn.running(), key=lambda r: self._order(head, r)):
            tenant = running.demand.tenant
            if tenant in spent or not running.demand.preemptible:
                continue
            if tenant == head.tenant:
                if self._may_within(head, running):
                    out.append(running)
            elif self._may(head, running, use[tenant], nominal, mine):
                out.append(running)
                add(use[tenant], running.resources, -1)
                if not self.tree.above(tenant, use[tenant], names):
                    spent.add(tenant)
        cause = Cause.RECLAIM if nominal else Cause.FAIRNESS
        if out and all(running.demand.tenant == head.tenant for running in out):
            cause = Cause.PRIORITY
        return out, cause

    @staticmethod
    def _order(head: Demand, running: Running) -> tuple[bool, int, float]:
        return running.demand.tenant == head.tenant, running.demand.priority, -running.started_s

    def _may_within(self, head: Demand, running: Running) -> bool:
        """Return whether the head may displace work of its own tenant."""
        policy = self.tree.policy(head.tenant).within
        if running.demand.priority == head.priority:
            return policy is Within.LOWER_OR_NEWER and running.started_s > head.submitted_s
        return policy is not Within.NEVER and running.demand.priority < head.priority

    def _may(self, head: Demand, running: Running, use: Vector, nominal: bool, mine: float) -> bool:
        """Return whether the head may displace work of another tenant that uses ``use`` by then, above its quota."""
        policy, lower = self.tree.policy(head.tenant), running.demand.priority < head.priority
        if nominal:
            return policy.reclaim is Reclaim.ANY or (policy.reclaim is Reclaim.LOWER_PRIORITY and lower)
        if policy.borrow is Borrow.LOWER_PRIORITY:
            return lower
        if policy.borrow is not Borrow.FAIR:
            return False
        tenant, after = running.demand.tenant, dict(use)
        add(after, running.resources, -1)
        return mine <= self.tree.share(tenant, after) or mine < self.tree.share(tenant, use)
