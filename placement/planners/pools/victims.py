"""Running work that could yield, and the cheapest way to free each number of units on each node.

Theory of operation. For every node the cheapest victims on it alone that free 1, 2, .. units are found by a knapsack
over all nodes at once; what that is worth in blocks, at the prices of the linear programme, decides which of these
patterns become columns. Work on several nodes is a column by itself (``departures``). The same numbers bound what any
pattern could still add.

References
----------
Dantzig and Wolfe, Decomposition Principle for Linear Programs, Operations Research 1960, doi:10.1287/opre.8.1.101.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from placement.model import MILLI
from placement.planners.pools.candidates import Group, Victim
from placement.planners.pools.options import Blocks
from placement.planners.pools.view import Floats, Ints, View, blocks, digits

MOST_ON_NODE = 16
"""How many victims of one node are looked at, the cheapest per unit first."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Victims of one node, and the change of the node's blocks (row, number) once they have gone."""

    node: int
    victims: tuple[int, ...]
    delta: tuple[tuple[int, float], ...]
    cost: float
    freed: int


@dataclass(frozen=True, slots=True)
class Clearing:
    """Nodes of one domain that are cleared together, each by its pattern, for the blocks of many nodes."""

    domain: tuple[int, int]
    patterns: tuple[Pattern, ...]
    delta: tuple[tuple[int, float], ...]


class Yard:
    """The victims of all nodes in arrays, ready to be priced again and again.

    Attributes
    ----------
    node : array of int, shape (nodes with victims,)
    slot : array of int, shape (nodes with victims, MOST_ON_NODE)
        Numbers of victims, -1 where there are fewer.
    """

    def __init__(self, view: View, rows: Blocks, victims: Sequence[Victim]) -> None:
        self.view, self.rows, self.victims = view, rows, victims
        at: dict[int, list[int]] = {}
        for i, victim in enumerate(victims):
            if not victim.at:
                at.setdefault(victim.node, []).append(i)
        for here in at.values():
            here.sort(key=lambda i: (victims[i].cost / victims[i].units, victims[i].running.demand.id))
        self.node = np.array(sorted(at), dtype=np.int64)
        width = min(MOST_ON_NODE, max(map(len, at.values()), default=0))
        self.slot = np.full((len(self.node), width), -1, dtype=np.int64)
        for row, node in enumerate(self.node):
            here = at[int(node)][:width]
            self.slot[row, : len(here)] = here
        self.units = np.array([v.units for v in victims], dtype=np.int64)
        self.cost = np.array([v.cost for v in victims], dtype=float)
        self.volume = np.array([v.volume for v in victims], dtype=float)
        groups: dict[Group, int] = {}
        self.group = np.array([groups.setdefault(v.group, len(groups)) for v in victims], dtype=np.int64)
        self.groups = tuple(groups)
        pool_of = np.array(view.pool_of, dtype=np.int64)
        self.pool = pool_of[self.node] if len(self.node) else np.zeros(0, np.int64)
        self.free = np.array(
            [max(0, view.free[i][view.pools[view.pool_of[i]].unit]) // MILLI for i in map(int, self.node)], np.int64
        )
        self.most = max((pool.most for pool in view.pools), default=0)

    def cheapest(self, price_of_unit: Floats) -> tuple[Floats, Ints]:
        """Return, for each node and each number of units, the least cost of freeing just that, and who goes.

        Parameters
        ----------
        price_of_unit : array of float, shape (groups,)
            What the rules between tenants add per unit to the cost of a victim of each group.

        Returns
        -------
        tuple of array (nodes, most + 1) and array of bit masks over the node's slots
        """
        n, width = self.slot.shape
        best = np.full((n, self.most + 1), np.inf)
        mask = np.zeros((n, self.most + 1), dtype=np.int64)
        if not n:
            return best, mask
        best[:, 0] = 0.0
        adjusted = self.cost + self.volume * price_of_unit[self.group]
        for k in range(width):
            who = self.slot[:, k]
            for units in np.unique(self.units[who[who >= 0]]):
                if units > self.most:
                    continue
                rows = np.flatnonzero((who >= 0) & (self.units[who] == units))
                price = adjusted[who[rows]]
                old = best[rows]
                trial = old[:, : self.most + 1 - units] + price[:, None]
                better = trial < old[:, units:] - 1e-9
                new, new_mask = old.copy(), mask[rows]
                moved = mask[rows][:, : self.most + 1 - units] | (1 << k)
                new[:, units:] = np.where(better, trial, old[:, units:])
                new_mask[:, units:] = np.where(better, moved, new_mask[:, units:])
                best[rows], mask[rows] = new, new_mask
        return best, mask

    def profits(self, block_price: Floats, best: Floats) -> Floats:
        """Return what each number of freed units is worth in blocks, less its cost; shape (nodes, most + 1)."""
        out = np.full_like(best, -np.inf)
        units = np.arange(self.most + 1)
        for y in np.unique(self.pool):
            pool, rows = self.view.pools[y], np.flatnonzero(self.pool == y)
            worth = self._worth(int(y), block_price)
            after = self.free[rows, None] + units[None, :]
            fits = after <= pool.most
            gain = worth[np.minimum(after, pool.most)] - worth[self.free[rows]][:, None]
            out[rows] = np.where(fits, gain - best[rows], -np.inf)
        return out

    def _worth(self, y: int, block_price: Floats) -> Floats:
        """Return the price of 0, 1, .. free units on a node of a pool."""
        pool, first, levels = self.view.pools[y], self.rows.first[y], self.rows.levels[y]
        counts = np.arange(pool.most + 1)
        return np.asarray(block_price[first : first + levels] @ blocks(counts, pool.top), dtype=float)

    def pattern(self, row: int, freed: int, mask: int) -> Pattern:
        """Return the pattern that a bit mask over the slots of a node stands for."""
        chosen = tuple(int(self.slot[row, k]) for k in range(self.slot.shape[1]) if mask >> k & 1)
        y = int(self.pool[row])
        before, after = int(self.free[row]), int(self.free[row]) + freed
        top = self.view.pools[y].top
        delta = tuple(
            (self.rows.first[y] + level, float(new - old))
            for level, (old, new) in enumerate(zip(digits(before, top), digits(after, top), strict=True))
            if new != old
        )
        cost = float(sum(self.victims[i].cost for i in chosen))
        return Pattern(int(self.node[row]), chosen, delta, cost, freed)
