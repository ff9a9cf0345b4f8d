"""From chosen columns to nodes: victims go, gangs are placed, what is idle is filled, who can stay stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from placement.model import DemandId, Grant, Plan, Preemption, Problem, Reason, Resize, TenantId, Waiting
from placement.planners.pools.accounts import Accounts
from placement.planners.pools.awkward import MOST_STEPS, places
from placement.planners.pools.candidates import Victim
from placement.planners.pools.facts import Facts
from placement.planners.pools.options import Columns, Way
from placement.planners.pools.rights import Gone, Got, Ledger, Verdict, judge
from placement.planners.pools.room import Room
from placement.planners.pools.view import Floats, Ints, Need, View
from placement.throughput import scaled

MOST_ROUNDS = 6
"""How often victims that nobody may displace are put back before nobody is displaced at all."""


@dataclass(slots=True)
class Granted:
    """A newcomer's nodes by bundle, and the way that it started in; ``column`` is -1 where no column says it."""

    column: int
    way: Way
    nodes: list[int]


class Decoder:
    """One plan in the making."""

    def __init__(
        self,
        view: View,
        facts: Sequence[Facts],
        accounts: Accounts,
        columns: Columns,
        victims: Sequence[Victim],
        order: Ints,
    ) -> None:
        """``order`` are the columns in the order in which idle room is offered to them."""
        self.view, self.facts, self.accounts, self.columns, self.victims = view, facts, accounts, columns, victims
        self.order = order
        self.room, self.ledger = Room(view), Ledger(accounts)
        self.granted: dict[int, Granted] = {}
        self.kept: dict[int, int] = {}
        """Bundles that each displaced victim keeps."""
        self.n_lost = 0
        self._displaced: set[DemandId] = set()
        self._failed: set[object] = set()
        self._gangs = columns.gang.tolist()
        self._profiles = columns.profile.tolist()

    # -- the steps -----------------------------------------------------------------------------------------------

    def run(self, chosen: Iterable[int], displaced: Iterable[int], awkward: Sequence[int] = ()) -> None:
        """Carry out chosen columns and victims, then fill, then let stay whoever can."""
        self._displace(displaced)
        for column in self._hardest_first(chosen):
            if self._gangs[column] not in self.granted and not self._start(column):
                self.n_lost += 1
        self._start_awkward(awkward)
        self.fill()
        self._grow()
        self._obey_limits()
        self._spare()

    def settled(self) -> Verdict:
        """Return for whom each victim yields, once nobody yields for nobody."""
        for turn in range(MOST_ROUNDS):
            verdict = judge(self.accounts.tree, self.accounts.use, self._got(), self._gone())
            if not verdict.refused:
                return verdict
            everyone = turn == MOST_ROUNDS - 2
            names = {gone.running.demand.id for gone in verdict.refused}
            for victim in list(self.kept):
                if everyone or self.victims[victim].running.demand.id in names:
                    self._put_back(victim)
            self._obey_limits()
            self.fill()
            self._obey_limits()
            self._spare()
        return judge(self.accounts.tree, self.accounts.use, self._got(), ())

    def fill(self) -> None:
        """Offer what is idle to all that wait, in order."""
        self._failed.clear()
        gangs = self._gangs
        for column in self.order.tolist():
            if gangs[column] not in self.granted:
                self._start(column)

    # -- newcomers -----------------------------------------------------------------------------------------------

    def _hardest_first(self, chosen: Iterable[int]) -> list[int]:
        """Order columns, large blocks first: any fit of sizes that divide one another is then exact."""

        def hardness(column: int) -> tuple[int, int, int, int]:
            fact, way = self.facts[self._gangs[column]], self.columns.ways[column]
            largest = total = 0
            for bundle, n, y in zip(way.form.kinds, way.counts, way.pools, strict=True):
                units = self.view.units(self.view.pools[y], self.view.need(bundle.resources))
                largest, total = max(largest, units), total + units * n
            return (-total if fact.pack is not None else 0, -largest, -total, column)

        return sorted(chosen, key=hardness)

    def _start(self, column: int) -> bool:
        g, way = self._gangs[column], self.columns.ways[column]
        fact = self.facts[g]
        if fact.running is not None and fact.demand.id in self._displaced:
            return False
        likeness = (self._profiles[column], fact.spread)
        if likeness in self._failed:
            return False
        wanted = [
            (self.view.need(bundle.resources), n, y)
            for bundle, n, y in zip(way.form.kinds, way.counts, way.pools, strict=True)
            if n
        ]
        if any(self.room.hopeless(y, need) for need, _, y in wanted):
            self._failed.add(likeness)
            return False
        amounts = _amounts(wanted, self.view)
        if not self.ledger.allows(fact.demand.tenant, amounts):
            return False
        wish = fact.wish.key if fact.wish is not None else None
        placed = self.room.place(wanted, fact.pack, fact.spread, wish)
        if placed is None:
            self._failed.add(likeness)
            return False
        self.ledger.book(fact.demand.tenant, amounts)
        self.granted[g] = Granted(column, way, _by_rank(way, placed))
        return True

    def _start_awkward(self, gangs: Sequence[int]) -> None:
        """Place gangs that no column says, as far as the steps go."""
        most = max(4, MOST_STEPS // max(1, len(self.view.problem.nodes)))
        for g in gangs[:most]:
            fact = self.facts[g]
            for way, nodes in places(self.view, self.accounts.tree, fact, self.room):
                amounts = dict(way.form.demand.resources(way.n_bundles).items())
                needs = [self.view.need(bundle.resources) for bundle in way.form.demand.bundles[: way.n_bundles]]
                if all(need.possible for need in needs) and self.ledger.allows(fact.demand.tenant, amounts):
                    for need, node in zip(needs, nodes, strict=True):
                        self.room.put(node, need)
                    self.ledger.book(fact.demand.tenant, amounts)
                    self.granted[g] = Granted(-1, way, nodes)
                    break

    def _revoke(self, g: int) -> None:
        granted = self.granted.pop(g)
        fact, way = self.facts[g], granted.way
        amounts: dict[str, int] = {}
        for rank, node in enumerate(granted.nodes):
            need = self.view.need(way.form.demand.bundles[rank].resources)
            self.room.put(node, need, -1)
            for name, amount in need.resources.items():
                amounts[name] = amounts.get(name, 0) + amount
        self.ledger.book(fact.demand.tenant, amounts, -1)

    def _grow(self) -> None:
        """Let elastic newcomers have one bundle after the other of what is left idle."""
        for column in self.order.tolist():
            g = self._gangs[column]
            granted = self.granted.get(g)
            if granted is None or granted.column != column:
                continue
            fact, way = self.facts[g], self.columns.ways[column]
            demand, n = way.form.demand, len(granted.nodes) + (len(fact.running.nodes) if fact.running else 0)
            if n == len(demand.bundles) or fact.spread is not None:
                continue
            while n < len(demand.bundles) and scaled(demand, n + 1) > scaled(demand, n):
                bundle = demand.bundles[n]
                need = self.view.need(bundle.resources)
                if not self.ledger.allows(demand.tenant, dict(bundle.resources.items())):
                    break
                y = way.pools[way.form.kind_of(n)]
                node = self._one_more(fact, y, need, granted.nodes[0])
                if node < 0:
                    break
                self.ledger.book(demand.tenant, bundle.resources)
                granted.nodes.append(node)
                n += 1

    def _one_more(self, fact: Facts, y: int, need: Need, beside: int) -> int:
        if fact.pack is None:
            if self.room.hopeless(y, need):
                return -1
            placed = self.room.place([(need, 1, y)], None, None)
            return placed[0][0] if placed else -1
        domain, _ = self.view.domains(fact.pack)
        nodes = self.view.pools[y].nodes
        for node in nodes[domain[nodes] == domain[beside]].tolist():
            if self.room.fits(node, need):
                self.room.put(node, need)
                return int(node)
        return -1

    # -- victims -------------------------------------------------------------------------------------------------

    def _bundles(self, victim: int, first: int = 0, last: int | None = None) -> list[Need]:
        running = self.victims[victim].running
        bundles = running.demand.bundles[: len(running.nodes)][first:last]
        return [self.view.need(bundle.resources) for bundle in bundles]

    def _displace(self, victims: Iterable[int]) -> None:
        """Let victims go; of elastic work as many bundles as were chosen, from its last one on."""
        gone: dict[DemandId, list[int]] = {}
        for victim in victims:
            gone.setdefault(self.victims[victim].running.demand.id, []).append(victim)
        for parts in gone.values():
            first = self.victims[parts[0]]
            self._displaced.add(first.running.demand.id)
            n = len(first.running.nodes)
            ends = any(self.victims[v].ends for v in parts)
            keep = 0 if ends else n - sum(self.victims[v].bundles for v in parts)
            for node, need in zip(first.nodes(keep, n), self._bundles(parts[0], keep), strict=True):
                self.room.put(node, need, -1)
            for bundle in first.running.demand.bundles[keep:n]:
                self.ledger.book(first.running.demand.tenant, bundle.resources, -1)
            self.kept[parts[0]] = keep

    def _fits_back(self, victim: int, first: int, last: int) -> bool:
        """Put bundles of a victim back where they were if they fit; nothing changes where they do not."""
        done: list[tuple[int, Need]] = []
        for node, need in zip(self.victims[victim].nodes(first, last), self._bundles(victim, first, last), strict=True):
            if not self.room.fits(node, need):
                for at, other in done:
                    self.room.put(at, other, -1)
                return False
            self.room.put(node, need)
            done.append((node, need))
        return True

    def _spare(self) -> None:
        """Let victims stay that fit where they were, the most important first; elastic ones with what fits of them."""
        got: dict[TenantId, dict[str, None]] = {}
        for granted in self.granted.values():
            demand = granted.way.form.demand
            got.setdefault(demand.tenant, {}).update(dict.fromkeys(demand.resources(len(granted.nodes))))
        ranked = sorted(
            self.kept,
            key=lambda v: (-self.victims[v].group[1], -self.victims[v].cost, self.victims[v].running.demand.id),
        )
        for victim in ranked:
            running, had = self.victims[victim].running, self.kept[victim]
            n, least = len(running.nodes), running.demand.min_bundles
            sizes = [n, *range(n - 1, max(least, had + 1) - 1, -1)] if least < n else [n]
            for keep in sizes:
                if keep > had and self._fits_back(victim, had, keep):
                    if self._stays(victim, had, keep, got):
                        break
                    nodes = self.victims[victim].nodes(had, keep)
                    for node, need in zip(nodes, self._bundles(victim, had, keep), strict=True):
                        self.room.put(node, need, -1)

    def _stays(self, victim: int, first: int, keep: int, got: Mapping[TenantId, Iterable[str]]) -> bool:
        """Count bundles of a victim back, unless limits that newcomers are held to would break (law 4)."""
        self._count_back(victim, first, keep)
        if all(self.ledger.sound(tenant, names) for tenant, names in got.items()):
            return True
        running = self.victims[victim].running
        for bundle in running.demand.bundles[first:keep]:
            self.ledger.book(running.demand.tenant, bundle.resources, -1)
        self.kept[victim] = first
        return False

    def _count_back(self, victim: int, first: int, keep: int) -> None:
        running = self.victims[victim].running
        for bundle in running.demand.bundles[first:keep]:
            self.ledger.book(running.demand.tenant, bundle.resources)
        if keep == len(running.nodes):
            del self.kept[victim]
        else:
            self.kept[victim] = keep

    def _put_back(self, victim: int) -> None:
        """Let a victim stay; newcomers on its nodes leave, the last in order first, until it fits."""
        facts, had = self.victims[victim], self.kept[victim]
        n = len(facts.running.nodes)
        place = {self._gangs[c]: i for i, c in enumerate(reversed(self.order.tolist()))}
        back = set(facts.nodes(had, n))
        here = sorted(
            (g for g, granted in self.granted.items() if not back.isdisjoint(granted.nodes)),
            key=lambda g: place.get(g, 0),
        )
        while not self._fits_back(victim, had, n):
            self._revoke(here.pop(0))
        self._count_back(victim, had, n)

    def _obey_limits(self) -> None:
        """Take back what the going of victims allowed that stay after all, the last in order first."""
        last = [g for g, granted in self.granted.items() if granted.column < 0]
        for column in reversed(self.order.tolist()):
            found = self.granted.get(self._gangs[column])
            if found is not None and found.column == column:
                last.append(self._gangs[column])
        for g in last:
            demand, n = self.granted[g].way.form.demand, len(self.granted[g].nodes)
            if not self.ledger.sound(demand.tenant, list(demand.resources(n))):
                self._revoke(g)

    # -- the plan ------------------------------------------------------------------------------------------------

    def _got(self) -> list[Got]:
        out = []
        for g, granted in self.granted.items():
            demand = granted.way.form.demand
            n, least = len(granted.nodes), demand.min_bundles
            amounts = demand.resources(n)
            if self.facts[g].running is not None:
                least = n
            out.append(
                Got(
                    demand,
                    amounts,
                    amounts if least == n else demand.resources(least),
                    frozenset(granted.nodes),
                    self.facts[g].running is not None,
                )
            )
        return out

    def _gone(self) -> list[Gone]:
        out = []
        for victim, kept in self.kept.items():
            facts = self.victims[victim]
            running = facts.running
            amounts = running.resources - running.demand.resources(kept) if kept else running.resources
            least = running.demand.min_bundles
            last = running.demand.resources(least) if not kept and least < len(running.nodes) else amounts
            nodes = frozenset(facts.nodes(kept, len(running.nodes)))
            out.append(Gone(running, amounts, last, kept > 0, nodes))
        return out

    def plan(self, problem: Problem, verdict: Verdict) -> Plan:
        """Return grants in order of arrival, and what yields in the order of going."""
        at = {DemandId(self.facts[g].demand.id): (g, granted) for g, granted in self.granted.items()}
        ids = [node.id for node in problem.nodes]
        grants, waiting = [], {}
        for demand in problem.pending:
            if demand.id in at:
                granted = at[demand.id][1]
                form = granted.way.form.number
                grants.append(Grant(demand.id, tuple(ids[node] for node in granted.nodes), form))
            else:
                waiting[demand.id] = Waiting(Reason.CAPACITY, "waits for room")
        kept = {self.victims[v].running.demand.id: n for v, n in self.kept.items()}
        stops, resizes = [], []
        for gone, cause, names in verdict.order:
            running = gone.running
            n = kept[running.demand.id]
            if n:
                resizes.append(Resize(running.demand.id, len(running.nodes), n, running.nodes[:n], cause, names))
            else:
                stops.append(Preemption(running.demand.id, cause, names))
        for g, granted in self.granted.items():
            old = self.facts[g].running
            if old is not None:
                nodes = old.nodes + tuple(ids[node] for node in granted.nodes)
                resizes.append(Resize(old.demand.id, len(old.nodes), len(nodes), nodes))
        return Plan(tuple(grants), tuple(stops), tuple(resizes), waiting)


def _amounts(wanted: Sequence[tuple[Need, int, int]], view: View) -> dict[str, int]:
    out: dict[str, int] = {}
    for need, n, _ in wanted:
        for name, amount in need.resources.items():
            out[name] = out.get(name, 0) + amount * n
    return out


def _by_rank(way: Way, placed: Sequence[Sequence[int]]) -> list[int]:
    """Return the node of each bundle in rank order."""
    if not way.form.which:
        return list(placed[0])
    lists: Iterator[Sequence[int]] = iter(placed)
    queues = {kind: list(reversed(next(lists))) for kind, n in enumerate(way.counts) if n}
    return [queues[kind].pop() for kind in way.form.which[: way.n_bundles]]


def by_density(columns: Columns, sizes: Floats) -> Ints:
    """Return columns in the order of worth per accelerator, the largest first; ties by column."""
    density = columns.value / np.maximum(1e-9, sizes)
    return np.lexsort((np.arange(len(density)), -columns.value, -density)).astype(np.int64)
