"""Where a gang goes: the topology that it asks for, and a rule that ranks the nodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from placement.model import ACCELERATOR_KEY, Demand, Topology
from placement.planners.arrays.layout import Ask, Bools, Floats, Floor, Group, Ints, Taken


class Chooser(Protocol):
    """Ranks nodes for one bundle; the lowest number wins, ties go to the first node."""

    @property
    def refills(self) -> bool:
        """Return whether each node gets as many alike bundles as it holds before the next one is looked at."""
        ...

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats: ...

    def taken(self, floor: Floor, node: int, ask: Ask) -> Taken:
        """Return the bundle on the node, with the GPUs that it gets."""
        ...


class Tightest:
    """Best fit: the node that is left with the least, each resource as a part of the cluster's largest node."""

    refills = True

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        return leftovers(floor, ask)

    def taken(self, floor: Floor, node: int, ask: Ask) -> Taken:
        return Taken(node, ask, floor.device_for(node, ask))


def leftovers(floor: Floor, ask: Ask) -> Floats:
    """Return what each node would be left with, the mean over resources of (free - asked) / the largest node's."""
    largest = np.maximum(floor.layout.capacity.max(axis=0), 1).astype(np.float64)
    left: Floats = (floor.free - ask.amounts) @ (1.0 / largest)
    return left / max(1, len(largest))


class Packed(Tightest):
    """On as few nodes as possible, the tightest first: what cluster managers do with a gang by default."""

    def __init__(self, n: int) -> None:
        self.n = n

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        counts = floor.counts(ask, self.n)
        return leftovers(floor, ask) - 1e3 * counts if self.n > 1 else leftovers(floor, ask)


ONE_TYPE = Topology("pack", ACCELERATOR_KEY)


def place(floor: Floor, demand: Demand, n: int, chooser: Chooser | None = None) -> tuple[Taken, ...] | None:
    """Take room for the first ``n`` bundles and return it in rank order, or change nothing and return None.

    Preferred topologies are tried first and then given up; so are nodes of one type of accelerator.
    """
    groups = floor.layout.groups(demand, 0, n)
    if groups is None or not all(int(floor.counts(ask, len(at)).sum()) >= len(at) for ask, at in groups):
        return None
    rule = chooser if chooser is not None else Packed(n)
    wished = demand.topologies
    if n > 1 and not any(t.kind == "pack" for t in wished) and floor.layout.is_mixed():
        wished = (*wished, ONE_TYPE)
    required = tuple(t for t in demand.topologies if t.required)
    for topologies in (wished, demand.topologies, required):
        filling = _Filling(floor, demand, n, rule, topologies)
        if filling.done():
            return tuple(filling.out[rank] for rank in range(n))
        if topologies == required:
            break
    return None


class _Filling:
    """One attempt to place a gang under its topologies; what it took is given back where it fails."""

    def __init__(self, floor: Floor, demand: Demand, n: int, rule: Chooser, topologies: Sequence[Topology]) -> None:
        self.floor, self.demand, self.n, self.rule = floor, demand, n, rule
        self.spreads = [(floor.layout.domains(t.key), t.skew) for t in topologies if t.kind == "spread"]
        packs = [t for t in topologies if t.kind == "pack"]
        self.packs = sorted(packs, key=lambda t: -(t.slice or n))
        self.out: dict[int, Taken] = {}
        asks = [floor.layout.ask(bundle) for bundle in dict.fromkeys(demand.bundles)] if self.spreads else []
        self.open: Bools = (
            np.any([ask.allowed for ask in asks if ask is not None], axis=0) if asks else floor.layout.ready
        )

    def done(self) -> bool:
        return self._fill(0, self.n, self.packs, None)

    def _fill(self, low: int, high: int, packs: Sequence[Topology], within: Bools | None) -> bool:
        """Place ranks ``low`` to ``high`` on the nodes ``within``; ``packs`` go from the largest slice to the least."""
        groups = self.floor.layout.groups(self.demand, low, high)
        assert groups is not None, "looked at before"
        if not packs:
            return self._put(groups, within)
        size = packs[0].slice or self.n
        if high - low > size:
            for start in range(low, high, size):
                if not self._fill(start, min(high, start + size), packs, within):
                    self._undo(low)
                    return False
            return True
        domains = self.floor.layout.domains(packs[0].key)
        for domain in _able_domains(self.floor, groups, domains, within):
            inside = domains == domain
            if self._fill(low, high, packs[1:], inside if within is None else inside & within):
                return True
        return False

    def _put(self, groups: Sequence[Group], within: Bools | None) -> bool:
        floor, rule = self.floor, self.rule
        lowest = min(rank for _, ranks in groups for rank in ranks)
        for ask, ranks in groups:
            waiting = list(reversed(ranks))
            while waiting:
                able = floor.fits(ask)
                if within is not None:
                    able = able & within
                able = self._apart(able)
                if not able.any():
                    self._undo(lowest)
                    return False
                numbers = np.where(able, rule.rank(floor, ask, able), np.inf)
                at = [int(numbers.argmin())]
                fills = rule.refills and not self.spreads and len(waiting) > 1
                if fills:
                    at = np.argsort(numbers, kind="stable")[: int(able.sum())].tolist()
                for node in at:
                    for _ in range(floor.counts_at(ask, node, len(waiting)) if fills else 1):
                        taken = rule.taken(floor, node, ask)
                        floor.take(taken)
                        self.out[waiting.pop()] = taken
                    if not waiting:
                        break
        return True

    def _apart(self, able: Bools) -> Bools:
        """Return those of the nodes that keep every spread."""
        for domains, skew in self.spreads:
            counts = np.zeros(int(domains.max(initial=-1)) + 2, np.int64)
            for taken in self.out.values():
                counts[domains[taken.node]] += 1
            if skew is None:
                able = able & (domains >= 0) & (counts[domains] == 0)
            else:
                values = np.unique(domains[self.open & (domains >= 0)])
                least = counts[values].min() if len(values) else 0
                able = able & (domains >= 0) & (counts[domains] + 1 - least <= skew)
        return able

    def _undo(self, lowest: int) -> None:
        for rank in [rank for rank in self.out if rank >= lowest]:
            self.floor.take(self.out.pop(rank), -1)


def _able_domains(floor: Floor, groups: Sequence[Group], domains: Ints, within: Bools | None) -> Iterator[int]:
    """Yield the values whose nodes may have room for every kind of bundle, the one with the least room first."""
    inside = domains >= 0 if within is None else (domains >= 0) & within
    if not inside.any():
        return
    n_domains = int(domains.max()) + 1
    able = np.ones(n_domains, np.bool_)
    for ask, ranks in groups:
        counts = floor.counts(ask, len(ranks))
        able &= np.bincount(domains[inside], counts[inside], n_domains) >= len(ranks)
    room = floor.free @ (1.0 / np.maximum(floor.layout.totals, 1.0))
    rooms = np.bincount(domains[inside], room[inside], n_domains)
    for domain in np.argsort(rooms, kind="stable"):
        if able[domain]:
            yield int(domain)
