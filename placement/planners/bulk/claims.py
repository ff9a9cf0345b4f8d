"""The places that blocked gangs keep (law 8), checked against a newcomer by looking only at the nodes it wants.

A claim keeps certain nodes from the moment at which enough has ended. A newcomer that ends before passes; one that
stays has to leave what is kept there, or goes elsewhere, or the kept place is moved, a bounded number of times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from placement.model import Demand, DemandId, Problem, Reclaim, TenantId, Within
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.kinds import Groups, Kind
from placement.planners.bulk.placing import Placer
from placement.planners.bulk.turns import Step
from placement.planners.tree import Vector, add

MOST_CLAIMS = 8
MOST_REPAIRS = 64
"""How often kept places are worked out anew in one planning question; after that newcomers go elsewhere or wait."""
MOST_MOMENTS = 20
MOST_FORESEEN = 24
"""How many blocked gangs are looked at for a claim in one planning question."""

UNKNOWN = float("inf")
Start = tuple[float, float, int]
Part = tuple[int, Kind]


@dataclass(slots=True)
class Held:
    """One claim: from when, on which nodes, and what will have ended by then."""

    step: Step
    start: Start
    at: list[Part]
    kept: dict[int, list[int]]
    """Amounts that it and the claims ahead of it need on its nodes."""
    freed: dict[int, list[int]]
    """Amounts that end until then, by node."""
    fewer: dict[TenantId, Vector]
    """Amounts that end until then, by tenant."""
    passed: set[DemandId] = field(default_factory=set)


@dataclass(slots=True)
class Tenure:
    """Something that holds nodes: who, until when, where."""

    id: DemandId
    tenant: TenantId
    end: Start
    parts: list[Part]


class Claims:
    """All claims of one planning question."""

    def __init__(self, problem: Problem, gangs: Gangs) -> None:
        self.problem, self.gangs, self.rooms, self.book = problem, gangs, gangs.rooms, gangs.book
        self.foresight = Placer(gangs.rooms, remembers=False)
        self.all: dict[DemandId, Held] = {}
        self.granted: dict[DemandId, Tenure] = {}
        self.repairs, self.looks = MOST_REPAIRS, MOST_FORESEEN
        self._ends: list[tuple[Start, int, Gang]] = []

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

    def end_of(self, demand: Demand, since: float, turn: int) -> Start:
        if demand.runtime_s is None:
            return UNKNOWN, since, turn
        return max(self.problem.now_s, since + demand.runtime_s), 0.0, 0

    def _tenures(self) -> Iterator[Tenure]:
        """Yield what holds nodes in the order in which it is expected to end."""
        if not self._ends:
            self._ends = [(self.end_of(g.running.demand, g.since, 0), g.index, g) for g in self.gangs.all]
            self._ends.sort()
        newcomers = iter(sorted(self.granted.values(), key=lambda tenure: tenure.end))
        newcomer = next(newcomers, None)
        for end, _, gang in self._ends:
            while newcomer is not None and newcomer.end < end:
                yield newcomer
                newcomer = next(newcomers, None)
            if gang.keep:
                yield Tenure(gang.id, gang.tenant, end, list(gang.parts(0)))
        if newcomer is not None:
            yield newcomer
        yield from newcomers

    def _foreseen(self, step: Step, ahead: Sequence[Held]) -> Held | None:
        """Return the claim at the first moment at which its place is free, with the claims ahead in theirs."""
        kind, wanted = step.groups[0][0], len(step.groups[0][1])
        tenures, given = self._tenures(), list[Part]()
        tenure = next(tenures, None)
        held = Held(step, (0.0, 0.0, 0), [], {}, {}, {})
        count, tried = self.rooms.count(kind, wanted), 0
        answer: Held | None = None
        while tenure is not None:
            for node, other in tenure.parts:
                if node >= 0 and self.rooms.open[node]:
                    had = self.rooms.count_at(kind, node) if self.rooms.accepts(kind, node) else -1
                    self.rooms.give(node, other)
                    given.append((node, other))
                    _put(held.freed, node, other)
                    count += self.rooms.count_at(kind, node) - had if had >= 0 else 0
            for _, other in tenure.parts:
                add(held.fewer.setdefault(tenure.tenant, {}), other.resources)
            end, tenure = tenure.end, next(tenures, None)
            if count < wanted or (tenure is not None and tenure.end == end):
                continue
            held.start = end
            if self._settled(held, ahead):
                answer = held
                break
            tried += 1
            if tried >= MOST_MOMENTS:
                break
        for node, other in reversed(given):
            self.rooms.take(node, other)
        return answer

    def _settled(self, held: Held, ahead: Iterable[Held]) -> bool:
        """Choose nodes for a claim in rooms as they will be; False where there are none or its tenant may not."""
        if not self._allowed_then(held, None, {}):
            return False
        taken: list[Part] = []
        kept: dict[int, list[int]] = {}
        for other in ahead:
            runtime = other.step.demand.runtime_s
            ended = runtime is not None and other.start[0] + runtime <= held.start[0] != UNKNOWN
            if other.start <= held.start and not ended:
                for node, kind in other.at:
                    if self.rooms.count_at(kind, node):
                        self.rooms.take(node, kind)
                        taken.append((node, kind))
                        _put(kept, node, kind)
        at = self.foresight.place(held.step.demand, held.step.groups)
        for node, kind in reversed(taken):
            self.rooms.give(node, kind)
        if at is None:
            return False
        held.at = list(parts_of(held.step.groups, at))
        for node, kind in held.at:
            _put(kept, node, kind)
        held.kept = kept
        return True

    def _allowed_then(self, held: Held, passer: TenantId | None, more: Vector) -> bool:
        tenant, book = held.step.demand.tenant, self.book
        if not book.limited(tenant):
            return True
        if passer is not None:
            book.count(passer, more)
        for other, fewer in held.fewer.items():
            book.count(other, fewer, -1)
        answer = book.allowed(tenant, held.step.more)
        for other, fewer in held.fewer.items():
            book.count(other, fewer)
        if passer is not None:
            book.count(passer, more, -1)
        return answer

    # -- passing one ---------------------------------------------------------------------------------------------

    def delayed(self, step: Step, parts: Sequence[Part], end: Start) -> list[Held]:
        """Return the claims that could no longer start at their moment if these bundles stood there too."""
        return [held for held in self.all.values() if self._delays(held, step, parts, end)]

    def _delays(self, held: Held, step: Step, parts: Sequence[Part], end: Start) -> bool:
        if self.ends_before(held, end):
            return False
        mine = self.book.tree.paths[held.step.demand.tenant]
        near = bool(self.book.tree.lending_is_limited) or mine[-1] == self.book.tree.paths[step.demand.tenant][-1]
        if near and not self._allowed_then(held, step.demand.tenant, step.more):
            return True
        more: dict[int, list[int]] = {}
        for node, kind in parts:
            if node in held.kept:
                _put(more, node, kind)
        for node, amounts in more.items():
            if self.rooms.parts[node]:
                return True
            freed = held.freed.get(node)
            for i, (free, kept, new) in enumerate(zip(self.rooms.free[node], held.kept[node], amounts, strict=True)):
                if (kept or new) and free + (freed[i] if freed else 0) < kept + new:
                    return True
        return False

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
        given: list[Part] = []
        for tenure in self._tenures():
            if tenure.end > held.start and not held.passed:
                break
            if tenure.end <= held.start or tenure.id in held.passed:
                for node, kind in tenure.parts:
                    if node >= 0 and self.rooms.open[node]:
                        self.rooms.give(node, kind)
                        given.append((node, kind))
        ahead = [other for other in self.all.values() if other is not held and other.start <= held.start]
        ahead = ahead[: list(self.all.values()).index(held)]
        found = self._settled(held, ahead)
        for node, kind in reversed(given):
            self.rooms.take(node, kind)
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
        for other, fewer in held.fewer.items():
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
        tenure = self.granted.setdefault(demand.id, Tenure(demand.id, demand.tenant, end, []))
        tenure.parts.extend(parts)
        for held in self.all.values():
            if tenure.end <= held.start or demand.id in held.passed:
                self._count_ended(held, demand.tenant, parts)

    def note_gone(self, demand: Demand, since: float, parts: Sequence[Part]) -> None:
        """Note bundles of running work that go already now."""
        end = self.end_of(demand, since, 0)
        for held in self.all.values():
            if end <= held.start:
                self._count_ended(held, demand.tenant, parts, -1)

    def _count_ended(self, held: Held, tenant: TenantId, parts: Sequence[Part], sign: int = 1) -> None:
        for node, kind in parts:
            if node >= 0:
                _put(held.freed, node, kind, sign)
            add(held.fewer.setdefault(tenant, {}), kind.resources, sign)


def parts_of(groups: Groups, at: Sequence[int]) -> Iterator[Part]:
    """Yield (node, kind) of a gang's bundles."""
    first = min(places[0] for _, places in groups)
    for kind, places in groups:
        for place in places:
            yield at[place - first], kind


def _put(into: dict[int, list[int]], node: int, kind: Kind, sign: int = 1) -> None:
    amounts = into.get(node)
    if amounts is None:
        amounts = into[node] = [0] * kind.width
    for i, amount in kind.needs:
        amounts[i] += sign * amount
