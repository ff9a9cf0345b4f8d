"""The places that blocked gangs keep (law 8), checked against a newcomer by looking only at the nodes it wants.

A claim keeps certain nodes from the moment at which enough has ended. A newcomer that ends before passes; one that
stays has to leave what is kept there, or goes elsewhere, or the kept place is moved, a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from placement.model import Demand, DemandId, Problem, Reclaim, TenantId, Within
from placement.planners.bulk.foresight import (
    UNKNOWN,
    Amounts,
    Held,
    Part,
    Sight,
    Start,
    Tenures,
    allowed_then,
    put,
)
from placement.planners.bulk.gangs import Gangs
from placement.planners.bulk.placing import Placer
from placement.planners.bulk.turns import Step
from placement.planners.tree import Vector, add

MOST_CLAIMS = 8
MOST_REPAIRS = 64
"""How often kept places are worked out anew in one planning question; after that newcomers go elsewhere or wait."""
MOST_FORESEEN = 24
"""How many blocked gangs are looked at for a claim in one planning question."""


class Claims:
    """All claims of one planning question."""

    def __init__(self, problem: Problem, gangs: Gangs) -> None:
        self.problem, self.gangs, self.rooms, self.book = problem, gangs, gangs.rooms, gangs.book
        self.foresight = Placer(gangs.rooms, remembers=False)
        self.tenures = Tenures(problem, gangs)
        self.all: dict[DemandId, Held] = {}
        self.repairs, self.looks = MOST_REPAIRS, MOST_FORESEEN

    # -- making one ----------------------------------------------------------------------------------------------

    def add(self, step: Step) -> None:
        """Let a blocked demand keep a place, if it can be foreseen that it gets one."""
        if len(self.all) < MOST_CLAIMS and self.looks > 0:
            self.looks -= 1
            held = self._foreseen(step, list(self.all.values()))
            if held is not None:
                self.all[step.demand.id] = held

    def drop(self, demand: DemandId) -> None:
        self.all.pop(demand, None)

    def renew(self, held: Held) -> None:
        """Work a claim out anew that others have pushed back; it lapses where that has been done too often."""
        self.drop(held.step.demand.id)
        if self.repairs > 0:
            self.repairs -= 1
            again = self._foreseen(held.step, list(self.all.values()))
            if again is not None:
                self.all[held.step.demand.id] = again

    def _foreseen(self, step: Step, ahead: Sequence[Held]) -> Held | None:
        """Return the claim at the first moment at which its place is free, with the claims ahead in theirs."""
        held = Held(step)
        return held if Sight(self.tenures, self.foresight, held, ahead).first() else None

    def _allowed_then(self, held: Held, passer: TenantId | None, more: Vector) -> bool:
        if not self.book.limited(held.step.demand.tenant):
            return True
        if passer is not None:
            self.book.tried(passer, more)
        answer = allowed_then(self.tenures, held)
        if passer is not None:
            self.book.tried(passer, more, -1)
        return answer

    # -- passing one ---------------------------------------------------------------------------------------------

    def delayed(self, step: Step, parts: Sequence[Part], end: Start) -> list[Held]:
        """Return the claims that could no longer start at their moment if these bundles stood there too."""
        nodes = {node for node, _ in parts}
        return [held for held in self.all.values() if self._delays(held, step, parts, nodes, end)]

    def _delays(self, held: Held, step: Step, parts: Sequence[Part], nodes: set[int], end: Start) -> bool:
        if self.ends_before(held, end):
            return False
        mine = self.book.tree.paths[held.step.demand.tenant]
        near = bool(self.book.tree.lending_is_limited) or mine[-1] == self.book.tree.paths[step.demand.tenant][-1]
        if near and not self._allowed_then(held, step.demand.tenant, step.more):
            return True
        if nodes.isdisjoint(held.kept):
            return False
        more: Amounts = {}
        for node, kind in parts:
            if node in held.kept:
                put(more, node, kind)
        return any(not self._room_for_both(held, node, amounts) for node, amounts in more.items())

    def _room_for_both(self, held: Held, node: int, more: Sequence[int]) -> bool:
        """Return whether a kept node has room for the claim and for more, once what ends has ended."""
        if self.rooms.parts[node]:
            return False
        then = list(self.rooms.free[node])
        for _, kind in self.tenures.on(node, held.start, held.passed):
            for i, amount in kind.needs:
                then[i] += amount
        both = zip(then, held.kept[node], more, strict=True)
        return all(free >= kept + new for free, kept, new in both if kept or new)

    def ends_before(self, held: Held, end: Start) -> bool:
        return self.problem.policy.backfill and held.start[0] != UNKNOWN and end <= held.start

    def avoid(self, delayed: Iterable[Held]) -> set[int]:
        """Return the nodes that claims keep."""
        return {node for held in delayed for node in held.kept}

    def moved(self, held: Held, step: Step, parts: Sequence[Part]) -> bool:
        """Try to keep other nodes for a claim, at its moment, with the newcomer in place."""
        if self.repairs <= 0 or not self._allowed_then(held, step.demand.tenant, step.more):
            return False
        self.repairs -= 1
        for node, kind in parts:
            self.rooms.take(node, kind)
        mine = list(self.all.values())
        ahead = [other for other in mine[: mine.index(held)] if other.start <= held.start]
        found = Sight(self.tenures, self.foresight, held, ahead).first(until=held.start)
        for node, kind in reversed(list(parts)):
            self.rooms.give(node, kind)
        return found

    def could_displace(self, held: Held, step: Step) -> bool:
        """Return whether the waiting one could displace the passer when its moment has come."""
        waiting, passer, tree = held.step, step.demand, self.book.tree
        if not passer.preemptible:
            return False
        policy = tree.policy(waiting.demand.tenant)
        lower = step.priority < waiting.priority
        if passer.tenant == waiting.demand.tenant:
            newer = policy.within is Within.LOWER_OR_NEWER and step.priority == waiting.priority
            return (lower and policy.within is not Within.NEVER) or newer
        if policy.reclaim is Reclaim.NEVER or (policy.reclaim is Reclaim.LOWER_PRIORITY and not lower):
            return False
        mine, side = tree.apart(waiting.demand.tenant, passer.tenant)
        if not mine or not side or not self.book.guaranteed(mine[-1], waiting.more):
            return False
        return all(tree.above(t, self._use_then(held, t, step.more), step.more) for t in side)

    def _use_then(self, held: Held, tenant: TenantId, more: Vector) -> Vector:
        use = dict(self.book.use[tenant])
        add(use, more)
        for other, fewer in self.tenures.fewer(held):
            if tenant in self.book.tree.paths[other]:
                add(use, fewer, -1)
        return use

    def guaranteed_then(self, held: Held) -> bool:
        """Return whether the claim is within its tenant's guarantee when its moment has come."""
        use = self._use_then(held, held.step.demand.tenant, held.step.more)
        return self.book.tree.within(held.step.demand.tenant, use, held.step.more)

    # -- what changes --------------------------------------------------------------------------------------------

    def note_grant(self, demand: Demand, parts: Sequence[Part], end: Start) -> None:
        """Note bundles that are granted: claims whose moment is later count them as ended."""
        self.tenures.note(demand, parts, end)

    def note_gone(self, demand: Demand, since: float, parts: Sequence[Part]) -> None:
        """Note bundles of running work that go already now."""
        self.tenures.count(demand.tenant, self.tenures.end_of(demand, since, 0), parts, -1)
