"""Nodes that may be cleared, by what that costs, and who has gone so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from placement.model import Cause
from placement.planners.bulk.gangs import Gang

Cost = tuple[int, float, float, int, float]
"""The importance of the most important who goes, size per bundle won, size, number, minus the last start."""


@dataclass(slots=True)
class Going:
    """Victims in order of going, with what each had before and why it goes."""

    order: list[tuple[Gang, int]] = field(default_factory=list)
    causes: dict[int, Cause] = field(default_factory=dict)
    reclaims: bool = False
    """Whether the newcomer has to stay within its guarantee for it."""


Spot = tuple[int, int, int]
"""The importance of the least important who may go from a node, the node, and what GPUs there may get free at most."""


@dataclass(slots=True)
class Source:
    """Spots in order, worked out as far as somebody has asked."""

    rest: Iterator[Spot]
    known: list[Spot] = field(default_factory=list)


@dataclass(slots=True)
class Heap:
    """Nodes by what one more bundle costs there; those of the source from ``n_seen`` on nobody has looked at yet."""

    source: Source
    ready: list[tuple[Cost, int]] = field(default_factory=list)
    priority: int = -(10**9)
    n_seen: int = 0


def liking(gang: Gang) -> tuple[int, float, int]:
    return gang.liking


def cost_of(chosen: Sequence[tuple[Gang, int]], won: int) -> Cost:
    size = sum(kind.gpu for gang, keep in chosen for _, kind in gang.parts(keep)) / 1000 + 1e-3
    top = max(gang.priority for gang, _ in chosen)
    return top, size / won, size, len(chosen), -max(gang.since for gang, _ in chosen)
