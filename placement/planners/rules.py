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
        """Return whether the victim may go next; those of the newcomer's own tenant go by another rule.

        Elastic work that stops is shrunk to its minimum first, and its tenant is still above its quota then.
        """
        if victim.tenant == self.newcomer.tenant:
            return True
        first, *rest = steps(victim)
        return self._may(victim, first, {}) and all(self._may(victim, step, first) for step in rest)

    def _may(self, victim: Victim, amounts: Vector, gone: Vector) -> bool:
        tree = self.state.tree
        _, side = tree.apart(self.newcomer.tenant, victim.tenant)
        return all(tree.above(node, self._without(node, gone), amounts) for node in side)

    def _without(self, node: TenantId, gone: Vector) -> Vector:
        use = self.use.get(node, self.state.use[node])
        return {name: amount - gone.get(name, 0) for name, amount in use.items()} if gone else use

    def leave(self, victim: Victim, amounts: Vector | None = None) -> None:
        """Count the victim out, or only these amounts of it."""
        for node in self.state.tree.paths[victim.tenant]:
            released = victim.released if amounts is None else amounts
            add(self.use.setdefault(node, dict(self.state.use[node])), released, -1)


def steps(victim: Victim) -> tuple[Vector, ...]:
    """Return the amounts that a victim gives up one after the other: what is above its minimum, then the rest."""
    least = victim.running.demand.min_bundles
    if victim.keep or least >= len(victim.running.nodes):
        return (victim.released,)
    shrunk = Victim(victim.running, least).released
    rest = {name: amount - shrunk.get(name, 0) for name, amount in victim.released.items()}
    return shrunk, rest


def going_order(state: State, newcomer: Demand, victims: Sequence[Victim]) -> tuple[Victim, ...] | None:
    """Return an order in which each victim's tenant is above its quota when that victim goes, or None.

    Victims of the newcomer's own tenant go first.
    """
    own = [victim for victim in victims if victim.tenant == newcomer.tenant]
    others = [victim for victim in victims if victim.tenant != newcomer.tenant]
    others.sort(key=lambda v: (sum(v.released.values()), v.id))
    if _goes(state, newcomer, (*own, *others)) or _goes_in_steps(state, newcomer, own, others):
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


def _goes_in_steps(state: State, newcomer: Demand, own: Sequence[Victim], others: Sequence[Victim]) -> bool:
    """Return whether the victims may go if all elastic work that stops is shrunk before anything else goes."""
    going = Going(state, newcomer)
    for victim in own:
        going.leave(victim)
    parts = [(victim, steps(victim)) for victim in others]
    queue = [(victim, part[0]) for victim, part in parts if len(part) > 1]
    queue += sorted(((v, part[-1]) for v, part in parts), key=lambda step: (sum(step[1].values()), step[0].id))
    for victim, amounts in queue:
        if not going._may(victim, amounts, {}):
            return False
        going.leave(victim, amounts)
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
