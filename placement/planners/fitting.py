"""Best-fit placement of one gang on the room that nodes have, with selectors, topology and single GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from placement.localities import values_open_to
from placement.model import ACCELERATOR_KEY, Bundle, Demand, Node, NodeId, Resources, Selector, Topology
from placement.planners.state import GPU, Room, State, Victim
from placement.planners.tree import Vector

Rooms = Mapping[NodeId, Room]
Group = tuple[Resources, Selector]
"""What like bundles share."""

MOST_WISHES = 3
"""Of so many preferred topologies every combination is tried."""


def rooms_without(state: State, victims: Iterable[Victim]) -> Rooms:
    """Return the rooms as they are once the victims have gone; ``state`` does not change."""
    rooms = dict(state.rooms)
    touched: set[NodeId] = set()
    for victim in victims:
        for node, bundle in victim.parts:
            if node in rooms:
                if node not in touched:
                    rooms[node] = rooms[node].copy()
                    touched.add(node)
                rooms[node].take(bundle.resources, -1)
    return rooms


def speed_on(demand: Demand, node: Node) -> float:
    """Return the demand's relative throughput on a node; 1 where it names none."""
    accelerator = node.label(ACCELERATOR_KEY)
    return dict(demand.speed).get(accelerator, 1.0) if accelerator is not None and demand.speed else 1.0


def place(
    rooms: Rooms,
    capacity: Vector,
    demand: Demand,
    n: int,
    held: Sequence[NodeId] = (),
    closed: Container[NodeId] = (),
) -> tuple[NodeId, ...] | None:
    """Return nodes for bundles ``len(held)`` .. ``n`` - 1, or None where they do not fit.

    Fast nodes come first, then those near its inputs, for work without accelerators those without, for other work the
    least sought-after accelerators, then those that are left the fullest. ``held`` are the nodes of the bundles
    before; nothing new goes on those ``closed``. As many preferred topologies hold as are found to.
    """
    fill = _Fill(rooms, capacity, demand, n, held, closed)
    required = [topology for topology in demand.topologies if topology.required]
    for wishes in _subsets([topology for topology in demand.topologies if not topology.required]):
        answer = fill.under([*required, *wishes])
        if answer is not None:
            return answer
    return None


def _subsets(wishes: Sequence[Topology]) -> Iterator[Sequence[Topology]]:
    """Yield the largest sets first, of equals those with the first wishes; of many wishes only the first ones."""
    if len(wishes) > MOST_WISHES:
        yield from (wishes[:n] for n in range(len(wishes), MOST_WISHES, -1))
    for n in range(min(len(wishes), MOST_WISHES), -1, -1):
        yield from combinations(wishes[:MOST_WISHES], n)


def by_value(rooms: Rooms, key: str) -> dict[str, dict[NodeId, Room]]:
    """Return the rooms by the label's value; those without the label are left out."""
    out: dict[str, dict[NodeId, Room]] = {}
    for node, room in rooms.items():
        value = room.node.label(key)
        if value is not None:
            out.setdefault(value, {})[node] = room
    return out


def slack(free: Vector, capacity: Vector) -> float:
    """Return what is free as the sum of its parts of the whole cluster."""
    return sum(amount / capacity[name] for name, amount in free.items() if amount > 0 and capacity.get(name, 0) > 0)


class _Fill:
    """One attempt to place a gang's bundles, the largest first; rooms are copied before they change.

    Levels are met from the coarsest to the finest: the domains that hold all of it, then the values among which it is
    balanced, then its slices, then single nodes. Each slice goes where it fits first; none is moved again.
    """

    def __init__(
        self,
        rooms: Rooms,
        capacity: Vector,
        demand: Demand,
        n: int,
        held: Sequence[NodeId],
        closed: Container[NodeId],
    ) -> None:
        self.rooms, self.capacity, self.demand, self.held, self.n = rooms, capacity, demand, held, n
        self.closed, self.near = closed, frozenset(demand.near)
        self.apart: tuple[str, ...] = ()

    def under(self, topologies: Sequence[Topology]) -> tuple[NodeId, ...] | None:
        """Return nodes for all bundles by which these topologies hold."""
        spreads = [topology for topology in topologies if topology.kind == "spread"]
        self.apart = tuple(topology.key for topology in spreads if topology.skew is None)
        balances = [topology for topology in spreads if topology.skew is not None]
        slices = sorted((t for t in topologies if t.slice), key=lambda t: -t.slice)
        together = [t.key for t in topologies if t.kind == "pack" and not t.slice]
        for domain in self._together(self.rooms, together):
            found = self._balanced(domain, balances, slices) if balances else self._sliced(domain, slices, self.held)
            if found is not None:
                return found
        return None

    def _together(self, rooms: Rooms, keys: Sequence[str]) -> Iterator[Rooms]:
        """Yield the rooms on which each of these labels has one value."""
        if not keys:
            yield rooms
            return
        for domain in self._domains(rooms, keys[0], self.held[:1]):
            yield from self._together(domain, keys[1:])

    def _domains(self, rooms: Rooms, key: str, held: Sequence[NodeId]) -> list[dict[NodeId, Room]]:
        """Return the rooms by the label's value, tightest first; only that of ``held`` where there is one."""
        domains = by_value(rooms, key)
        if held:
            value = self.rooms[held[0]].node.label(key) if held[0] in self.rooms else None
            return [domains[value]] if value in domains and value is not None else []
        return sorted(domains.values(), key=lambda d: sum(slack(room.free, self.capacity) for room in d.values()))

    def _balanced(
        self, rooms: Rooms, levels: Sequence[Topology], slices: Sequence[Topology]
    ) -> tuple[NodeId, ...] | None:
        """Place slice by slice (or bundle by bundle), each where the fewest of the gang stand."""
        domains: dict[tuple[str | None, ...], dict[NodeId, Room]] = {}
        for node, room in rooms.items():
            values = tuple(room.node.label(level.key) for level in levels)
            if None not in values:
                domains.setdefault(values, {})[node] = room
        counts = [self._counted(level.key) for level in levels]
        size, at = slices[0].slice if slices else 1, list(self.held)
        refused: set[object] = set()
        while len(at) < self.n:
            end = min(self.n, (len(at) // size + 1) * size)
            like = shape(self.demand.bundles[len(at) : end])
            for values in sorted(domains, key=lambda v: [c[value] for c, value in zip(counts, v, strict=True)]):
                if (values, like) in refused:
                    continue
                found = self._sliced(domains[values], slices, at, end)
                if found is not None:
                    break
                refused.add((values, like))
            else:
                return None
            domains[values] = dict(self._after(domains[values], at, found))
            at += found
            for count, value in zip(counts, values, strict=True):
                count[value] += len(found)
        return tuple(at[len(self.held) :]) if all(map(self._even, levels, counts)) else None

    def _counted(self, key: str) -> Counter[str | None]:
        return Counter(self.rooms[node].node.label(key) for node in self.held if node in self.rooms)

    def _even(self, level: Topology, counts: Counter[str | None]) -> bool:
        known = values_open_to((room.node for room in self.rooms.values()), self.demand, level.key)
        least = min((counts[value] for value in known), default=0)
        return max(counts.values(), default=0) - least <= (level.skew or 0)

    def _sliced(
        self, rooms: Rooms, slices: Sequence[Topology], before: Sequence[NodeId], end: int | None = None
    ) -> tuple[NodeId, ...] | None:
        """Return nodes for bundles ``len(before)`` .. ``end`` - 1, each slice on one value."""
        end = self.n if end is None else end
        if not slices:
            return self._pour(rooms, before, end)
        level, at = slices[0], list(before)
        domains = self._domains(rooms, level.key, ())
        refused: set[object] = set()
        while len(at) < end:
            upto = min(end, (len(at) // level.slice + 1) * level.slice)
            begun = self.rooms[at[-1]].node.label(level.key) if len(at) % level.slice else None
            like = shape(self.demand.bundles[len(at) : upto])
            for i, domain in enumerate(domains):
                value = next(iter(domain.values())).node.label(level.key)
                if (i, like) in refused or (begun is not None and value != begun):
                    continue
                found = self._sliced(domain, slices[1:], at, upto)
                if found is not None:
                    break
                refused.add((i, like))
            else:
                return None
            domains[i] = dict(self._after(domain, at, found))
            at += found
        return tuple(at[len(before) :])

    def _after(self, rooms: Rooms, before: Sequence[NodeId], found: Sequence[NodeId]) -> Rooms:
        """Return the rooms with the next bundles on the nodes found."""
        out, fresh = dict(rooms), set[NodeId]()
        for i, node in enumerate(found, len(before)):
            if node not in fresh:
                out[node] = out[node].copy()
                fresh.add(node)
            out[node].take(self.demand.bundles[i].resources)
        return out

    def _pour(self, rooms: Rooms, before: Sequence[NodeId], end: int) -> tuple[NodeId, ...] | None:
        """Return nodes for bundles ``len(before)`` .. ``end`` - 1 among the rooms, whatever their labels."""
        first, own, answer = len(before), dict[NodeId, Room](), dict[int, NodeId]()
        used = {key: {self.rooms[node].node.label(key) for node in before} for key in self.apart}
        if any(len(values) < first or None in values for values in used.values()):
            return None
        groups: dict[Group, list[int]] = {}
        for i in range(first, end):
            bundle = self.demand.bundles[i]
            groups.setdefault((bundle.resources, bundle.selector), []).append(i)
        for group in sorted(groups, key=self._size, reverse=True):
            waiting = list(reversed(groups[group]))
            for node in self._candidates(group, rooms, own):
                values = [rooms[node].node.label(key) for key in self.apart]
                if any(v is None or v in used[key] for key, v in zip(self.apart, values, strict=True)):
                    continue
                room = own.get(node) or rooms[node]
                count = room.how_many(group[0], 1 if self.apart else len(waiting))
                if count:
                    room = own.setdefault(node, room.copy())
                    for key, value in zip(self.apart, values, strict=True):
                        used[key].add(value)
                    for _ in range(count):
                        room.take(group[0])
                        answer[waiting.pop()] = node
                if not waiting:
                    break
            if waiting:
                return None
        return tuple(answer[i] for i in range(first, end))

    def _size(self, group: Group) -> tuple[bool, float]:
        sizes = [amount / max(1, self.capacity.get(name, 0)) for name, amount in group[0].items()]
        return bool(group[1].requirements), max(sizes, default=0.0)

    def _candidates(self, group: Group, rooms: Rooms, own: Mapping[NodeId, Room]) -> list[NodeId]:
        resources, selector = group
        able: list[tuple[tuple[float, bool, bool, float, float], int, NodeId]] = []
        plain = not resources.get(GPU)
        for node, room in rooms.items():
            room = own.get(node, room)
            if room.open and node not in self.closed and room.fits(resources) and selector.accepts(room.node):
                key = (
                    -speed_on(self.demand, room.node),
                    node not in self.near,
                    plain and room.gpu > 0,
                    0.0 if plain else room.price,
                    slack(room.free, self.capacity),
                )
                able.append((key, len(able), node))
        able.sort()
        return [node for _, _, node in able]


def shape(bundles: Sequence[Bundle]) -> tuple[tuple[Resources, Selector, int], ...]:
    """Return bundles as distinct kinds with their numbers, in order of first appearance."""
    counts: dict[tuple[Resources, Selector], int] = {}
    for bundle in bundles:
        key = (bundle.resources, bundle.selector)
        counts[key] = counts.get(key, 0) + 1
    return tuple((resources, selector, n) for (resources, selector), n in counts.items())
