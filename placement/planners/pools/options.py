"""The columns of the programme: every way in which a gang may start, and what each takes of which row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import NamedTuple

import numpy as np

from placement.model import MILLI, Resources, TenantId
from placement.planners.pools.facts import Facts, Form
from placement.planners.pools.view import Floats, Ints, Need, Pool, View
from placement.value import Values

MOST_MIXES = 8
"""How many ways a gang of unlike bundles may be spread over pools that do not all take each of them."""


class Way(NamedTuple):
    """Where and how large: a form, its number of bundles and the pool of each kind of bundle."""

    form: Form
    size: int
    pools: tuple[int, ...]

    @property
    def n_bundles(self) -> int:
        return self.form.sizes[self.size][0]

    @property
    def counts(self) -> tuple[int, ...]:
        return self.form.sizes[self.size][1]


@dataclass(slots=True)
class Blocks:
    """Which row each block size of each pool has, and the label by which its larger blocks stand together.

    Attributes
    ----------
    first : list of int
        Row of each pool's blocks of one unit; those of 2, 4, .. units follow, then those of 2, 4, .. nodes.
    levels : list of int
        Number of each pool's block sizes in one node.
    above : list of int
        Number of its block sizes above one node.
    """

    key: str | None
    first: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    above: list[int] = field(default_factory=list)
    n_rows: int = 0


@dataclass(slots=True)
class Columns:
    """One column per way; ``profile`` numbers the like ones, whose takings stand once in ``entries``.

    Attributes
    ----------
    gang : array of int, shape (columns,)
    value : array of float, shape (columns,)
    profile : array of int, shape (columns,)
    entries : list of list of (row, coefficient)
        What each profile takes of the rows of places.
    """

    ways: list[Way]
    gang: Ints
    value: Floats
    profile: Ints
    entries: list[list[tuple[int, float]]]

    def of_each(self, measure: Callable[[Way], float]) -> Floats:
        """Return a measure of every column that depends on its bundles alone: it is asked once for each profile."""
        profiles, first = np.unique(self.profile, return_index=True)
        out = np.zeros(int(profiles[-1]) + 1 if len(profiles) else 0)
        out[profiles] = [measure(self.ways[c]) for c in first.tolist()]
        return out[self.profile]


def pack_key(facts: Sequence[Facts]) -> str | None:
    """Return the label level at which most gangs must be together: the one whose blocks are counted."""
    keys = Counter(f.pack for f in facts if f.simple and f.pack is not None)
    return min(keys, key=lambda key: (-keys[key], key)) if keys else None


def rows_of_blocks(view: View, key: str | None) -> Blocks:
    """Number the rows of blocks of all pools."""
    out = Blocks(key)
    for pool in view.pools:
        out.first.append(out.n_rows)
        out.levels.append(pool.top.bit_length())
        above = 0
        if key is not None and pool.top:
            domain, n_domains = view.domains(key)
            here = domain[pool.nodes]
            if n_domains and (here >= 0).any():
                per_node = np.array([view.have[i][pool.unit] // MILLI // pool.top for i in pool.nodes])
                known = here >= 0
                largest = int(np.bincount(here[known], per_node[known]).max())
                above = max(0, largest.bit_length() - 1)
        out.above.append(above)
        out.n_rows += out.levels[-1] + above
    return out


class Offers:
    """Builds the columns of all gangs; what is alike is worked out once."""

    def __init__(self, view: View, values: Values, blocks: Blocks, side_row: dict[tuple[int, int], int]) -> None:
        self.view, self.values, self.blocks, self.side_row = view, values, blocks, side_row
        self.entries: list[list[tuple[int, float]]] = []
        self._largest: dict[tuple[str, int], int] = {}
        self._able: dict[tuple[int, int], list[int]] = {}

    def columns(self, facts: Sequence[Facts]) -> Columns:
        ways, gang, value, profile = list[Way](), list[int](), list[float](), list[int]()
        speeds: dict[tuple[object, int], float] = {}
        profiles: dict[tuple[object, ...], int] = {}
        for g, fact in enumerate(facts):
            if not fact.simple:
                continue
            worth = self.values.whole(fact.demand) * self.values.weight(fact.demand, waits=fact.running is None)
            least_speed = self._speed_now(fact)
            for form in fact.forms:
                needs = [self.view.need(bundle.resources) for bundle in form.kinds]
                if not all(need.possible for need in needs):
                    continue
                accepted = [self.view.selectors[bundle.selector] for bundle in form.kinds]
                for pools in self._homes(fact, form, needs, accepted):
                    speed = 1.0
                    if fact.demand.speed:
                        for y in pools:
                            known = (fact.demand.speed, y)
                            if known not in speeds:
                                speeds[known] = self.view.speed(fact, self.view.pools[y])
                            speed = min(speed, speeds[known]) if y != pools[0] else speeds[known]
                        if speed < least_speed:
                            continue
                    likeness = (*map(id, needs), pools, fact.pack)
                    for size, (_, counts, rate) in enumerate(form.sizes):
                        number = profiles.get((counts, likeness))
                        if number is None:
                            number = profiles[counts, likeness] = self._profile(fact, needs, counts, pools)
                        if number >= 0:
                            ways.append(Way(form, size, pools))
                            gang.append(g)
                            value.append(worth * rate * speed)
                            profile.append(number)
        return Columns(
            ways, np.array(gang, np.int64), np.array(value, float), np.array(profile, np.int64), self.entries
        )

    def _speed_now(self, fact: Facts) -> float:
        """Return the speed of work that runs: what it grows onto may not slow it down."""
        if fact.running is None or not fact.demand.speed:
            return 0.0
        pools = {self.view.pool_of[self.view.index[n]] for n in fact.running.nodes if n in self.view.index}
        return min((self.view.speed(fact, self.view.pools[y]) for y in pools if y >= 0), default=0.0)

    def _homes(self, fact: Facts, form: Form, needs: Sequence[Need], accepted: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the pools of each kind: all in one, or mixed where no pool takes every kind."""
        able = [self._takers(need, selector) for need, selector in zip(needs, accepted, strict=True)]
        if len(able) == 1:
            return [(y,) for y in able[0]]
        common = [y for y in able[0] if all(y in others for others in able[1:])]
        if common or fact.pack is not None:
            return [(y,) * len(needs) for y in common]
        return list(islice(product(*able), MOST_MIXES))

    def _takers(self, need: Need, selector: int) -> list[int]:
        """Return the pools that take a bundle, worked out once."""
        key = (id(need), selector)
        known = self._able.get(key)
        if known is None:
            pools = enumerate(self.view.pools)
            known = [y for y, pool in pools if self.view.accepts[y][selector] and self._fits_empty(pool, need)]
            self._able[key] = known
        return known

    def _fits_empty(self, pool: Pool, need: Need) -> bool:
        have = self.view.have[pool.sample]
        if all(amount <= room for amount, room in zip(need.amounts, have, strict=True)):
            return True
        return any(
            all(amount <= room for amount, room in zip(need.amounts, self.view.have[i], strict=True))
            for i in {id(self.view.have[i]): int(i) for i in pool.nodes}.values()
        )

    def _profile(self, fact: Facts, needs: Sequence[Need], counts: Sequence[int], pools: tuple[int, ...]) -> int:
        """Number what a way takes; -1 where it could not fit even an empty cluster."""
        entries = self._entries(fact, needs, counts, pools)
        if entries is None:
            return -1
        self.entries.append(sorted(entries.items()))
        return len(self.entries) - 1

    def _entries(
        self, fact: Facts, needs: Sequence[Need], counts: Sequence[int], pools: tuple[int, ...]
    ) -> dict[int, float] | None:
        out: dict[int, float] = {}
        if fact.pack is not None and not self._in_one_domain(fact.pack, needs, counts, pools[0]):
            return None
        for need, n, y in zip(needs, counts, pools, strict=True):
            pool = self.view.pools[y]
            if not n:
                continue
            for name, amount in enumerate(need.amounts):
                row = self.side_row.get((y, name))
                if row is not None and amount:
                    out[row] = out.get(row, 0.0) + amount * n * self.view.scale[name]
            units = need.amounts[pool.unit] // MILLI
            if not units:
                continue
            first, levels = self.blocks.first[y], self.blocks.levels[y]
            whole, rest = divmod(units, pool.top)
            for level in range(levels - 1):
                if (rest >> level) & 1:
                    out[first + level] = out.get(first + level, 0.0) + n
            if whole:
                together = fact.pack is not None and fact.pack == self.blocks.key and len(needs) == 1
                for level, count in self._of_nodes(whole * n, self.blocks.above[y] if together else 0):
                    row = first + levels - 1 + level
                    out[row] = out.get(row, 0.0) + count
        return out

    @staticmethod
    def _of_nodes(n: int, above: int) -> list[tuple[int, int]]:
        """Cut ``n`` largest blocks that stand together into blocks of 1, 2, 4, .. of them."""
        out = [(level, 1) for level in range(above) if (n >> level) & 1]
        if n >> above:
            out.append((above, n >> above))
        return out

    def _in_one_domain(self, key: str, needs: Sequence[Need], counts: Sequence[int], y: int) -> bool:
        """Return whether the gang's units fit the largest domain of a label when it is empty."""
        pool = self.view.pools[y]
        if (key, y) not in self._largest:
            domain, n_domains = self.view.domains(key)
            here = domain[pool.nodes]
            units = np.array([self.view.have[i][pool.unit] // MILLI for i in pool.nodes])
            sums = np.bincount(here[here >= 0], units[here >= 0], minlength=max(1, n_domains))
            self._largest[key, y] = int(sums.max()) if n_domains else -1
        asked = sum(need.amounts[pool.unit] // MILLI * n for need, n in zip(needs, counts, strict=True))
        return asked <= self._largest[key, y]


def asked_of_tenants(need: Resources, n: int) -> dict[str, int]:
    """Return a tenant's amounts for ``n`` bundles."""
    return {name: amount * n for name, amount in need.items()}


def tenant_of(fact: Facts) -> TenantId:
    return fact.demand.tenant
