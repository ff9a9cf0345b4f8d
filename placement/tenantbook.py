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
    """Work that stops, or the part of it that goes; ``beneficiaries`` None where the plan does not name them."""

    demand: Demand
    started_s: float
    amounts: Resources
    beneficiaries: tuple[DemandId, ...] | None


class TenantBook:
    """The tenants' use before and after a plan."""

    def __init__(
        self, problem: Problem, got: Sequence[tuple[Demand, Resources]], gone: Sequence[Displaced]
    ) -> None:
        self.problem, self.got, self.gone = problem, tuple(got), tuple(gone)
        self.tenants: dict[TenantId, Tenant] = {t.id: t for t in problem.tenants}
        self.quota = {t: self._guarantee(t) for t in self.tenants}
        named = {name for quota in self.quota.values() for name in quota}
        self.counted = named or {n for r in problem.running for n in r.resources} | {n for _, a in got for n in a}
        self.capacity = total(n.resources for n in problem.nodes if n.state is not NodeState.DOWN)
        down = {n.id for n in problem.nodes if n.state is NodeState.DOWN}
        self.capacity = self.capacity - total(a for node, a in problem.foreign.items() if node not in down)

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

    def used(
        self, tenant: TenantId, got: Iterable[tuple[Demand, Resources]], gone: Iterable[Displaced]
    ) -> Resources:
        """Return the subtree's use: what runs, plus ``got``, less ``gone``."""
        inside = [r.resources for r in self.problem.running if tenant in self.line(r.demand.tenant)]
        plus = [amounts for demand, amounts in got if tenant in self.line(demand.tenant)]
        minus = [victim.amounts for victim in gone if tenant in self.line(victim.demand.tenant)]
        return total(inside) + total(plus) - total(minus)

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
        facts, use, quota = book.tenants[tenant], book.used(tenant, book.got, book.gone), book.quota[tenant]
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
    parent = book.tenants[tenant].parent
    siblings = book.members(parent if parent in book.tenants else None)
    withheld = {s: dict(book.tenants[s].lend_limit or ()).get(name) for s in siblings}
    if all(lend is None for lend in withheld.values()):
        return False
    taken = 0
    for sibling, lend in withheld.items():
        kept = 0 if lend is None else max(0, book.quota[sibling].get(name) - lend)
        taken += max(book.used(sibling, book.got, book.gone).get(name), kept)
    if parent is None or parent not in book.tenants:
        return taken > book.capacity.get(name)
    # Above its own quota the parent borrows in turn; what it may add from outside is judged at its own level.
    borrowed = max(0, book.used(parent, book.got, book.gone).get(name) - book.quota[parent].get(name))
    return taken > book.quota[parent].get(name) + borrowed


def _displacements(book: TenantBook) -> Iterator[Broken]:
    """Every victim goes for someone who may displace it (laws 3, 4, 5, 6)."""
    winners = {demand.id: (demand, amounts) for demand, amounts in book.got}
    for victim in book.gone:
        names = winners if victim.beneficiaries is None else victim.beneficiaries
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
    reclaimers = [pair for pair in book.got if pair[0].id == winner.id] + [
        (d, a)
        for d, a in book.got
        if d.id != winner.id and top in book.line(d.tenant) and _benefits_outside(book, d, top)
    ]
    if not book.above(top, book.used(top, reclaimers, book.gone), amounts):
        return rules.reclaim is Reclaim.ANY or (rules.reclaim is Reclaim.LOWER_PRIORITY and lower)
    if rules.borrow is Borrow.FAIR:
        return _larger_share_shrinks(book, top, theirs[-1], reclaimers)
    return rules.borrow is Borrow.LOWER_PRIORITY and lower


def _benefits_outside(book: TenantBook, demand: Demand, top: TenantId) -> bool:
    return any(
        demand.id in (victim.beneficiaries or ()) and top not in book.line(victim.demand.tenant)
        for victim in book.gone
    )


def _larger_share_shrinks(
    book: TenantBook, mine: TenantId, theirs: TenantId, got: Sequence[tuple[Demand, Resources]]
) -> bool:
    def larger(plus: Sequence[tuple[Demand, Resources]], minus: Sequence[Displaced]) -> float:
        return max(book.share(tenant, book.used(tenant, plus, minus)) for tenant in (mine, theirs))

    return larger(got, book.gone) < larger((), ())


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
        names = winners if victim.beneficiaries is None else victim.beneficiaries
        sides = [
            book.sides(winners[name].tenant, victim.demand.tenant)[1]
            for name in names
            if name in winners
        ]
        fair = any(
            all(book.above(t, book.used(t, (), order[:i]), victim.amounts) for t in side) for side in sides
        )
        if sides and not fair:
            yield 10, victim.demand.id, f"is displaced while {victim.demand.tenant} is within its quota"
