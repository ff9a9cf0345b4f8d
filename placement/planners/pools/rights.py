"""The rules between tenants on a plan as decoded: limits before a grant, and for whom each victim yields.

What the rows of ``accounts`` leave open is decided here in exact amounts: work whose going nobody may ask for stays.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from placement.model import Borrow, Cause, Demand, DemandId, Reclaim, Resources, Running, TenantId, Within
from placement.planners.pools.accounts import Accounts
from placement.planners.tree import Tree, Vector, add


@dataclass(frozen=True, slots=True)
class Got:
    """Who gets something: all of it, and what its least number of bundles is; a newcomer, or work that grows."""

    demand: Demand
    amounts: Resources
    least: Resources
    nodes: frozenset[int]
    grows: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """A victim's part that goes; ``last`` is what goes last, after elastic work has shrunk to its minimum.

    ``shrinks``: the rest of it stays; such victims go after those that stop.
    """

    running: Running
    amounts: Resources
    last: Resources
    shrinks: bool
    nodes: frozenset[int]


class Ledger:
    """Use of tenants while grants are made one after the other."""

    def __init__(self, accounts: Accounts) -> None:
        self.tree = accounts.tree
        self.use = {tenant: dict(amounts) for tenant, amounts in accounts.use.items()}
        self._limited = any(t.limit or t.borrow_limit or t.lend_limit for t in self.tree.tenants.values())

    def allows(self, tenant: TenantId, more: Mapping[str, int]) -> bool:
        """Return whether all limits hold with these amounts (law 4)."""
        if not self._limited:
            return True
        after: dict[TenantId, Mapping[str, int]] = dict(self.use)
        for above in self.tree.paths[tenant]:
            use = dict(self.use[above])
            add(use, more)
            after[above] = use
        return self.tree.refusal(tenant, after, more) is None

    def sound(self, tenant: TenantId, names: Iterable[str]) -> bool:
        """Return whether what a tenant has got of these resources is within all limits as things stand."""
        return not self._limited or self.tree.refusal(tenant, self.use, names) is None

    def book(self, tenant: TenantId, amounts: Mapping[str, int] | Resources, sign: int = 1) -> None:
        for above in self.tree.paths[tenant]:
            add(self.use[above], amounts, sign)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Victims in the order of going, each with its cause and for whom; and those that nobody may displace."""

    order: tuple[tuple[Gone, Cause, tuple[DemandId, ...]], ...]
    refused: tuple[Gone, ...]


def judge(tree: Tree, before: Mapping[TenantId, Vector], got: Sequence[Got], gone: Sequence[Gone]) -> Verdict:
    """Choose for whom each victim yields: newcomers on its nodes first, then others with the right to it."""
    book = _Book(tree, before, got, gone)
    chosen: list[tuple[Gone, Cause, DemandId]] = []
    refused: list[Gone] = []
    for victim in sorted(gone, key=lambda v: (v.shrinks, sum(a for _, a in v.amounts.items()), v.running.demand.id)):
        found = book.beneficiary(victim)
        if found is None:
            refused.append(victim)
        else:
            chosen.append((victim, *found))
            book.leave(victim)
    kept = [(v, cause, (name,)) for v, cause, name in chosen]
    return Verdict(tuple(kept), tuple(refused))


class _Book:
    def __init__(self, tree: Tree, before: Mapping[TenantId, Vector], got: Sequence[Got], gone: Sequence[Gone]) -> None:
        self.tree, self.got = tree, got
        self.final = {t: dict(use) for t, use in before.items()}
        self.now = {t: dict(use) for t, use in before.items()}
        self.reclaimed = {t: dict(use) for t, use in before.items()}
        for entry in got:
            for t in tree.paths[entry.demand.tenant]:
                add(self.final[t], entry.amounts)
                add(self.now[t], entry.amounts)
        for victim in gone:
            for t in tree.paths[victim.running.demand.tenant]:
                add(self.final[t], victim.amounts, -1)
                add(self.reclaimed[t], victim.amounts, -1)
        self.outside: set[DemandId] = set()
        self.counted: set[DemandId] = set()
        """Newcomers that gain outside their side, and those like them: what is reclaimed counts all of them."""
        self.by_tenant: dict[TenantId, list[Got]] = {}
        self.by_node: dict[int, list[Got]] = {}
        self.alike: dict[Hashable, list[Got]] = {}
        for entry in got:
            self.by_tenant.setdefault(entry.demand.tenant, []).append(entry)
            self.alike.setdefault(_asks(entry), []).append(entry)
            for node in entry.nodes:
                self.by_node.setdefault(node, []).append(entry)
        for entries in self.by_tenant.values():
            entries.sort(key=lambda e: (-e.demand.priority, -sum(a for _, a in e.least.items()), e.demand.id))
        self._reclaimers: list[Got] | None = None

    def leave(self, victim: Gone) -> None:
        for t in self.tree.paths[victim.running.demand.tenant]:
            add(self.now[t], victim.amounts, -1)

    def beneficiary(self, victim: Gone) -> tuple[Cause, DemandId] | None:
        other = victim.running.demand
        here = [entry for node in sorted(victim.nodes) for entry in self.by_node.get(node, ())]
        for entry in here:
            cause = self._may(victim, entry)
            if cause is not None:
                return self._noted(entry, other.tenant, cause)
        for entry in self.by_tenant.get(other.tenant, ())[:1]:
            cause = self._may(victim, entry)
            if cause is not None:
                return cause, entry.demand.id
        for entries in self.by_tenant.values():
            if entries[0].demand.tenant == other.tenant:
                continue
            for entry in [e for e in entries if e.demand.id in self.outside][:2] + list(entries[:8]):
                cause = self._may(victim, entry)
                if cause is not None:
                    return self._noted(entry, other.tenant, cause)
        return None

    def _noted(self, entry: Got, victims_tenant: TenantId, cause: Cause) -> tuple[Cause, DemandId]:
        if entry.demand.tenant != victims_tenant and entry.demand.id not in self.outside:
            self.outside.add(entry.demand.id)
            for like in self._with(entry):
                self.counted.add(like.demand.id)
                for t in self.tree.paths[like.demand.tenant]:
                    add(self.reclaimed[t], like.least)
        return cause, entry.demand.id

    def _may(self, victim: Gone, entry: Got) -> Cause | None:
        winner, other, tree = entry.demand, victim.running.demand, self.tree
        rules, lower = tree.policy(winner.tenant), other.priority < winner.priority
        if winner.tenant == other.tenant:
            newer = other.priority == winner.priority and victim.running.started_s > winner.submitted_s
            inside = (rules.within is not Within.NEVER and lower) or (rules.within is Within.LOWER_OR_NEWER and newer)
            return Cause.PRIORITY if inside else None
        mine, theirs = tree.apart(winner.tenant, other.tenant)
        if not mine or not theirs or not all(self._above_to_the_last(t, victim) for t in theirs):
            return None
        if self._stays_within(entry):
            allowed = rules.reclaim is Reclaim.ANY or (rules.reclaim is Reclaim.LOWER_PRIORITY and lower)
            return Cause.RECLAIM if allowed else None
        if rules.borrow is Borrow.LOWER_PRIORITY and lower and self._stays_above(entry, mine[-1]):
            return Cause.PRIORITY
        return None

    def _above_to_the_last(self, tenant: TenantId, victim: Gone) -> bool:
        """Return whether a tenant is above its quota when the last of a victim goes (law 10)."""
        use = self.now[tenant]
        if victim.last is not victim.amounts:
            use = dict(use)
            add(use, victim.amounts - victim.last, -1)
        return self.tree.above(tenant, use, [name for name, _ in victim.last.items()])

    def _with(self, entry: Got) -> list[Got]:
        """Return who is like a newcomer and not counted yet: of like ones, those who take what is idle come first."""
        return [like for like in self.alike[_asks(entry)] if like.demand.id not in self.counted]

    def _stays_within(self, entry: Got) -> bool:
        """Return whether all of the winner's line stays within quota with all that is reclaimed on its account."""
        for t in self.tree.paths[entry.demand.tenant]:
            use = dict(self.reclaimed[t])
            for like in self._with(entry):
                add(use, like.least)
            if not self.tree.within(t, use, [name for name, _ in entry.amounts.items()]):
                return False
        return True

    def _stays_above(self, entry: Got, top: TenantId) -> bool:
        """Return whether the winner is a borrower whoever else reclaims: then only the rule for borrowers counts."""
        use = dict(self.reclaimed[top])
        for like in self._with(entry):
            add(use, like.least)
        return not self.tree.within(top, use, [name for name, _ in entry.amounts.items()])


def _asks(entry: Got) -> Hashable:
    demand = entry.demand
    if entry.grows:
        return demand.id
    first, n = demand.bundles[0], len(demand.bundles)
    bundles = (first, n) if demand.bundles.count(first) == n else demand.bundles
    return demand.tenant, bundles, demand.min_bundles, demand.topologies
