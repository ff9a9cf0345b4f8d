"""Placing bundles on nodes: best fit by free units, all or nothing per gang, whole amounts, undone where it misses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

import numpy as np

from placement.model import MILLI
from placement.planners.pools.view import Ints, Need, View
from placement.planners.state import devices_of, fractions_fit

MOST_TRIED = 64
"""How many nodes with as many free units are tried for one bundle before the next larger count."""

Placed = list[tuple[int, Need]]
"""Nodes with what was put there, for undoing."""


class Room:
    """What is free while a plan is made; nodes stand in heaps by their free units.

    Attributes
    ----------
    free : list of list of int, shape (nodes, names)
    units : array of int, shape (nodes,)
        Whole free units by the unit of each node's pool; -1 on closed nodes.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.free = [list(amounts) for amounts in view.free]
        self.fractions = {node: list(parts) for node, parts in view.fractions.items()}
        self.units = np.full(len(self.free), -1, dtype=np.int64)
        self.heaps: list[list[list[int]]] = []
        for pool in view.pools:
            heaps: list[list[int]] = [[] for _ in range(pool.most + 1)]
            for node in pool.nodes.tolist():
                units = max(0, self.free[node][pool.unit]) // MILLI
                self.units[node] = units
                heaps[units].append(node)
            for heap in heaps:
                heapify(heap)
            self.heaps.append(heaps)
        self._unit = [pool.unit for pool in view.pools]

    # -- one bundle ----------------------------------------------------------------------------------------------

    def fits(self, node: int, need: Need) -> bool:
        """Return whether one more bundle fits, parts of a GPU on single devices."""
        for amount, room in zip(need.amounts, self.free[node], strict=True):
            if amount and amount > room:
                return False
        gpu = need.amounts[0]
        if not gpu or (not need.fraction and node not in self.fractions):
            return True
        parts = self.fractions.get(node, [])
        have = self.view.have[node][0]
        whole = have - self.free[node][0] - sum(parts) + (0 if need.fraction else gpu)
        rooms = devices_of(have)
        more = [*parts, need.fraction] if need.fraction else parts
        return whole // MILLI <= len(rooms) and fractions_fit(rooms[whole // MILLI :], more)

    def put(self, node: int, need: Need, sign: int = 1) -> None:
        """Put a bundle on a node, or take it off with sign -1."""
        room = self.free[node]
        for name, amount in enumerate(need.amounts):
            if amount:
                room[name] -= sign * amount
        if need.fraction:
            parts = self.fractions.setdefault(node, [])
            if sign > 0:
                parts.append(need.fraction)
            else:
                parts.remove(need.fraction)
        y = self.view.pool_of[node]
        if y >= 0:
            units = max(0, room[self._unit[y]]) // MILLI
            if units != self.units[node]:
                self.units[node] = units
                heappush(self.heaps[y][units], node)

    def release(self, node: int, needs: Sequence[Need]) -> None:
        for need in needs:
            self.put(node, need, -1)

    # -- gangs ---------------------------------------------------------------------------------------------------

    def place(
        self, wanted: Sequence[tuple[Need, int, int]], pack: str | None, spread: str | None, wish: str | None = None
    ) -> list[list[int]] | None:
        """Take nodes for each kind of bundle (need, number, pool); None, and nothing taken, where it misses."""
        if pack is not None:
            return self._together(wanted, pack)
        if wish is not None and sum(n for _, n, _ in wanted) > 1:
            found = self._together(wanted, wish)
            if found is not None:
                return found
        if spread is not None:
            return self._apart(wanted, spread)
        done: Placed = []
        out: list[list[int]] = [[] for _ in wanted]
        for k in self._largest_first(wanted):
            need, n, y = wanted[k]
            for _ in range(n):
                node = self._best(y, need)
                if node < 0:
                    self._undo(done)
                    return None
                self.put(node, need)
                done.append((node, need))
                out[k].append(node)
        return out

    @staticmethod
    def _largest_first(wanted: Sequence[tuple[Need, int, int]]) -> list[int]:
        return sorted(range(len(wanted)), key=lambda k: wanted[k][0].amounts, reverse=True)

    def _undo(self, done: Placed) -> None:
        for node, need in reversed(done):
            self.put(node, need, -1)

    def _best(self, y: int, need: Need) -> int:
        """Return the node of a pool with the fewest free units that takes the bundle; -1 where none does."""
        asked = need.amounts[self._unit[y]]
        heaps, units = self.heaps[y], self.units
        for count in range(-(-asked // MILLI) if not need.fraction else 0, len(heaps)):
            heap = heaps[count]
            skipped: list[int] = []
            found = -1
            last = -1
            while heap and len(skipped) < MOST_TRIED:
                node = heap[0]
                if units[node] != count or node == last:
                    heappop(heap)
                    continue
                last = node
                if self.fits(node, need):
                    found = node
                    break
                skipped.append(heappop(heap))
            for node in skipped:
                heappush(heap, node)
            if found >= 0:
                return found
        return -1

    def hopeless(self, y: int, need: Need) -> bool:
        """Return whether no node of a pool has as many free units as a bundle asks for."""
        heaps, units = self.heaps[y], self.units
        for count in range(len(heaps) - 1, -(-need.amounts[self._unit[y]] // MILLI) - 1, -1):
            heap = heaps[count]
            while heap and units[heap[0]] != count:
                heappop(heap)
            if heap:
                return False
        return not need.fraction

    def _together(self, wanted: Sequence[tuple[Need, int, int]], key: str) -> list[list[int]] | None:
        """Place on the fullest domain that takes all."""
        y = wanted[0][2]
        domain, n_domains = self.view.domains(key)
        nodes = self.view.pools[y].nodes
        here = domain[nodes]
        known = here >= 0
        units = self.units[nodes[known]]
        main = max(wanted, key=lambda kind: kind[0].amounts[self._unit[y]] * kind[1])
        each = max(1, main[0].amounts[self._unit[y]] // MILLI)
        total = np.bincount(here[known], units // each, minlength=n_domains)
        able = np.flatnonzero(total >= main[1])
        rest = np.bincount(here[known], units, minlength=n_domains)
        for d in able[np.lexsort((able, rest[able], total[able]))].tolist():
            members = nodes[known][here[known] == d]
            found = self._among(wanted, members)
            if found is not None:
                return found
        return None

    def _among(self, wanted: Sequence[tuple[Need, int, int]], members: Ints) -> list[list[int]] | None:
        done: Placed = []
        out: list[list[int]] = [[] for _ in wanted]
        for k in self._largest_first(wanted):
            need, n, _ = wanted[k]
            for node in members[np.lexsort((members, self.units[members]))].tolist():
                while len(out[k]) < n and self.fits(node, need):
                    self.put(node, need)
                    done.append((node, need))
                    out[k].append(node)
                if len(out[k]) == n:
                    break
            if len(out[k]) < n:
                self._undo(done)
                return None
        return out

    def _apart(self, wanted: Sequence[tuple[Need, int, int]], key: str) -> list[list[int]] | None:
        """Place no two bundles on nodes with one value of a label."""
        domain, _ = self.view.domains(key)
        used: set[int] = set()
        done: Placed = []
        out: list[list[int]] = [[] for _ in wanted]
        for k in self._largest_first(wanted):
            need, n, y = wanted[k]
            for node in self._by_units(y, need):
                if len(out[k]) == n:
                    break
                value = int(domain[node])
                if value < 0 or value in used or not self.fits(node, need):
                    continue
                self.put(node, need)
                done.append((node, need))
                used.add(value)
                out[k].append(node)
            if len(out[k]) < n:
                self._undo(done)
                return None
        return out

    def _by_units(self, y: int, need: Need) -> Iterator[int]:
        nodes = self.view.pools[y].nodes
        units = self.units[nodes]
        able = nodes[units >= need.amounts[self._unit[y]] // MILLI]
        yield from able[np.lexsort((able, self.units[able]))].tolist()
