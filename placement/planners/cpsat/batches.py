"""What goes into a programme: gangs with like bundles grouped, the nodes that matter, and amounts in small units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from placement.model import MILLI, Demand, NodeId, Resources, Selector
from placement.planners.state import GPU, Room, Victim
from placement.planners.tree import Vector, add

LARGEST_AMOUNT = 2**40
"""Amounts above this many units are rounded, against the newcomer, so that sums stay exact in the solver."""
COARSE_UNIT = 2**20


@dataclass(frozen=True, slots=True)
class Kind:
    """Like bundles of one slice of a gang: the indices that it must get to start, and those that it may get."""

    resources: Resources
    selector: Selector
    must: tuple[int, ...]
    may: tuple[int, ...]
    closed: frozenset[NodeId] = frozenset()

    @property
    def first(self) -> int:
        """Return the lowest of its indices."""
        return min(self.must + self.may)


@dataclass(frozen=True, slots=True)
class Gang:
    """A newcomer in a programme: at least ``least`` and at most ``most`` of its bundles, or none if ``optional``."""

    demand: Demand
    least: int
    most: int
    optional: bool = False
    closed: frozenset[NodeId] = frozenset()
    """Nodes that take nothing of it, for reservations."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        groups: dict[tuple[Resources, Selector, int], list[int]] = {}
        size = min((t.slice for t in self.demand.topologies if t.slice), default=self.most)
        for i, bundle in enumerate(self.demand.bundles[: self.most]):
            groups.setdefault((bundle.resources, bundle.selector, i // size), []).append(i)
        return tuple(
            Kind(
                resources,
                selector,
                tuple(i for i in at if i < self.least),
                tuple(i for i in at if i >= self.least),
                self.closed,
            )
            for (resources, selector, _), at in groups.items()
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Gangs, who may have to yield, and the room there is with the gangs' own places given back."""

    gangs: tuple[Gang, ...]
    victims: tuple[Victim, ...]
    rooms: Mapping[NodeId, Room]
    _most: dict[NodeId, Vector] = field(init=False, default_factory=dict, compare=False, repr=False)
    _hosts: dict[object, list[NodeId]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._most.update((name, dict(room.free)) for name, room in self.rooms.items())
        for victim in self.victims:
            for node, bundle in victim.parts:
                if node in self._most:
                    add(self._most[node], bundle.resources)

    def hosts(self, kind: Kind) -> list[NodeId]:
        """Return the nodes on which one bundle of this kind could stand if every victim there yielded."""
        like = (kind.resources, kind.selector, kind.closed)
        if like not in self._hosts:
            self._hosts[like] = [
                name
                for name, room in self.rooms.items()
                if room.open and name not in kind.closed and self._could_host(kind, name, room)
            ]
        return self._hosts[like]

    def _could_host(self, kind: Kind, name: NodeId, room: Room) -> bool:
        gpu, most = kind.resources.get(GPU), self._most[name]
        if gpu > MILLI and gpu % MILLI:
            return False
        return all(a <= most.get(n, 0) for n, a in kind.resources.items()) and kind.selector.accepts(room.node)

    def size(self) -> int:
        """Return about how many variables the programme will have."""
        return sum(len(self.hosts(kind)) for gang in self.gangs for kind in gang.kinds) + len(self.victims)


class Units:
    """Amounts as the solver sees them: divided by what divides them all, or rounded against the newcomer."""

    def __init__(self, amounts: Iterable[tuple[str, int]]) -> None:
        values: dict[str, list[int]] = {}
        for name, amount in amounts:
            values.setdefault(name, []).append(abs(amount))
        self.unit: dict[str, int] = {}
        for name, all_values in values.items():
            unit = math.gcd(*all_values) or 1
            if max(all_values) // unit > LARGEST_AMOUNT:
                unit = COARSE_UNIT
            self.unit[name] = 1 if name == GPU else unit

    def asked(self, name: str, amount: int) -> int:
        return -(-amount // self.unit.get(name, 1))

    def given(self, name: str, amount: int) -> int:
        return amount // self.unit.get(name, 1)


def amounts_of(batch: Batch) -> Iterable[tuple[str, int]]:
    """Return every amount that the capacity rows of a programme hold."""
    for gang in batch.gangs:
        for kind in gang.kinds:
            yield from kind.resources.items()
    for room in batch.rooms.values():
        yield from room.free.items()
    for victim in batch.victims:
        for bundle in victim.running.demand.bundles:
            yield from bundle.resources.items()


def unlike(victims: Sequence[Victim]) -> tuple[Victim, ...]:
    """Return each running workload once, as a victim that stops; programmes shrink it by themselves."""
    return tuple({victim.id: Victim(victim.running) for victim in victims}.values())
