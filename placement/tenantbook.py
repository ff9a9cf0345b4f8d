"""Whether a plan keeps the rules between tenants: limits, who may displace whom, and victims above their quota.

Part of the judge (``placement.check``): worked out from the whole plan, without any planner's code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from placement.model import (
    Borrow,
    Demand,
    DemandId,
    NodeState,
    Problem,
    Reclaim,
    Resources,
    Tenant,
    TenantId,
    Within,
    total,
)

Broken = tuple[int, str, str]


@dataclass(frozen=True, slots=True)
class Displaced:
    """Work that stops, or the part of it that goes, and for whom."""

    demand: Demand
    started_s: float
    amounts: Resources
    beneficiaries: tuple[DemandId, ...]


class TenantBook:
    """The tenants' use before and after a plan."""

    def __init__(self, problem: Problem, got: Sequence[tuple[Demand, Resources]], gone: Sequence[Displaced]) -> None:
        self.problem, self.got, self.gone = problem, tuple(got), tuple(gone)
        self.tenants: dict[TenantId, Tenant] = {t.id: t for t in problem.tenants}
        self.quota = {t: self._guarantee(t) for t in self.tenants}
        named = {name for quota in self.quota.values() for name in quota}
        self.counted = named or {n for r in problem.running for n in r.resources} | {n for _, a in got for n in a}
        self.capacity = total(n.resources for n in problem.nodes if n.state is not NodeState.DOWN)
        down = {n.id for n in problem.nodes if n.state is NodeState.DOWN}
        self.capacity = self.capacity - total(a for node, a in problem.foreign.items() if node not in down)
        self.before = self._sums((r.demand.tenant, r.resources) for r in problem.running)
        plus = self._sums((demand.tenant, amounts) for demand, amounts in self.got)
        minus = self._sums((victim.demand.tenant, victim.amounts) for victim in self.gone)
        self.after = {t: self.before[t] + plus[t] - minus[t] for t in self.tenants}

    def _sums(self, parts: Iterable[tuple[TenantId, Resources]]) -> dict[TenantId, Resources]:
        """Return the sum of each subtree."""
        own: dict[TenantId, list[Resources]] = {t: [] for t in self.tenants}
        for tenant, amounts in parts:
            for above in self.line(tenant):
                own[above].append(amounts)
        return {tenant: total(amounts) for tenant, amounts in own.items()}

    def final(self, tenant: TenantId) -> Resources:
        """Return the subtree's use under the whole plan."""
        return self.after[tenant]

    def line(self, tenant: TenantId) -> tuple[TenantId, ...]:
        """Return the tenant and its ancestors, without the root."""
        out: list[TenantId] = []
        at: TenantId | None = tenant
        while at in self.tenants and at is not None and at not in out:
            out.append(at)
            at = self.tenants[at].parent
        return tuple(out)

    def members(self, tenant: TenantId | None) -> list[TenantId]:
        """Return the children (of the root for None)."""
        return [t.id for t in self.tenants.values() if (t.parent if t.parent in self.tenants else None) == tenant]

    def _guarantee(self, tenant: TenantId) -> Resources:
        own = self.tenants[tenant].quota
        return total(self._guarantee(child) for child in self.members(tenant)) if own is None else own

    def used(self, tenant: TenantId, got: Iterable[tuple[Demand, Resources]], gone: Iterable[Displaced]) -> Resources:
        """Return the subtree's use: what runs, plus ``got``, less ``gone``."""
        plus = [amounts for demand, amounts in got if tenant in self.line(demand.tenant)]
        minus = [victim.amounts for victim in gone if tenant in self.line(victim.demand.tenant)]
        return self.before[tenant] + total(plus) - total(minus)

    def above(self, tenant: TenantId, use: Resources, among: Iterable[str]) -> bool:
        return any(n in self.counted and use.get(n) > self.quota[tenant].get(n) for n in among)

    def share(self, tenant: TenantId, use: Resources) -> float:
        over = [(use.get(n) - self.quota[tenant].get(n)) / max(1, self.capacity.get(n)) for n in use]
        return max([0.0, *over]) / self.tenants[tenant].weight

    def sides(self, one: TenantId, other: TenantId) -> tuple[tuple[TenantId, ...], tuple[TenantId, ...]]:
        """Return both lines below the first tenant that they share."""
        a, b = self.line(one), self.line(other)
        return tuple(t for t in a if t not in b), tuple(t for t in b if t not in a)


def broken_rules(book: TenantBook) -> Iterator[Broken]:
    """Return broken rules as (law, subject, sentence)."""
    yield from _limits(book)
    yield from _displacements(book)
    yield from _went_above_quota(book)


def _limits(book: TenantBook) -> Iterator[Broken]:
    """Whoever gets something stays within limits, its own and those of its ancestors (law 4)."""
    asked: dict[TenantId, set[str]] = {}
    for demand, amounts in book.got:
        for tenant in book.line(demand.tenant):
            asked.setdefault(tenant, set()).update(amounts)
    for tenant, names in asked.items():
        facts, use, quota = book.tenants[tenant], book.final(tenant), book.quota[tenant]
        for name, most in facts.limit or ():
            if name in names and use.get(name) > most:
                yield 4, tenant, f"would use {use.get(name)} of {name}, its limit is {most}"
        for name, most in facts.borrow_limit or ():
            if name in names and use.get(name) > quota.get(name) + most:
                yield 4, tenant, f"would borrow {use.get(name) - quota.get(name)} of {name}, at most {most} allowed"
        for name in sorted(names):
            if use.get(name) > quota.get(name) and _lent_too_much(book, tenant, name):
                yield 4, tenant, f"would borrow more {name} than its neighbours lend"


def _lent_too_much(book: TenantBook, tenant: TenantId, name: str) -> bool:
    """Return whether a borrowing tenant takes what nobody near lends and no ancestor can borrow further up."""
    if not any(name in dict(t.lend_limit or ()) for t in book.tenants.values()):
        return False
    above: list[TenantId | None] = [*book.line(tenant)[1:], None]
    for parent in above:
        taken = _taken(book, parent, name)
        if parent is None:
            return taken > book.capacity.get(name)
        over, facts = taken - book.quota[parent].get(name), book.tenants[parent]
        if over <= 0:
            return False
        if over > dict(facts.borrow_limit or ()).get(name, over) or taken > dict(facts.limit or ()).get(name, taken):
            return True
    return False


def _taken(book: TenantBook, parent: TenantId | None, name: str) -> int:
    """Return what a tenant uses itself, and what its members use or withhold."""
    members = book.members(parent)
    own = 0
    if parent is not None:
        own = book.final(parent).get(name) - sum(book.final(member).get(name) for member in members)
    for member in members:
        lend = dict(book.tenants[member].lend_limit or ()).get(name)
        withheld = 0 if lend is None else max(0, book.quota[member].get(name) - lend)
        own += max(_taken(book, member, name), withheld)
    return own


def _displacements(book: TenantBook) -> Iterator[Broken]:
    """Every victim goes for someone who may displace it (laws 3, 4, 5, 6)."""
    winners = {demand.id: (demand, amounts) for demand, amounts in book.got}
    for victim in book.gone:
        names = victim.beneficiaries
        for name in names:
            if name not in winners:
                yield 7, victim.demand.id, f"is displaced for {name}, which gets nothing"
        if not any(name in winners and _may(book, victim, *winners[name]) for name in names):
            same = any(name in winners and winners[name][0].tenant == victim.demand.tenant for name in names)
            yield 5 if same else 4, victim.demand.id, "is displaced, but nobody who gets something may displace it"


def _may(book: TenantBook, victim: Displaced, winner: Demand, amounts: Resources) -> bool:
    rules = book.tenants[winner.tenant].preemption or book.problem.policy.preemption
    other = victim.demand
    lower = other.priority < winner.priority
    if other.tenant == winner.tenant:
        newer = other.priority == winner.priority and victim.started_s > winner.submitted_s
        return (rules.within is not Within.NEVER and lower) or (rules.within is Within.LOWER_OR_NEWER and newer)
    mine, theirs = book.sides(winner.tenant, other.tenant)
    if not mine or not theirs:
        return False
    top = mine[-1]
    # An elastic winner may have grown on idle room beyond what its guarantee let it reclaim: its minimum is judged.
    reclaimers = [
        (d, d.resources(d.min_bundles) if d.resources(d.min_bundles).fits_in(a) else a)
        for d, a in book.got
        if d.id == winner.id or (top in book.line(d.tenant) and _benefits_outside(book, d, top))
    ]
    guarded = any(name in book.counted for name in amounts)
    if guarded and not book.above(top, book.used(top, reclaimers, book.gone), amounts):
        return rules.reclaim is Reclaim.ANY or (rules.reclaim is Reclaim.LOWER_PRIORITY and lower)
    if rules.borrow is Borrow.FAIR:
        return _larger_share_shrinks(book, top, theirs[-1], reclaimers)
    return rules.borrow is Borrow.LOWER_PRIORITY and lower


def _benefits_outside(book: TenantBook, demand: Demand, top: TenantId) -> bool:
    return any(demand.id in victim.beneficiaries and top not in book.line(victim.demand.tenant) for victim in book.gone)


def _larger_share_shrinks(
    book: TenantBook, mine: TenantId, theirs: TenantId, got: Sequence[tuple[Demand, Resources]]
) -> bool:
    """Return whether the larger of both shares gets smaller; what the victim's side gets counts on both sides."""
    before = max(book.share(mine, book.before[mine]), book.share(theirs, book.used(theirs, book.got, ())))
    after = max(book.share(mine, book.used(mine, got, book.gone)), book.share(theirs, book.final(theirs)))
    return after < before


def _went_above_quota(book: TenantBook) -> Iterator[Broken]:
    """Each victim's tenant is above its quota at the moment that it goes (law 10)."""
    complaints = list(_out_of_turn(book, book.gone))
    if complaints:
        by_size = sorted(book.gone, key=lambda v: sum(a for _, a in v.amounts.items()))
        if not list(_out_of_turn(book, by_size)):
            complaints = []
    yield from complaints


def _out_of_turn(book: TenantBook, order: Sequence[Displaced]) -> Iterator[Broken]:
    winners: Mapping[DemandId, Demand] = {demand.id: demand for demand, _ in book.got}
    for i, victim in enumerate(order):
        sides = [
            book.sides(winners[name].tenant, victim.demand.tenant)[1]
            for name in victim.beneficiaries
            if name in winners
        ]
        fair = any(
            all(book.above(t, book.used(t, book.got, order[:i]), victim.amounts) for t in side) for side in sides
        )
        if sides and not fair:
            yield 10, victim.demand.id, f"is displaced while {victim.demand.tenant} is within its quota"
