"""Best-fit placement of one gang on the room that nodes have, with selectors, topology and single GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from placement.model import ACCELERATOR_KEY, Bundle, Demand, Node, NodeId, Resources, Selector
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Vector

Rooms = Mapping[NodeId, Room]


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
    rooms: Rooms, capacity: Vector, demand: Demand, n: int, held: Sequence[NodeId] = ()
) -> tuple[NodeId, ...] | None:
    """Return nodes for bundles ``len(held)`` .. ``n`` - 1, or None where they do not fit.

    Fast nodes come first, then those that are left the fullest. ``held`` are the nodes of the bundles before.
    """
    fill = _Fill(rooms, capacity, demand, n, held)
    topology = demand.topology
    if topology is None:
        return fill.on(rooms)
    if topology.kind == "spread":
        answer = fill.on(_labelled(rooms, topology.key), apart=topology.key)
    else:
        answer = None
        for domain in _domains(rooms, capacity, topology.key, held):
            answer = fill.on(domain)
            if answer is not None:
                break
    return answer if answer is not None or topology.required else fill.on(rooms)


def _labelled(rooms: Rooms, key: str) -> Rooms:
    return {node: room for node, room in rooms.items() if room.node.label(key) is not None}


def _domains(rooms: Rooms, capacity: Vector, key: str, held: Sequence[NodeId]) -> list[dict[NodeId, Room]]:
    """Return the rooms by the label's value, tightest first; only that of ``held`` where there is one."""
    domains: dict[str, dict[NodeId, Room]] = {}
    for node, room in rooms.items():
        value = room.node.label(key)
        if value is not None:
            domains.setdefault(value, {})[node] = room
    if held:
        value = rooms[held[0]].node.label(key) if held[0] in rooms else None
        return [domains[value]] if value in domains and value is not None else []
    return sorted(domains.values(), key=lambda domain: sum(slack(room.free, capacity) for room in domain.values()))


def slack(free: Vector, capacity: Vector) -> float:
    """Return what is free as the sum of its parts of the whole cluster."""
    return sum(amount / capacity[name] for name, amount in free.items() if amount > 0 and capacity.get(name, 0) > 0)


class _Fill:
    """One attempt to place a gang's bundles, the largest first; rooms are copied before they change."""

    def __init__(self, rooms: Rooms, capacity: Vector, demand: Demand, n: int, held: Sequence[NodeId]) -> None:
        self.rooms, self.capacity, self.demand, self.held, self.n = rooms, capacity, demand, held, n
        self.groups: dict[tuple[Resources, Selector], list[int]] = {}
        for i in range(len(held), n):
            bundle = demand.bundles[i]
            self.groups.setdefault((bundle.resources, bundle.selector), []).append(i)

    def _size(self, group: tuple[Resources, Selector]) -> tuple[bool, float]:
        sizes = [amount / max(1, self.capacity.get(name, 0)) for name, amount in group[0].items()]
        return bool(group[1].requirements), max(sizes, default=0.0)

    def on(self, rooms: Rooms, apart: str | None = None) -> tuple[NodeId, ...] | None:
        """Return nodes for all bundles among ``rooms``; ``apart``: no two with the same value of that label."""
        own: dict[NodeId, Room] = {}
        used = {self.rooms[node].node.label(apart) for node in self.held if node in self.rooms} if apart else set()
        if apart and len(used) < len(self.held):
            return None
        answer: dict[int, NodeId] = {}
        for group in sorted(self.groups, key=self._size, reverse=True):
            waiting = list(reversed(self.groups[group]))
            for node in self._candidates(group, rooms, own):
                value = rooms[node].node.label(apart) if apart else None
                if apart and value in used:
                    continue
                room = own.get(node) or rooms[node]
                count = room.how_many(group[0], 1 if apart else len(waiting))
                if count:
                    room = own.setdefault(node, room.copy())
                    used.add(value)
                    for _ in range(count):
                        room.take(group[0])
                        answer[waiting.pop()] = node
                if not waiting:
                    break
            if waiting:
                return None
        return tuple(answer[i] for i in range(len(self.held), self.n))

    def _candidates(self, group: tuple[Resources, Selector], rooms: Rooms, own: Mapping[NodeId, Room]) -> list[NodeId]:
        resources, selector = group
        able: list[tuple[tuple[float, float], int, NodeId]] = []
        for node, room in rooms.items():
            room = own.get(node, room)
            if room.open and room.fits(resources) and selector.accepts(room.node):
                key = (-speed_on(self.demand, room.node), slack(room.free, self.capacity))
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
