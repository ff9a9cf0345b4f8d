"""Gangs on several nodes as victims: all of them goes, or the last bundles of elastic work, as one column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from placement.model import MILLI
from placement.planners.pools.candidates import Victim
from placement.planners.pools.options import Blocks
from placement.planners.pools.view import Floats, Ints, View, digits


@dataclass(frozen=True, slots=True)
class Departure:
    """One victim on several nodes, and the change of blocks (row, number) once it has gone.

    Attributes
    ----------
    nodes : tuple of int
        Distinct nodes that it leaves: no other victims' column may free anything there.
    domains : tuple of (pool, domain)
        Where whole nodes that it leaves become blocks of many nodes: nothing else may be cleared there.
    """

    victim: int
    nodes: tuple[int, ...]
    domains: tuple[tuple[int, int], ...]
    delta: tuple[tuple[int, float], ...]
    cost: float


class Departures:
    """All departures of one problem, ready to be priced again and again."""

    def __init__(
        self, view: View, rows: Blocks, victims: Sequence[Victim], free_nodes: Mapping[tuple[int, int], int]
    ) -> None:
        self.view, self.rows, self.victims, self.free_nodes = view, rows, victims, free_nodes
        self._changes: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        self.all: list[Departure] = []
        for number, victim in enumerate(victims):
            if victim.at:
                self.all += self._of(number, victim)
        entries = [(i, row, change) for i, found in enumerate(self.all) for row, change in found.delta]
        table = np.array(entries, float).reshape(-1, 3)
        shape = (len(self.all), max(1, rows.n_rows))
        where = (table[:, 0].astype(np.int64), table[:, 1].astype(np.int64))
        self._delta = csr_matrix((table[:, 2], where), shape=shape)
        self._cost = np.array([found.cost for found in self.all], float)
        self._volume = np.array([victims[found.victim].volume for found in self.all], float)

    def _of(self, number: int, victim: Victim) -> list[Departure]:
        leaves = self._leaves(victim)
        plain: dict[int, int] = {}
        whole: dict[tuple[int, int], int] = {}
        for node, units in leaves.items():
            y = self.view.pool_of[node]
            first, last = self.rows.first[y], self.rows.levels[y] - 1
            for level, change in self._change(y, max(0, self.view.free[node][self.view.pools[y].unit]) // MILLI, units):
                plain[first + level] = plain.get(first + level, 0) + change
                domain = self._domain(node) if level == last and self.rows.above[y] else -1
                if domain >= 0:
                    whole[y, domain] = whole.get((y, domain), 0) + change
        nodes = tuple(sorted(leaves))
        out = [Departure(number, nodes, (), _entries(plain), victim.cost)]
        cleared = {key: n for key, n in whole.items() if n}
        together = _entries(self._merged(plain, cleared))
        if together != out[0].delta:
            out.append(Departure(number, nodes, tuple(sorted(cleared)), together, victim.cost))
        return out

    def _leaves(self, victim: Victim) -> dict[int, int]:
        """Return how many units each node gets back."""
        n = len(victim.at)
        out: dict[int, int] = {}
        bundles = victim.running.demand.bundles[n - victim.bundles : n]
        for node, bundle in zip(victim.nodes(n - victim.bundles, n), bundles, strict=True):
            name = self.view.names[self.view.pools[self.view.pool_of[node]].unit]
            out[node] = out.get(node, 0) + bundle.resources.get(name) // MILLI
        return out

    def _change(self, y: int, free: int, units: int) -> list[tuple[int, int]]:
        """Return how the number of blocks changes by level where so many units more are free on a node."""
        known = self._changes.get((y, free, units))
        if known is None:
            top = self.view.pools[y].top
            pairs = enumerate(zip(digits(free, top), digits(free + units, top), strict=True))
            known = self._changes[y, free, units] = [(level, new - old) for level, (old, new) in pairs if new != old]
        return known

    def _merged(self, plain: Mapping[int, int], cleared: Mapping[tuple[int, int], int]) -> dict[int, int]:
        """Return the change where whole nodes of one domain become blocks of many nodes with those that are free."""
        out = dict(plain)
        for (y, domain), n in cleared.items():
            had, top = self.free_nodes.get((y, domain), 0), 1 << self.rows.above[y]
            row = self.rows.first[y] + self.rows.levels[y] - 1
            out[row] -= n
            for level, (old, new) in enumerate(zip(digits(had, top), digits(had + n, top), strict=True)):
                out[row + level] = out.get(row + level, 0) + new - old
        return out

    def _domain(self, node: int) -> int:
        return int(self.view.domains(self.rows.key)[0][node]) if self.rows.key is not None else -1

    def reduced(
        self,
        price: Floats,
        row_of: Callable[[Victim], int],
        node_row: Mapping[int, int],
        domain_row: Mapping[tuple[int, int], int],
    ) -> Floats:
        """Return each departure's worth at the prices of rows, shape (departures,)."""
        yielding = np.array([row_of(self.victims[found.victim]) for found in self.all], np.int64)
        out = self._delta @ price[: self._delta.shape[1]] - self._cost - self._volume * price[yielding]
        for i, found in enumerate(self.all):
            for node in found.nodes:
                if node in node_row:
                    out[i] -= price[node_row[node]]
            for domain in found.domains:
                if domain in domain_row:
                    out[i] -= price[domain_row[domain]]
        return np.asarray(out, float)


def best_first(reduced: Floats, least: float) -> Ints:
    """Return who is worth more than ``least``, the best first."""
    able = np.flatnonzero(reduced > least)
    return able[np.lexsort((able, -reduced[able]))]


def _entries(changes: Mapping[int, int]) -> tuple[tuple[int, float], ...]:
    return tuple((row, float(change)) for row, change in sorted(changes.items()) if change)
