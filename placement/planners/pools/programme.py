"""The whole programme of one problem, written as a sheet: gangs, blocks, side resources, tenants, victims.

::

    z[c]    gang c's way: a form, a number of bundles, pools      0 or 1
    d[y,s]  blocks of size s of pool y that are cut in two        0, 1, 2, ..
    e[p]    a pattern of victims on one node goes                 0 or 1
    q[p]    nodes of one domain are cleared together              0 or 1

    gang     sum of its z <= 1
    blocks   taken by z of size s + d[y,s] <= free + 2 d[y,2s] + freed by e and q           for each pool and size
    sides    taken of CPU, memory, .. <= free                                               where it could bind
    node     sum of e on it + q that clear it <= 1;      domain   sum of its q <= 1
    tenants  limits, quotas and rights (``accounts``)

A bundle of 3 or 6 units takes blocks of its binary digits. That is a relaxation, exact for sizes that divide one
another; decoding places bundle by bundle and drops what misses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from placement.model import MILLI, TenantId
from placement.planners.pools import accounts as tenants
from placement.planners.pools.accounts import Accounts
from placement.planners.pools.candidates import Group, Victim
from placement.planners.pools.departures import Departure, Departures
from placement.planners.pools.facts import Facts
from placement.planners.pools.options import Blocks, Columns, Offers, Way, pack_key, rows_of_blocks
from placement.planners.pools.sheet import INFINITY, Sheet
from placement.planners.pools.victims import Clearing, Pattern, Yard
from placement.planners.pools.view import Floats, Ints, View, blocks
from placement.value import Values


class Programme:
    """The sheet of one problem, to which columns for victims are added as prices call for them.

    Attributes
    ----------
    columns : Columns
        Columns ``first_choice``, .. of the sheet.
    patterns : dict of column to Pattern, Clearing or Departure
    """

    def __init__(
        self, view: View, facts: Sequence[Facts], values: Values, accounts: Accounts, yard: Yard, blocks_: Blocks
    ) -> None:
        self.view, self.facts, self.values, self.accounts, self.yard = view, facts, values, accounts, yard
        self.blocks, self.sheet = blocks_, Sheet()
        self.patterns: dict[int, Pattern | Clearing | Departure] = {}
        self.free_blocks, self.free_nodes = self._free_blocks()
        self.sheet.rows(self.free_blocks)
        self.departures = Departures(view, blocks_, yard.victims, self.free_nodes)
        side_row = self._side_rows()
        self.columns: Columns = Offers(view, values, blocks_, side_row).columns(facts)
        self._cuts()
        yielding = yard.groups
        biggest: dict[TenantId, float] = {}
        for victim in yard.victims:
            tenant = victim.group[0]
            biggest[tenant] = max(victim.volume, biggest.get(tenant, 0.0))
        tenants.write(self.sheet, accounts, values, yielding, biggest)
        self.first_choice = self.sheet.n_columns
        self._choices()
        self.node_row: dict[int, int] = {}
        self.domain_row: dict[tuple[int, int], int] = {}
        self._known: set[tuple[int, tuple[int, ...]]] = set()

    # -- rows of places ------------------------------------------------------------------------------------------

    def _free_blocks(self) -> tuple[list[float], dict[tuple[int, int], int]]:
        """Return the free blocks of every row, and the number of whole free blocks in each domain of each pool."""
        out = [0.0] * self.blocks.n_rows
        whole: dict[tuple[int, int], int] = {}
        for y, pool in enumerate(self.view.pools):
            first, levels, above = self.blocks.first[y], self.blocks.levels[y], self.blocks.above[y]
            if not levels:
                continue
            free = self.view.free_units(pool)
            cut = blocks(free, pool.top)
            for level in range(levels):
                out[first + level] = float(cut[level].sum())
            if above and self.blocks.key is not None:
                here = self.view.domains(self.blocks.key)[0][pool.nodes]
                known = here >= 0
                per_domain = np.bincount(here[known], cut[-1][known]).astype(np.int64)
                digits = blocks(per_domain, 1 << above)
                out[first + levels - 1] = float(cut[-1][~known].sum() + digits[0].sum())
                for level in range(1, above + 1):
                    out[first + levels - 1 + level] = float(digits[level].sum())
                whole |= {(y, int(d)): int(n) for d, n in enumerate(per_domain)}
        return out, whole

    def _side_rows(self) -> dict[tuple[int, int], int]:
        """Add a row for each other resource of each pool that pending work could use up, in its own amounts."""
        asked = [0] * len(self.view.names)
        fraction = False
        for fact in self.facts:
            for bundle in fact.forms[0].kinds:
                need = self.view.need(bundle.resources)
                fraction |= bool(need.fraction)
                for name, amount in enumerate(need.amounts):
                    asked[name] += amount * len(fact.demand.bundles)
        out: dict[tuple[int, int], int] = {}
        for y, pool in enumerate(self.view.pools):
            for name in range(len(self.view.names)):
                if name == pool.unit and not fraction and name == 0:
                    continue
                free = sum(max(0, self.view.free[i][name]) for i in map(int, pool.nodes))
                if asked[name] > free:
                    out[y, name] = self.sheet.row(free * self.view.scale[name])
        return out

    def _cuts(self) -> None:
        """Larger blocks may be cut into two of half the size."""
        for y in range(len(self.view.pools)):
            first, n = self.blocks.first[y], self.blocks.levels[y] + self.blocks.above[y]
            for level in range(1, n):
                self.sheet.column(0.0, INFINITY, [(first + level, 1.0), (first + level - 1, -2.0)])

    # -- columns of gangs ----------------------------------------------------------------------------------------

    def _choices(self) -> None:
        columns = self.columns
        n = len(columns.gang)
        parts_rows, parts_columns, parts_entries = list[Ints](), list[Ints](), list[Floats]()
        for profile, tables in ((columns.profile, columns.entries), self._tenant_profiles()):
            rows, members, coefficients = expanded(profile, tables)
            parts_rows.append(rows)
            parts_columns.append(members)
            parts_entries.append(coefficients)
        if n:
            counts = np.bincount(columns.gang)
            shared = counts > 1
            first = self.sheet.rows([1.0] * int(shared.sum()))
            row_of = np.cumsum(shared) - 1 + first
            chosen = np.flatnonzero(shared[columns.gang])
            parts_rows.append(row_of[columns.gang[chosen]])
            parts_columns.append(chosen)
            parts_entries.append(np.ones(len(chosen)))
        self.sheet.choices(
            columns.value, np.concatenate(parts_rows), np.concatenate(parts_columns), np.concatenate(parts_entries)
        )

    def _tenant_profiles(self) -> tuple[Ints, list[list[tuple[int, float]]]]:
        """Return each column's profile of what it takes of its tenants' rows, and each profile's entries."""
        columns, facts = self.columns, self.facts
        groups: dict[Group, int] = {}
        group = np.array(
            [groups.setdefault((f.demand.tenant, f.demand.priority), len(groups)) for f in facts], np.int64
        )
        amounts: dict[tuple[tuple[tuple[str, int], ...], int], int] = {}
        taken = columns.of_each(lambda way: amounts.setdefault(self._taken(way), len(amounts))).astype(np.int64)
        known, profile = np.unique(group[columns.gang] * max(1, len(amounts)) + taken, return_inverse=True)
        names, shapes, out = list(groups), list(amounts), []
        for number in known.tolist():
            (tenant, priority), shape = names[number // len(amounts)], shapes[number % len(amounts)]
            out.append(self._tenant_entries(tenant, priority, *shape))
        return np.asarray(profile, np.int64), out

    def _taken(self, way: Way) -> tuple[tuple[tuple[str, int], ...], int]:
        """Return a way's amounts, and for how much work may yield."""
        amounts: dict[str, int] = {}
        for bundle, n in zip(way.form.kinds, way.counts, strict=True):
            for name, amount in bundle.resources.items():
                amounts[name] = amounts.get(name, 0) + amount * n
        return tuple(sorted(amounts.items())), self._supply(way)

    def _supply(self, way: Way) -> int:
        """Return for how much work may yield: each bundle's amount, rounded up to the block that it stands in."""
        name, out = self.accounts.resource, 0
        for bundle, n in zip(way.form.kinds, way.counts, strict=True):
            units = -(-bundle.resources.get(name) // MILLI)
            out += n * (1 << (units - 1).bit_length() if units else 0)
        return out

    def _tenant_entries(
        self, tenant: TenantId, priority: int, taken: tuple[tuple[str, int], ...], supply: int
    ) -> list[tuple[int, float]]:
        accounts, amounts, out = self.accounts, dict(taken), list[tuple[int, float]]()
        row = accounts.supply.get((tenant, priority))
        if row is not None and supply:
            out.append((row, -float(supply)))
        for above in accounts.tree.paths[tenant]:
            for name, amount in amounts.items():
                out += [(row, amount / MILLI) for row in accounts.limits.get((above, name), ())]
            if above in accounts.entitled:
                row, name = accounts.entitled[above]
                if amounts.get(name):
                    out.append((row, -amounts[name] / MILLI))
        return out

    # -- columns of victims --------------------------------------------------------------------------------------

    def add(self, found: Pattern | Clearing | Departure) -> bool:
        """Add a column for victims that go together; return False where it is there already."""
        if isinstance(found, Departure):
            return self._add_departure(found)
        parts = found.patterns if isinstance(found, Clearing) else (found,)
        key = (0 if isinstance(found, Clearing) else 1, tuple(v for part in parts for v in part.victims))
        if key in self._known:
            return False
        self._known.add(key)
        entries: dict[int, float] = {}
        for part in parts:
            if part.node not in self.node_row:
                self.node_row[part.node] = self.sheet.row(1.0)
            entries[self.node_row[part.node]] = 1.0
            for victim in part.victims:
                facts = self.yard.victims[victim]
                row = self.accounts.yields[facts.group]
                entries[row] = entries.get(row, 0.0) + facts.volume
        if isinstance(found, Clearing):
            if found.domain not in self.domain_row:
                self.domain_row[found.domain] = self.sheet.row(1.0)
            entries[self.domain_row[found.domain]] = 1.0
        for row, change in found.delta:
            entries[row] = entries.get(row, 0.0) - change
        worth = -sum(part.cost for part in parts)
        self.patterns[self.sheet.column(worth, 1.0, entries.items())] = found
        return True

    def _add_departure(self, found: Departure) -> bool:
        if self.knows(found):
            return False
        self._known.add(self._key(found))
        victim = self.yard.victims[found.victim]
        entries = {row: -change for row, change in found.delta}
        entries[self.yields_row(victim)] = victim.volume
        for node in found.nodes:
            if node not in self.node_row:
                self.node_row[node] = self.sheet.row(1.0)
            entries[self.node_row[node]] = 1.0
        for domain in found.domains:
            if domain not in self.domain_row:
                self.domain_row[domain] = self.sheet.row(1.0)
            entries[self.domain_row[domain]] = 1.0
        self.patterns[self.sheet.column(-found.cost, 1.0, entries.items())] = found
        return True

    @staticmethod
    def _key(found: Departure) -> tuple[int, tuple[int, ...]]:
        return 2 + len(found.domains), (found.victim,)

    def knows(self, found: Departure) -> bool:
        """Return whether a gang's going is a column already."""
        return self._key(found) in self._known

    def yields_row(self, victim: Victim) -> int:
        return self.accounts.yields[victim.group]


def expanded(profile: Ints, tables: Sequence[Sequence[tuple[int, float]]]) -> tuple[Ints, Ints, Floats]:
    """Return rows, columns and coefficients of the entries that every column has by its profile."""
    lengths = np.array([len(table) for table in tables], np.int64)
    flat = np.array([entry for table in tables for entry in table], float).reshape(-1, 2)
    starts = np.cumsum(lengths) - lengths
    mine = lengths[profile] if len(tables) else np.zeros(len(profile), np.int64)
    columns = np.repeat(np.arange(len(profile)), mine)
    within = np.arange(len(columns)) - np.repeat(np.cumsum(mine) - mine, mine)
    at = starts[profile[columns]] + within if len(tables) else columns
    return flat[at, 0].astype(np.int64), columns, flat[at, 1]


def programme_of(view: View, facts: Sequence[Facts], values: Values, accounts: Accounts, yard: Yard) -> Programme:
    """Write the programme of a problem, without columns for victims."""
    return Programme(view, facts, values, accounts, yard, yard.rows)


__all__ = ["Programme", "pack_key", "programme_of", "rows_of_blocks"]
