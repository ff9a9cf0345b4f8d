"""Who may displace whom, in which order victims go, and which of two sets of victims is the lesser harm."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from placement.model import Borrow, Cause, Demand, Reclaim, TenantId, Within
from placement.planners.state import State, Victim
from placement.planners.tree import Vector, add


def inside_own_tenant(state: State, newcomer: Demand, victim: Victim) -> bool:
    """Return whether the rule within one tenant allows it: lower priority, or an equal that started later."""
    rule, other = state.tree.policy(newcomer.tenant).within, victim.running.demand
    if rule is Within.NEVER:
        return False
    if other.priority < newcomer.priority:
        return True
    return (
        rule is Within.LOWER_OR_NEWER
        and other.priority == newcomer.priority
        and victim.running.started_s > newcomer.submitted_s
    )


def might_displace(state: State, newcomer: Demand, victim: Victim) -> bool:
    """Return whether a victim is possible at all; what it depends on else is judged on the whole set."""
    other = victim.running.demand
    if not other.preemptible:
        return False
    if other.tenant == newcomer.tenant:
        return inside_own_tenant(state, newcomer, victim)
    policy, tree = state.tree.policy(newcomer.tenant), state.tree
    lower = other.priority < newcomer.priority
    reclaims = policy.reclaim is Reclaim.ANY or (policy.reclaim is Reclaim.LOWER_PRIORITY and lower)
    borrows = policy.borrow is Borrow.FAIR or (policy.borrow is Borrow.LOWER_PRIORITY and lower)
    if not (reclaims or borrows):
        return False
    _, side = tree.apart(newcomer.tenant, other.tenant)
    return all(tree.above(tenant, state.use[tenant], victim.released) for tenant in side)


def displacement(
    state: State, newcomer: Demand, more: Vector, victims: Sequence[Victim]
) -> tuple[tuple[Victim, Cause], ...] | None:
    """Return the victims in the order in which they may go, each with its cause; None where a rule forbids the set.

    The newcomer may not break a limit either, with the victims gone.
    """
    after = state.use_with(newcomer.tenant, more, victims)
    if state.tree.refusal(newcomer.tenant, after, more) is not None:
        return None
    causes: dict[Victim, Cause] = {}
    for victim in victims:
        cause = _cause(state, newcomer, more, victim, after)
        if cause is None:
            return None
        causes[victim] = cause
    order = going_order(state, newcomer, victims)
    return None if order is None else tuple((victim, causes[victim]) for victim in order)


def _cause(state: State, newcomer: Demand, more: Vector, victim: Victim, after: dict[TenantId, Vector]) -> Cause | None:
    other, tree = victim.running.demand, state.tree
    if not other.preemptible:
        return None
    if other.tenant == newcomer.tenant:
        return Cause.PRIORITY if inside_own_tenant(state, newcomer, victim) else None
    mine, side = tree.apart(newcomer.tenant, other.tenant)
    policy, lower = tree.policy(newcomer.tenant), other.priority < newcomer.priority
    if not mine or not side:
        return None
    top = mine[-1]
    if tree.within(top, after[top], more):
        if policy.reclaim is Reclaim.ANY or (policy.reclaim is Reclaim.LOWER_PRIORITY and lower):
            return Cause.RECLAIM
        return None
    if policy.borrow is Borrow.LOWER_PRIORITY:
        return Cause.PRIORITY if lower else None
    if policy.borrow is Borrow.FAIR:
        before = max(tree.share(top, state.use[top]), tree.share(side[-1], state.use[side[-1]]))
        if max(tree.share(top, after[top]), tree.share(side[-1], after[side[-1]])) < before:
            return Cause.FAIRNESS
    return None


class Going:
    """Victims of one newcomer going one after the other, each while its tenants are above their quota."""

    def __init__(self, state: State, newcomer: Demand) -> None:
        self.state, self.newcomer = state, newcomer
        self.use: dict[TenantId, Vector] = {}

    def may(self, victim: Victim) -> bool:
        """Return whether the victim may go next; those of the newcomer's own tenant go by another rule."""
        if victim.tenant == self.newcomer.tenant:
            return True
        tree, use = self.state.tree, self.state.use
        _, side = tree.apart(self.newcomer.tenant, victim.tenant)
        return all(tree.above(node, self.use.get(node, use[node]), victim.released) for node in side)

    def leave(self, victim: Victim) -> None:
        for node in self.state.tree.paths[victim.tenant]:
            add(self.use.setdefault(node, dict(self.state.use[node])), victim.released, -1)


def going_order(state: State, newcomer: Demand, victims: Sequence[Victim]) -> tuple[Victim, ...] | None:
    """Return an order in which each victim's tenant is above its quota when that victim goes, or None.

    Victims of the newcomer's own tenant go first.
    """
    own = [victim for victim in victims if victim.tenant == newcomer.tenant]
    others = [victim for victim in victims if victim.tenant != newcomer.tenant]
    others.sort(key=lambda v: (sum(v.released.values()), v.id))
    if _goes(state, newcomer, (*own, *others)):
        return (*own, *others)
    if len(others) <= 5:
        for order in permutations(others):
            if _goes(state, newcomer, (*own, *order)):
                return (*own, *order)
    return None


def _goes(state: State, newcomer: Demand, order: Sequence[Victim]) -> bool:
    going = Going(state, newcomer)
    for victim in order:
        if not going.may(victim):
            return False
        going.leave(victim)
    return True


def preference(state: State, newcomer: Demand, victims: Sequence[Victim]) -> list[Victim]:
    """Return possible victims from the best to go to the worst.

    Lowest priority first; among equals the borrower with the highest share at that moment, then what started last.
    """
    use: dict[TenantId, Vector] = {}
    out: list[Victim] = []
    for priority in sorted({v.running.demand.priority for v in victims}):
        queues: dict[TenantId, list[Victim]] = {}
        for victim in victims:
            if victim.running.demand.priority == priority:
                queues.setdefault(victim.tenant, []).append(victim)
        for queue in queues.values():
            queue.sort(key=lambda v: (v.running.started_s, v.id))
        while queues:
            tenant = max(
                queues,
                key=lambda t: (state.tree.share(t, use.get(t, state.use[t])), queues[t][-1].running.started_s, t),
            )
            victim = queues[tenant].pop()
            out.append(victim)
            add(use.setdefault(tenant, dict(state.use[tenant])), victim.released, -1)
            if not queues[tenant]:
                del queues[tenant]
    return out


Harm = tuple[tuple[tuple[int, int], ...], tuple[int, ...], int]


def harm(victims: Sequence[Victim], rank: dict[Victim, int]) -> Harm:
    """Return a key, smaller for the lesser harm: priorities from the highest down, then preference, then number.

    A shrunk workload counts after a stopped one of the same priority.
    """
    priorities = tuple(sorted(((v.running.demand.priority, 0 if v.keep else 1) for v in victims), reverse=True))
    return priorities, tuple(sorted((rank[v] for v in victims), reverse=True)), len(victims)
