"""The rows of tenants: limits, what is worth more within quotas, and whose work may yield for whom.

Who may displace whom is kept in volumes of one governed resource. ``supply`` is what a tenant's newcomers of one
priority get. Work yields inside its tenant for a supply of higher priority, or to other tenants as far as its own is
above quota and theirs, which stay within their quotas, are supplied. What these rows leave open (several resources,
shares, growth) is judged after decoding (``rights``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from placement.model import MILLI, Borrow, Demand, Problem, Reclaim, TenantId, Within, total
from placement.planners.pools.candidates import Group
from placement.planners.pools.sheet import INFINITY, Sheet
from placement.planners.tree import Tree, Vector, add
from placement.value import Entitled, Values


@dataclass(slots=True)
class Accounts:
    """What tenants use, and the numbers of their rows.

    Attributes
    ----------
    resource : str
        The governed resource in whose volume rights are counted.
    supply : mapping of group to row
        Newcomers of a tenant and priority enter here what they get.
    yields : mapping of group to row
        Victims of a tenant and priority enter here what they give up.
    limits, entitled : mapping of (tenant, resource) to row
    inside : mapping of group to row
        What a tenant's work of this and higher priorities gives up inside it, at most what its newcomers are supplied.
    gated : bool
        Whether some tenant is above its limit.
    """

    tree: Tree
    use: dict[TenantId, Vector]
    resource: str
    asks: dict[Group, float]
    wanted: dict[TenantId, Vector]
    may_yield: dict[Group, bool] = field(default_factory=dict)
    within: dict[Group, bool] = field(default_factory=dict)
    supply: dict[Group, int] = field(default_factory=dict)
    yields: dict[Group, int] = field(default_factory=dict)
    limits: dict[tuple[TenantId, str], list[int]] = field(default_factory=dict)
    entitled: dict[TenantId, tuple[int, str]] = field(default_factory=dict)
    inside: dict[Group, int] = field(default_factory=dict)
    gated: bool = False

    def most_got(self, tenant: TenantId, name: str) -> float:
        """Return the most of a resource that a tenant's newcomers could get."""
        return max(1.0, sum(a.get(name, 0) for t, a in self.wanted.items() if tenant in self.tree.paths[t]) / MILLI)

    def over(self, tenant: TenantId) -> float:
        """Return how much a tenant's whole line is above quota: the least of it, at most 0 where one is not."""
        name = self.resource
        return min(
            (self.use[t].get(name, 0) - self.tree.quota[t].get(name, 0)) / MILLI for t in self.tree.paths[tenant]
        )

    def headroom(self, tenant: TenantId) -> float:
        """Return how much a tenant's whole line may still get within quota."""
        name = self.resource
        return min(
            (self.tree.quota[t].get(name, 0) - self.use[t].get(name, 0)) / MILLI for t in self.tree.paths[tenant]
        )


def accounts_of(problem: Problem, tree: Tree) -> Accounts:
    """Work out what tenants use and whose work might yield at all."""
    use: dict[TenantId, Vector] = {tenant: {} for tenant in tree.tenants}
    own: dict[TenantId, Vector] = {}
    for running in problem.running:
        demand, n = running.demand, len(running.nodes)
        into, first = own.setdefault(demand.tenant, {}), demand.bundles[0]
        if demand.bundles.count(first) == len(demand.bundles):
            for name, amount in first.resources.items():
                into[name] = into.get(name, 0) + amount * n
        else:
            add(into, running.resources)
    for tenant, amounts in own.items():
        for above in tree.paths[tenant]:
            add(use[above], amounts)
    names = [name for name in ("GPU", "CPU") if name in tree.governed and tree.capacity.get(name, 0) > 0]
    resource = names[0] if names else min(tree.governed, default="GPU")
    asks: dict[Group, float] = {}
    wanted: dict[TenantId, Vector] = {}
    for demand in problem.pending:
        into = wanted.setdefault(demand.tenant, {})
        asked = _asked(demand)
        for name, amount in asked:
            into[name] = into.get(name, 0) + amount
        group = (demand.tenant, demand.priority)
        asks[group] = asks.get(group, 0.0) + next((a for name, a in asked if name == resource), 0) / MILLI
    out = Accounts(tree, use, resource, asks, wanted)
    _who_may_yield(problem, out)
    return out


def _asked(demand: Demand) -> list[tuple[str, int]]:
    """Return the most that a demand asks for in any of its forms."""
    first, n = demand.bundles[0], len(demand.bundles)
    if not demand.alternatives and demand.bundles.count(first) == n:
        return [(name, amount * n) for name, amount in first.resources.items()]
    most = dict(demand.resources().items())
    for shape in demand.alternatives:
        for name, amount in total(bundle.resources for bundle in shape.bundles).items():
            most[name] = max(amount, most.get(name, 0))
    return list(most.items())


def _who_may_yield(problem: Problem, accounts: Accounts) -> None:
    tree = accounts.tree
    groups = dict.fromkeys((r.demand.tenant, r.demand.priority) for r in problem.running if r.demand.preemptible)
    highest: dict[TenantId, int] = {}
    for tenant, priority in accounts.asks:
        highest[tenant] = max(priority, highest.get(tenant, priority))
    reclaimers = [(t, p) for t, p in accounts.asks if takes_back(accounts, t) is not None]
    for tenant, priority in groups:
        inside = tree.policy(tenant).within is not Within.NEVER and highest.get(tenant, priority) > priority
        accounts.within[tenant, priority] = inside
        outside = accounts.over(tenant) > 0 and any(
            t != tenant and (takes_back(accounts, t) == "any" or p > priority) for t, p in reclaimers
        )
        accounts.may_yield[tenant, priority] = inside or outside


def takes_back(accounts: Accounts, tenant: TenantId) -> str | None:
    """Return from whom a tenant's newcomers may take: ``any``, ``lower`` priorities, or None."""
    policy = accounts.tree.policy(tenant)
    if accounts.headroom(tenant) > 0 and policy.reclaim is Reclaim.ANY:
        return "any"
    if accounts.headroom(tenant) > 0 and policy.reclaim is Reclaim.LOWER_PRIORITY:
        return "lower"
    return "lower" if policy.borrow is Borrow.LOWER_PRIORITY else None


def write(
    sheet: Sheet, accounts: Accounts, values: Values, yielding: Sequence[Group], biggest: Mapping[TenantId, float]
) -> None:
    """Write all rows of tenants; newcomers and victims enter their columns later.

    Parameters
    ----------
    yielding : sequence of group
        Groups that have victims.
    biggest : mapping of tenant to float
        The largest victim's volume: the last of a tenant's may take it below its quota.
    """
    lost: dict[TenantId, list[int]] = {}
    given: dict[Group, int] = {}
    for group in yielding:
        # What a group gives up is the sum of its victims.
        accounts.yields[group] = sheet.row(0.0, 0.0)
        given[group] = sheet.column(0.0, INFINITY, [(accounts.yields[group], -1.0)])
        for tenant in accounts.tree.paths[group[0]]:
            lost.setdefault(tenant, []).append(given[group])
    inside = _rights(sheet, accounts, given, biggest) if yielding else {}
    _limits(sheet, accounts, lost, biggest)
    _entitled(sheet, accounts, values.entitled, inside)


def _rights(
    sheet: Sheet, accounts: Accounts, given: Mapping[Group, int], biggest: Mapping[TenantId, float]
) -> Mapping[Group, int]:
    """A group gives up no more than is supplied for whom it may yield, inside its tenant and outside.

    Returns the columns of what each group gives up inside its tenant.
    """
    got: dict[Group, int] = {}
    for group in accounts.asks:
        accounts.supply[group] = sheet.row(0.0)
        got[group] = sheet.column(0.0, INFINITY, [(accounts.supply[group], 1.0)])
    inside = {group: sheet.column(0.0, INFINITY, ()) for group in given if accounts.within[group]}
    outside = {group: sheet.column(0.0, INFINITY, ()) for group in given if accounts.over(group[0]) > 0}
    for group, column in given.items():
        row = sheet.row(0.0)
        sheet.enter(row, column, 1.0)
        for part in (inside, outside):
            if group in part:
                sheet.enter(row, part[group], -1.0)
    for tenant, priority in inside:
        row = accounts.inside[tenant, priority] = sheet.row(0.0)
        for group, column in inside.items():
            if group[0] == tenant and group[1] >= priority:
                sheet.enter(row, column, 1.0)
        for group, column in got.items():
            if group[0] == tenant and group[1] > priority:
                sheet.enter(row, column, -1.0)
    if outside:
        _outside(sheet, accounts, outside, got, biggest)
    return inside


def _outside(
    sheet: Sheet,
    accounts: Accounts,
    outside: Mapping[Group, int],
    got: Mapping[Group, int],
    biggest: Mapping[TenantId, float],
) -> None:
    """Tenants give back what is above their quota, to tenants that stay within theirs."""
    tree, name = accounts.tree, accounts.resource
    taken = {group: sheet.column(0.0, INFINITY, ()) for group in got if takes_back(accounts, group[0]) is not None}
    for group, column in taken.items():
        row = sheet.row(0.0)
        sheet.enter(row, column, 1.0)
        sheet.enter(row, got[group], -1.0)
    for tenant in tree.tenants:
        spare = (tree.quota[tenant].get(name, 0) - accounts.use[tenant].get(name, 0)) / MILLI
        below = [c for g, c in outside.items() if tenant in tree.paths[g[0]]]
        if below:
            last = max(most for t, most in biggest.items() if tenant in tree.paths[t])
            row = sheet.row(max(0.0, -spare + last - 1.0))
            for column in below:
                sheet.enter(row, column, 1.0)
        within = [c for g, c in taken.items() if tenant in tree.paths[g[0]] and accounts.headroom(g[0]) > 0]
        if within:
            row = sheet.row(max(0.0, spare))
            for column in within:
                sheet.enter(row, column, 1.0)
    for priority in sorted({group[1] for group in outside}):
        row = sheet.row(0.0)
        for group, column in outside.items():
            if group[1] >= priority:
                sheet.enter(row, column, 1.0)
        for group, column in taken.items():
            if takes_back(accounts, group[0]) == "any" or group[1] > priority:
                sheet.enter(row, column, -1.0)


def _limits(
    sheet: Sheet, accounts: Accounts, lost: Mapping[TenantId, Sequence[int]], biggest: Mapping[TenantId, float]
) -> None:
    """Who gets something stays within limits (law 4); what its victims give up counts for it.

    A newcomer of a tenant above its limit may ask less important work inside to go for all that is too much as well.
    """
    tree = accounts.tree
    for tenant, facts in tree.tenants.items():
        most = dict(facts.limit or ())
        for name, extra in facts.borrow_limit or ():
            above = tree.quota[tenant].get(name, 0) + extra
            most[name] = min(above, most.get(name, above))
        for name, amount in most.items():
            room = (amount - accounts.use[tenant].get(name, 0)) / MILLI
            row = sheet.row(max(0.0, room))
            accounts.limits[tenant, name] = [row]
            if name == accounts.resource:
                for column in lost.get(tenant, ()):
                    sheet.enter(row, column, -1.0)
            if room < 0:
                # Whoever is above its limit gets nothing before enough of its own has gone.
                gate, accounts.gated = sheet.row(0.0), True
                entries = [(row, -room), (gate, -accounts.most_got(tenant, name))]
                for group, inside in accounts.inside.items() if name == accounts.resource else ():
                    if tenant in tree.paths[group[0]]:
                        # Work goes in patterns of 1, 2, 4, .. units: what is more than need be is put back afterwards.
                        entries.append((inside, 2.0 * room - biggest.get(group[0], 0.0)))
                sheet.column(0.0, 1.0, entries)
                accounts.limits[tenant, name].append(gate)


def _entitled(
    sheet: Sheet, accounts: Accounts, entitled: Mapping[TenantId, Entitled], inside: Mapping[Group, int]
) -> None:
    """What a tenant gets within its quota is worth more, less what it gives up for that itself."""
    for tenant, facts in entitled.items():
        used = accounts.use[tenant].get(facts.name, 0) / MILLI
        row = sheet.row(used)
        sheet.column(facts.worth * MILLI, facts.quota / MILLI, [(row, 1.0)])
        accounts.entitled[tenant] = (row, facts.name)
        if facts.name == accounts.resource:
            for group, column in inside.items():
                if tenant in accounts.tree.paths[group[0]]:
                    sheet.enter(row, column, 1.0)
