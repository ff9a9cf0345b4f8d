"""When a blocked gang's place will be free, and where: what holds nodes, in the order in which it ends."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from placement.model import Demand, DemandId, Problem, TenantId
from placement.planners.bulk.buckets import how_many
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.kinds import Groups, Kind
from placement.planners.bulk.placing import Placer
from placement.planners.bulk.turns import Step
from placement.planners.tree import Vector, add

MOST_KNOWN = 8
"""Moments for which it is known what each tenant's work leaves until then."""
MOST_MOMENTS = 20
"""Moments at which a blocked gang is tried, from the first one at which there is enough in all."""
SPARE_NODES = 64
"""Nodes to choose from, beyond those that it needs."""

UNKNOWN = float("inf")
Start = tuple[float, float, int]
Part = tuple[int, Kind]
Amounts = dict[int, list[int]]
"""Amounts by node."""


@dataclass(slots=True)
class Held:
    """One claim: from when, on which nodes."""

    step: Step
    start: Start = (0.0, 0.0, 0)
    at: list[Part] = field(default_factory=list)
    kept: Amounts = field(default_factory=dict)
    """Amounts that it and the claims ahead of it need on its nodes."""
    passed: set[DemandId] = field(default_factory=set)


class Tenure:
    """Something that holds nodes: who, until when, where."""

    __slots__ = ("end", "gang", "given", "id", "tenant")

    def __init__(self, demand: Demand, end: Start, gang: Gang | None = None) -> None:
        self.id, self.tenant, self.end, self.gang = demand.id, demand.tenant, end, gang
        self.given: list[Part] = []

    @property
    def parts(self) -> list[Part]:
        gang = self.gang
        return self.given if gang is None else list(zip(gang.at[: gang.keep], gang.kinds, strict=False))

    def amounts(self) -> Vector:
        out: Vector = {}
        for _, kind in self.parts:
            add(out, kind.resources)
        return out


class Tenures:
    """All that holds nodes, by its end and by node."""

    def __init__(self, problem: Problem, gangs: Gangs) -> None:
        self.problem, self.gangs = problem, gangs
        self._newcomers: list[tuple[Start, int, Tenure]] = []
        """Until somebody asks; then they are in ``_order``."""
        self._order: list[tuple[Start, int, Tenure]] = []
        self._by_id: dict[DemandId, Tenure] = {}
        self._standing: dict[int, list[Tenure]] = {}
        self._fewer: dict[Start, dict[TenantId, Vector]] = {}
        """Amounts that end until a moment, by tenant."""

    def end_of(self, demand: Demand, since: float, turn: int) -> Start:
        if demand.runtime_s is None:
            return UNKNOWN, since, turn
        return max(self.problem.now_s, since + demand.runtime_s), 0.0, 0

    def note(self, demand: Demand, parts: Sequence[Part], end: Start) -> None:
        """Note bundles that are granted; those of running work that grows are counted with it."""
        tenure = self._by_id.get(demand.id)
        if tenure is None:
            gang = self.gangs.by_id.get(demand.id)
            tenure = self._by_id[demand.id] = Tenure(demand, end, gang)
            if gang is None:
                entry = (end, len(self.gangs.all) + len(self._by_id), tenure)
                if self._order:
                    insort(self._order, entry)
                else:
                    self._newcomers.append(entry)
        if tenure.gang is None:
            tenure.given.extend(parts)
        if self._order and self.gangs.all:
            for node, _ in parts:
                self._stand(tenure, node)
        self.count(demand.tenant, tenure.end, parts)

    def _stand(self, tenure: Tenure, node: int) -> None:
        here = self._standing.setdefault(node, [])
        if tenure not in here:
            here.append(tenure)

    def _read(self) -> None:
        if self._order:
            return
        for gang in self.gangs.all:
            tenure = self._by_id.get(gang.id)
            if tenure is None:
                demand = gang.running.demand
                tenure = self._by_id[gang.id] = Tenure(demand, self.end_of(demand, gang.since, 0), gang)
            self._order.append((tenure.end, gang.index, tenure))
        self._order += self._newcomers
        self._order.sort()
        for _, _, tenure in self._order if self.gangs.all else ():
            for node, _ in tenure.parts:
                self._stand(tenure, node)

    def in_order(self) -> Iterator[Tenure]:
        """Yield what holds nodes in the order in which it is expected to end."""
        self._read()
        for _, _, tenure in self._order:
            if tenure.gang is None or tenure.gang.keep:
                yield tenure

    def on(self, node: int, until: Start, passed: Iterable[DemandId] = ()) -> Iterator[tuple[Tenure, Kind]]:
        """Yield the bundles on a node that end until a moment, or that the one who waits could displace then."""
        self._read()
        for tenure in self._standing.get(node, ()):
            if tenure.end <= until or tenure.id in passed:
                for at, kind in tenure.parts:
                    if at == node:
                        yield tenure, kind

    def passers(self, held: Held) -> list[Tenure]:
        """Return those that a claim could displace at its moment, in the order in which they came."""
        return [tenure for tenure in self._by_id.values() if tenure.id in held.passed] if held.passed else []

    def fewer(self, held: Held) -> list[tuple[TenantId, Vector]]:
        """Return the amounts by tenant that end until a claim's moment."""
        known = self._fewer.get(held.start)
        if known is None:
            if len(self._fewer) >= MOST_KNOWN:
                self._fewer.clear()
            known = self._fewer[held.start] = {}
            for tenure in self.in_order():
                if tenure.end > held.start:
                    break
                add(known.setdefault(tenure.tenant, {}), tenure.amounts())
        passers = [t for t in self.passers(held) if t.end > held.start]
        return [*known.items(), *((tenure.tenant, tenure.amounts()) for tenure in passers)]

    def count(self, tenant: TenantId, end: Start, parts: Iterable[Part], sign: int = 1) -> None:
        """Note that bundles are there, or no longer there, until their end."""
        for start, fewer in self._fewer.items():
            if end <= start:
                for _, kind in parts:
                    add(fewer.setdefault(tenant, {}), kind.resources, sign)


class Sight:
    """One search for the first moment at which a gang's place is free, and for the nodes."""

    def __init__(self, tenures: Tenures, placer: Placer, held: Held, ahead: Iterable[Held]) -> None:
        self.tenures, self.placer, self.rooms, self.held = tenures, placer, placer.rooms, held
        self.ahead = list(ahead)
        self.kind, self.wanted = held.step.groups[0][0], len(held.step.groups[0][1])
        topologies = held.step.demand.topologies
        packs = [t for t in topologies if t.required and t.kind == "pack" and not t.slice]
        self.of = self.rooms.domains(packs[0].key)[0] if packs else None
        self.picky = len(held.step.groups) > 1 or any(t.required and t not in packs for t in topologies)
        self.free: Amounts = {}
        self.counts: dict[int, int] = {}
        self.by_domain: dict[int, int] = {}
        self.enough = False
        for node, n in self.rooms.candidates(self.kind):
            if self._more(node, n):
                break

    def first(self, until: Start | None = None) -> bool:
        """Find the claim's nodes at the first moment that has them, or until a moment that is given."""
        n_tried, n_ended, next_try, stale = 0, 0, 0, False
        last: Start | None = None
        if until is not None:
            for tenure in self.tenures.passers(self.held):
                if tenure.end > until:
                    self._end(tenure)
            if self.enough and self._try(until):
                return True
        for tenure in self.tenures.in_order():
            end = tenure.end if until is None else until
            if tenure.end > end:
                break
            if end != last and last is not None:
                if self.enough and stale and self._try(last):
                    return True
                n_tried += self.enough
                if n_tried >= MOST_MOMENTS:
                    return False
                next_try = 0
            self._end(tenure)
            last, stale, n_ended = end, True, n_ended + 1
            if self.enough and n_ended >= next_try:
                stale, next_try = False, 2 * n_ended
                if self._try(end):
                    return True
        return last is not None and self.enough and stale and self._try(last)

    def _end(self, tenure: Tenure) -> None:
        """Count what a tenure leaves."""
        rooms, wanted = self.rooms, self.kind
        for node, kind in tenure.parts:
            if node >= 0 and rooms.open[node] and rooms.accepts(wanted, node):
                free = self.free.get(node)
                if free is None:
                    free = self.free[node] = list(rooms.free[node])
                for i, amount in kind.needs:
                    free[i] += amount
                if not wanted.gpu or free[wanted.gpu_idx] >= wanted.gpu:
                    n = how_many(tuple(free), rooms.parts[node], wanted)
                    had = self.counts.get(node)
                    if had is None:
                        had = rooms.count_at(wanted, node)
                    self.counts[node] = n
                    if n > had:
                        self._more(node, n - had)

    def _more(self, node: int, n: int) -> bool:
        domain = 0 if self.of is None else self.of[node]
        if domain >= 0:
            self.by_domain[domain] = count = self.by_domain.get(domain, 0) + n
            self.enough = self.enough or count >= self.wanted
        return self.enough and self.of is None

    def _try(self, moment: Start) -> bool:
        """Choose nodes in rooms as they will be; False where there are none or the tenant may not."""
        held, rooms = self.held, self.rooms
        held.start = moment
        if not allowed_then(self.tenures, held):
            return False
        given, taken, kept = list[Part](), list[Part](), Amounts()
        opened: set[int] = set()
        for other in self.ahead:
            runtime = other.step.demand.runtime_s
            if other.start <= moment and not (runtime is not None and other.start[0] + runtime <= moment[0] != UNKNOWN):
                for node, kind in other.at:
                    self._open(node, opened, given)
                    if rooms.count_at(kind, node):
                        rooms.take(node, kind)
                        taken.append((node, kind))
                        put(kept, node, kind)
        for node in self._choice():
            self._open(node, opened, given)
        at = self.placer.place(held.step.demand, held.step.groups)
        for node, kind in reversed(taken):
            rooms.give(node, kind)
        for node, kind in reversed(given):
            rooms.take(node, kind)
        if at is None:
            return False
        held.at = list(parts_of(held.step.groups, at))
        for node, kind in held.at:
            put(kept, node, kind)
        held.kept = kept
        return True

    def _choice(self) -> Iterable[int]:
        if self.picky:
            return self.free
        able = [node for node, n in self.counts.items() if n]
        if self.of is not None:
            of, domains = self.of, {d for d, n in self.by_domain.items() if n >= self.wanted}
            able = [node for node in able if of[node] in domains]
        return able[: 4 * self.wanted + SPARE_NODES] if self.of is None and self.wanted else able

    def _open(self, node: int, opened: set[int], given: list[Part]) -> None:
        """Let all leave a node that will have ended."""
        if node not in opened and self.rooms.open[node]:
            opened.add(node)
            for _, kind in self.tenures.on(node, self.held.start, self.held.passed):
                self.rooms.give(node, kind)
                given.append((node, kind))


def allowed_then(tenures: Tenures, held: Held) -> bool:
    """Return whether a claim's tenant may have its place once all has ended that does until then."""
    book, tenant = tenures.gangs.book, held.step.demand.tenant
    if not book.limited(tenant):
        return True
    fewer = tenures.fewer(held)
    for other, amounts in fewer:
        book.tried(other, amounts, -1)
    answer = book.allowed(tenant, held.step.more)
    for other, amounts in fewer:
        book.tried(other, amounts)
    return answer


def parts_of(groups: Groups, at: list[int]) -> Iterator[Part]:
    """Yield (node, kind) of a gang's bundles."""
    first = min(places[0] for _, places in groups)
    for kind, places in groups:
        for place in places:
            yield at[place - first], kind


def put(into: Amounts, node: int, kind: Kind, sign: int = 1) -> None:
    """Add a bundle's amounts to those of its node."""
    amounts = into.get(node)
    if amounts is None:
        amounts = into[node] = [0] * kind.width
    for i, amount in kind.needs:
        amounts[i] += sign * amount
