"""Whom a newcomer may displace: work of its own tenant by importance, that of others by guarantee or by borrowing."""

from __future__ import annotations

from placement.model import Borrow, Reclaim, TenantId, Within
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.turns import Step

ANY = float("inf")
"""The priority that all work is below."""


class Rights:
    """Whom one newcomer may displace, as things stand."""

    def __init__(self, gangs: Gangs, step: Step) -> None:
        self.book, self.tree, self.step = gangs.book, gangs.book.tree, step
        demand = step.demand
        self.policy = self.tree.policy(demand.tenant)
        self._within: dict[TenantId, bool] = {}
        self.below: dict[TenantId, float] = {}
        """By other tenant some of whose work may be displaced: the priority that this work is below."""
        if self._reaches():
            for tenant in self.tree.tenants:
                below = self._below(tenant) if tenant != demand.tenant else None
                if below is not None:
                    self.below[tenant] = below
        rule = self.policy.within
        self.newer = rule is Within.LOWER_OR_NEWER
        self.own: float = step.priority if rule is not Within.NEVER else -ANY
        self.limits = {**self.below, demand.tenant: self.own}

    def _reaches(self) -> bool:
        """Return whether it may displace anybody of another tenant, as a first look."""
        if self.policy.borrow is not Borrow.NEVER:
            return True
        if self.policy.reclaim is Reclaim.NEVER:
            return False
        return any(self._guaranteed(top) for top in self.tree.paths[self.step.demand.tenant])

    def _guaranteed(self, top: TenantId) -> bool:
        known = self._within.get(top)
        if known is None:
            known = self._within[top] = self.book.guaranteed(top, self.step.more)
        return known

    def _below(self, tenant: TenantId) -> float | None:
        mine, side = self.tree.apart(self.step.demand.tenant, tenant)
        if not mine or not side:
            return None
        for each in side:
            if not self.book.above(each):
                return None
        policy, lower = self.policy, float(self.step.priority)
        if self._guaranteed(mine[-1]):
            return None if policy.reclaim is Reclaim.NEVER else ANY if policy.reclaim is Reclaim.ANY else lower
        return None if policy.borrow is Borrow.NEVER else ANY if policy.borrow is Borrow.FAIR else lower

    def may(self, gang: Gang) -> bool:
        """Return whether the newcomer may displace a gang, quotas of the moment apart."""
        if gang.priority < self.limits.get(gang.tenant, -ANY):
            return True
        step = self.step
        equal = self.newer and gang.priority == step.priority and gang.tenant == step.demand.tenant
        return equal and gang.since > step.demand.submitted_s

    def above(self, gang: Gang, keep: int) -> bool:
        """Return whether the gang's tenants are above their quota of something that it would give up now."""
        if gang.tenant == self.step.demand.tenant:
            return True
        _, side = self.tree.apart(self.step.demand.tenant, gang.tenant)
        released = gang.released(keep)
        return all(self.tree.above(t, self.book.use[t], released) for t in side)

    @property
    def sign(self) -> object:
        """Return what makes the rights of two newcomers equal."""
        demand = self.step.demand
        return demand.tenant, self.own, demand.submitted_s if self.newer else None, tuple(self.below.items())
