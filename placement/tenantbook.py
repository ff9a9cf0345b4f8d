"""Whether a plan keeps the rules between tenants: limits, who may displace whom, and victims above their quota.

Part of the judge (``placement.check``): worked out from the whole plan, without any planner's code. Sums over all of
the plan are made once; what is asked of each victim is then a look-up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from placement.model import (
    Borrow,
    Bundle,
    Cause,
    Demand,
    DemandId,
    NodeState,
    Objective,
    Problem,
    Reclaim,
    Resources,
    Tenant,
    TenantId,
    Within,
    total,
)
from placement.model.demand import counted

Broken = tuple[int, str, str]
Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Displaced:
    """Work that stops, or the part of it that goes, and for whom."""

    demand: Demand
    started_s: float
    amounts: Resources
    beneficiaries: tuple[DemandId, ...]
    cause: Cause | None = None


class TenantBook:
    """The tenants' use before and after a plan.

    ``got`` is what each grant or growth adds, ``gone`` what each victim gives up, in the order of going.
    """

    def __init__(self, problem: Problem, got: Sequence[tuple[Demand, Resources]], gone: Sequence[Displaced]) -> None:
        self.problem, self.got = problem, tuple(got)
        self.tenants: dict[TenantId, Tenant] = {t.id: t for t in problem.tenants}
        self.lines = {tenant: self._line(tenant) for tenant in self.tenants}
        self.children: dict[TenantId | None, list[TenantId]] = {}
        for facts in problem.tenants:
            parent = facts.parent if facts.parent in self.tenants else None
            self.children.setdefault(parent, []).append(facts.id)
        self.quota = {t: self._guarantee(t) for t in self.tenants}
        self.before = self._sums(_held(problem))
        plus = self._sums((demand.tenant, amounts, 1) for demand, amounts in self.got)
        self.full = {t: _plus(self.before[t], plus[t]) for t in self.tenants}
        """Use with all that is new, before anyone goes."""
        self._quotas = {t: dict(quota.items()) for t, quota in self.quota.items()}
        named = {name for quota in self.quota.values() for name in quota}
        self.counted = named or {name for use in self.full.values() for name, amount in use.items() if amount}
        self.capacity = _capacity(problem)
        self.winners = {demand.id: (demand, amounts) for demand, amounts in self.got}
        self._judged: dict[DemandId, Resources] = {}
        self._alike: dict[DemandId, list[DemandId]] | None = None
        self._let_go(tuple(gone))

    def _let_go(self, gone: tuple[Displaced, ...]) -> None:
        """Take the victims, and forget what was worked out with others."""
        self.gone = gone
        minus = self._sums((victim.demand.tenant, victim.amounts, 1) for victim in gone)
        self.after = {t: _plus(self.full[t], minus[t], -1) for t in self.tenants}
        self._reclaimed: dict[tuple[DemandId, TenantId], dict[str, int]] = {}
        self._taken: dict[tuple[TenantId | None, str], int] = {}
        self._outside: dict[TenantId, dict[DemandId, None]] | None = None
        self._outside_sum: dict[TenantId, dict[str, int]] = {}

    def sparing(self, gone: Sequence[Displaced]) -> TenantBook:
        """Return the same plan's book with other victims."""
        twin = object.__new__(TenantBook)
        twin.__dict__.update(self.__dict__)
        twin._let_go(tuple(gone))
        return twin

    def _line(self, tenant: TenantId) -> tuple[TenantId, ...]:
        """Return the tenant and its ancestors, without the root."""
        out: list[TenantId] = []
        at: TenantId | None = tenant
        while at in self.tenants and at is not None and at not in out:
            out.append(at)
            at = self.tenants[at].parent
        return tuple(out)

    def _guarantee(self, tenant: TenantId) -> Resources:
        own = self.tenants[tenant].quota
        return total(self._guarantee(child) for child in self.children.get(tenant, ())) if own is None else own

    def _sums(self, parts: Iterable[tuple[TenantId, Resources, int]]) -> dict[TenantId, dict[str, int]]:
        """Return the sum of each subtree; like vectors are added once."""
        counts: Counter[tuple[TenantId, int]] = Counter()
        vectors: dict[int, Resources] = {}
        for tenant, amounts, n in parts:
            counts[tenant, id(amounts)] += n
            vectors[id(amounts)] = amounts
        out: dict[TenantId, dict[str, int]] = {t: {} for t in self.tenants}
        for (tenant, key), n in counts.items():
            for above in self.lines[tenant]:
                add(out[above], vectors[key], n)
        return out

    def line(self, tenant: TenantId) -> tuple[TenantId, ...]:
        return self.lines[tenant]

    def final(self, tenant: TenantId) -> Amounts:
        """Return the subtree's use under the whole plan."""
        return self.after[tenant]

    def above(self, tenant: TenantId, use: Amounts, among: Iterable[str]) -> bool:
        quota, counted = self._quotas[tenant], self.counted
        return any(name in counted and use.get(name, 0) > quota.get(name, 0) for name in among)

    def share(self, tenant: TenantId, use: Amounts) -> float:
        quota = self.quota[tenant]
        over = [(amount - quota.get(n)) / max(1, self.capacity.get(n)) for n, amount in use.items()]
        return max([0.0, *over]) / self.tenants[tenant].weight

    def sides(self, one: TenantId, other: TenantId) -> tuple[tuple[TenantId, ...], tuple[TenantId, ...]]:
        """Return both lines below the first tenant that they share."""
        a, b = self.line(one), self.line(other)
        return tuple(t for t in a if t not in b), tuple(t for t in b if t not in a)

    def taken(self, parent: TenantId | None, name: str) -> int:
        """Return what a tenant uses itself, and what its members use or withhold."""
        if (parent, name) not in self._taken:
            members = self.children.get(parent, [])
            own = 0
            if parent is not None:
                own = self.after[parent].get(name, 0) - sum(self.after[member].get(name, 0) for member in members)
            for member in members:
                lend = dict(self.tenants[member].lend_limit or ()).get(name)
                withheld = 0 if lend is None else max(0, self.quota[member].get(name) - lend)
                own += max(self.taken(member, name), withheld)
            self._taken[parent, name] = own
        return self._taken[parent, name]

    def use_of_reclaimers(self, winner: Demand, top: TenantId) -> dict[str, int]:
        """Return the use of ``top`` with the winner, with all others of its side that gain outside it, less the gone.

        Newcomers of its tenant that are like it and gain nothing there count too: what is idle comes first, so that of
        like ones those who take it come before those who displace. An elastic winner may have grown on idle room beyond
        what its guarantee let it reclaim: its minimum is judged.
        """
        if (winner.id, top) not in self._reclaimed:
            gaining = self._gaining_outside().get(top, {})
            if top not in self._outside_sum:
                self._outside_sum[top] = _sum(self._minimum(name) for name in gaining)
            use = _plus(self.before[top], self._outside_sum[top])
            for name in self._likes().get(winner.id, (winner.id,)):
                if name not in gaining:
                    add(use, self._minimum(name))
            gone = _plus(self.full[top], self.after[top], -1)
            self._reclaimed[winner.id, top] = _plus(use, gone, -1)
        return self._reclaimed[winner.id, top]

    def _likes(self) -> Mapping[DemandId, Sequence[DemandId]]:
        """Return, by newcomer, all of its tenant that ask for the same, itself included."""
        if self._alike is None:
            kinds: dict[Bundle, int] = {}
            numbers: dict[int, int] = {}
            groups: dict[Hashable, list[DemandId]] = {}
            runs = {running.demand.id for running in self.problem.running}
            self._alike = {}
            for demand, _ in self.got:
                if demand.id not in runs:
                    for bundle, _ in counted(demand.bundles):
                        if id(bundle) not in numbers:
                            numbers[id(bundle)] = kinds.setdefault(bundle, len(kinds))
                    asks = tuple((numbers[id(bundle)], n) for bundle, n in counted(demand.bundles))
                    key = demand.tenant, asks, demand.min_bundles, demand.topologies
                    self._alike[demand.id] = group = groups.setdefault(key, [])
                    group.append(demand.id)
        return self._alike

    def _minimum(self, name: DemandId) -> Resources:
        if name not in self._judged:
            demand, amounts = self.winners[name]
            least = demand.resources(demand.min_bundles)
            self._judged[name] = least if least.fits_in(amounts) else amounts
        return self._judged[name]

    def _gaining_outside(self) -> dict[TenantId, dict[DemandId, None]]:
        """Return, by tenant, who of its subtree gains from a victim that is not of it."""
        if self._outside is None:
            self._outside = {}
            for victim in self.gone:
                theirs = self.lines[victim.demand.tenant]
                for name in victim.beneficiaries:
                    if name in self.winners:
                        for top in self.lines[self.winners[name][0].tenant]:
                            if top not in theirs:
                                self._outside.setdefault(top, {})[name] = None
        return self._outside


def add(to: dict[str, int], amounts: Resources, n: int = 1) -> None:
    for name, amount in amounts.items():
        to[name] = to.get(name, 0) + amount * n


def _sum(parts: Iterable[Resources]) -> dict[str, int]:
    return dict(total(parts).items())


def _plus(one: Amounts, other: Amounts, sign: int = 1) -> dict[str, int]:
    out = dict(one)
    for name, amount in other.items():
        out[name] = out.get(name, 0) + sign * amount
    return out


def _held(problem: Problem) -> Iterator[tuple[TenantId, Resources, int]]:
    for running in problem.running:
        if running.nodes:
            for bundle, n in counted(running.demand.bundles[: len(running.nodes)]):
                yield running.demand.tenant, bundle.resources, n


def _capacity(problem: Problem) -> Resources:
    """Return what all nodes that are not down have, less foreign use."""
    down = {n.id for n in problem.nodes if n.state is NodeState.DOWN}
    foreign = total(amounts for node, amounts in problem.foreign.items() if node not in down)
    return total(n.resources for n in problem.nodes if n.state is not NodeState.DOWN) - foreign


def broken_rules(book: TenantBook) -> Iterator[Broken]:
    """Return broken rules as (law, subject, sentence)."""
    yield from _limits(book)
    yield from _displacements(book)
    yield from _went_above_quota(book)


def _limits(book: TenantBook) -> Iterator[Broken]:
    """Whoever gets something stays within limits, its own and those of its ancestors (law 4)."""
    asked: dict[TenantId, dict[str, None]] = {}
    for demand, amounts in book.got:
        for tenant in book.line(demand.tenant):
            asked.setdefault(tenant, {}).update(dict.fromkeys(amounts))
    lending = {name for tenant in book.tenants.values() for name, _ in tenant.lend_limit or ()}
    for tenant, names in asked.items():
        facts, use, quota = book.tenants[tenant], book.final(tenant), book.quota[tenant]
        for name, most in facts.limit or ():
            if name in names and use.get(name, 0) > most:
                yield 4, tenant, f"would use {use[name]} of {name}, its limit is {most}"
        for name, most in facts.borrow_limit or ():
            if name in names and use.get(name, 0) > quota.get(name) + most:
                yield 4, tenant, f"would borrow {use[name] - quota.get(name)} of {name}, at most {most} allowed"
        for name in sorted(names):
            if name in lending and use.get(name, 0) > quota.get(name) and _lent_too_much(book, tenant, name):
                yield 4, tenant, f"would borrow more {name} than its neighbours lend"


def _lent_too_much(book: TenantBook, tenant: TenantId, name: str) -> bool:
    """Return whether a borrowing tenant takes what nobody near lends and no ancestor can borrow further up."""
    above: list[TenantId | None] = [*book.line(tenant)[1:], None]
    for parent in above:
        taken = book.taken(parent, name)
        if parent is None:
            return taken > book.capacity.get(name)
        over, facts = taken - book.quota[parent].get(name), book.tenants[parent]
        if over <= 0:
            return False
        if over > dict(facts.borrow_limit or ()).get(name, over) or taken > dict(facts.limit or ()).get(name, taken):
            return True
    return False


def _displacements(book: TenantBook) -> Iterator[Broken]:
    """Every victim goes for someone who may displace it (laws 3, 4, 5, 6)."""
    winners = book.winners
    for victim in book.gone:
        names = victim.beneficiaries
        for name in names:
            if name not in winners:
                yield 7, victim.demand.id, f"is displaced for {name}, which gets nothing"
        if not any(name in winners and _may(book, victim, *winners[name]) for name in names):
            same = any(name in winners and winners[name][0].tenant == victim.demand.tenant for name in names)
            yield 5 if same else 4, victim.demand.id, "is displaced, but nobody who gets something may displace it"


def _may(book: TenantBook, victim: Displaced, winner: Demand, amounts: Resources) -> bool:
    if victim.cause is Cause.TIME_SLICE:
        return _takes_turns(book.problem, victim, winner)
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
    use = book.use_of_reclaimers(winner, top)
    guarded = any(name in book.counted for name in amounts)
    if guarded and not book.above(top, use, amounts):
        return rules.reclaim is Reclaim.ANY or (rules.reclaim is Reclaim.LOWER_PRIORITY and lower)
    if rules.borrow is Borrow.FAIR:
        return _larger_share_shrinks(book, top, theirs[-1], use)
    return rules.borrow is Borrow.LOWER_PRIORITY and lower


def _takes_turns(problem: Problem, victim: Displaced, winner: Demand) -> bool:
    """Return whether the victim's time slice is over and the winner is its equal or more."""
    policy = problem.policy
    return (
        policy.objective is Objective.GOODPUT
        and policy.time_slice_s is not None
        and problem.now_s - victim.started_s >= policy.time_slice_s
        and victim.demand.priority <= winner.priority
    )


def _larger_share_shrinks(book: TenantBook, mine: TenantId, theirs: TenantId, use: Amounts) -> bool:
    """Return whether the larger of both shares gets smaller; what the victim's side gets counts on both sides."""
    before = max(book.share(mine, book.before[mine]), book.share(theirs, book.full[theirs]))
    after = max(book.share(mine, use), book.share(theirs, book.final(theirs)))
    return after < before


def _went_above_quota(book: TenantBook) -> Iterator[Broken]:
    """Each victim's tenant is above its quota at the moment that it goes (law 10)."""
    complaints = list(_out_of_turn(book, book.gone))
    if complaints:
        by_size = sorted(book.gone, key=lambda v: sum(a for _, a in v.amounts.items()))
        if not any(True for _ in _out_of_turn(book, by_size)):
            complaints = []
    yield from complaints


def _out_of_turn(book: TenantBook, order: Sequence[Displaced]) -> Iterator[Broken]:
    use = {tenant: dict(amounts) for tenant, amounts in book.full.items()}
    for victim in order:
        tenant = victim.demand.tenant
        winners = dict.fromkeys(book.winners[name][0].tenant for name in victim.beneficiaries if name in book.winners)
        sides = [book.sides(winner, tenant)[1] for winner in winners]
        if sides and not any(all(book.above(t, use[t], victim.amounts) for t in side) for side in sides):
            yield 10, victim.demand.id, f"is displaced while {tenant} is within its quota"
        for above in book.line(tenant):
            add(use[above], victim.amounts, -1)
