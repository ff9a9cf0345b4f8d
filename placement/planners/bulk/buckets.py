"""Nodes with the same free amounts, and how many bundles of a kind one of them holds."""

from __future__ import annotations

from placement.model import MILLI
from placement.planners.bulk.kinds import BOUNDLESS, Kind

Amounts = tuple[int, ...]
Parts = tuple[int, ...]


class Bucket:
    """Nodes of one class with the same free amounts; ``parts`` are what is left of GPUs that are shared."""

    __slots__ = ("counts", "free", "nodes", "parts", "row", "serial", "slack")

    def __init__(self, free: Amounts, parts: Parts, slack: float, serial: int, row: list[Entry]) -> None:
        self.free, self.parts, self.slack, self.serial, self.row = free, parts, slack, serial, row
        self.nodes: list[int] = []
        self.counts: dict[int, int] = {}

    def how_many(self, kind: Kind) -> int:
        """Return how many bundles of a kind one of the nodes holds."""
        known = self.counts.get(kind.shape)
        if known is None:
            known = self.counts[kind.shape] = how_many(self.free, self.parts, kind)
        return known


Entry = tuple[float, int, Bucket]


def how_many(free: Amounts, parts: Parts, kind: Kind) -> int:
    """Return how many bundles of a kind fit into what is free."""
    n = BOUNDLESS
    for i, amount in kind.needs:
        have = free[i] // amount
        if have < n:
            if have <= 0:
                return 0
            n = have
    if kind.gpu and (parts or kind.gpu % MILLI):
        whole = free[kind.gpu_idx] - sum(parts)
        if not kind.gpu % MILLI:
            return min(n, max(0, whole) // kind.gpu)
        if kind.gpu > MILLI:
            return 0
        return min(n, max(0, whole) // MILLI * (MILLI // kind.gpu) + sum(part // kind.gpu for part in parts))
    return n


def share(parts: Parts, amount: int, n: int) -> Parts:
    left = list(parts)
    for _ in range(n):
        able = [part for part in left if part >= amount]
        if able:
            left.remove(min(able))
            left.append(min(able) - amount)
        else:
            left.append(MILLI - amount)
    return tuple(sorted(part for part in left if part))
