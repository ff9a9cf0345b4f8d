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
        nominal = self.tree.within(head.tenant, own, asked)
        out: list[Running] = []
        gone: dict[TenantId, Vector] = {}
        for running in sorted(turn.running(), key=lambda r: self._order(head, r)):
            tenant = running.demand.tenant
            use = dict(self.use[tenant])
            add(use, gone.get(tenant, {}), -1)
            if running.demand.preemptible and self._may(head, asked, running, use, nominal):
                out.append(running)
                add(gone.setdefault(tenant, {}), running.resources)
        cause = Cause.RECLAIM if nominal else Cause.FAIRNESS
        if out and all(running.demand.tenant == head.tenant for running in out):
            cause = Cause.PRIORITY
        return out, cause

    @staticmethod
    def _order(head: Demand, running: Running) -> tuple[bool, int, float]:
        return running.demand.tenant == head.tenant, running.demand.priority, -running.started_s

    def _may(self, head: Demand, asked: Resources, running: Running, use: Vector, nominal: bool) -> bool:
        """Return whether the tenants' rules let the head displace this one, its tenant using ``use`` by then."""
        policy, tenant = self.tree.policy(head.tenant), running.demand.tenant
        lower = running.demand.priority < head.priority
        if tenant == head.tenant:
            newer = running.demand.priority == head.priority and running.started_s > head.submitted_s
            return (policy.within is not Within.NEVER and lower) or (policy.within is Within.LOWER_OR_NEWER and newer)
        if not self.tree.above(tenant, use, asked):
            return False
        if nominal:
            return policy.reclaim is Reclaim.ANY or (policy.reclaim is Reclaim.LOWER_PRIORITY and lower)
        if policy.borrow is Borrow.LOWER_PRIORITY:
            return lower
        if policy.borrow is not Borrow.FAIR:
            return False
        mine, before = self._share(head.tenant, asked), self.tree.share(tenant, use)
        after = dict(use)
        add(after, running.resources, -1)
        return mine <= self.tree.share(tenant, after) or mine < before
