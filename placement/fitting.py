"""Whether a gang fits on a set of rooms; the feasibility test behind every explanation.

Theory of operation: bundles that are alike are counted, not placed one by one, which is exact. Unlike bundles are
placed the largest first with a bounded search back, so that "fits" is always true and "does not fit" almost always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from placement.model import Bundle, Demand, DemandId, Resources, Selector, TenantId, Topology
from placement.planners.fitting import place
from placement.planners.state import Room
from placement.planners.tree import add

_MOST_STEPS = 5_000
_LARGEST_SEARCH = 50_000
"""Bundles times rooms beyond which one pass, the fullest node first, has the last word."""

Kinds = tuple[tuple[Bundle, int], ...]
"""Bundles that are alike, with their number."""


def kinds(bundles: Iterable[Bundle]) -> Kinds:
    """Count bundles that are alike, in the order of their first appearance."""
    return tuple(Counter(bundles).items())


def fits(rooms: Sequence[Room], bundles: Sequence[Bundle], topologies: Sequence[Topology] = ()) -> bool:
    """Return whether all bundles can be placed at once; topologies that are only preferred do not count."""
    required, wanted = [topology for topology in topologies if topology.required], kinds(bundles)
    if not required:
        return _fits_together(rooms, wanted)
    if len(required) > 1 or required[0].slice or required[0].skew is not None:
        return _fits_at_all_levels(rooms, bundles, required)
    topology = required[0]
    domains: dict[str, list[Room]] = {}
    for room in rooms:
        value = room.node.label(topology.key)
        if value is not None:
            domains.setdefault(value, []).append(room)
    if topology.kind == "pack":
        return any(_fits_together(domain, wanted) for domain in domains.values())
    return _spread(list(domains.values()), wanted)


def _fits_at_all_levels(rooms: Sequence[Room], bundles: Sequence[Bundle], required: Sequence[Topology]) -> bool:
    named = {room.node.id: room if room.open else _opened(room) for room in rooms}
    capacity: dict[str, int] = {}
    for room in rooms:
        add(capacity, room.node.resources)
    gang = Demand(DemandId("gang"), TenantId("anyone"), tuple(bundles), topologies=tuple(required))
    return place(named, capacity, gang, len(bundles)) is not None


def _opened(room: Room) -> Room:
    return Room(room.node, dict(room.free), room.gpu, list(room.fractions))


def _fits_together(rooms: Sequence[Room], wanted: Kinds) -> bool:
    if len(wanted) == 1:
        bundle, number = wanted[0]
        anywhere = not bundle.selector.requirements
        for room in rooms:
            if anywhere or bundle.selector.accepts(room.node):
                number -= room.how_many(bundle.resources, number)
                if number <= 0:
                    return True
        return False
    open_to = {bundle.selector: [p for p in rooms if bundle.selector.accepts(p.node)] for bundle, _ in wanted}
    if any(sum(p.how_many(b.resources, n) for p in open_to[b.selector]) < n for b, n in wanted):
        return False
    hardest = sorted(wanted, key=lambda kind: (len(open_to[kind[0].selector]), *_size(kind[0].resources)))
    if _fits_in_one_pass(open_to, hardest):
        return True
    queue = [bundle for bundle, number in hardest for _ in range(number)]
    if len(queue) * len(rooms) > _LARGEST_SEARCH:
        return False
    index = {id(room): idx for idx, room in enumerate(rooms)}
    options = {selector: [index[id(room)] for room in allowed] for selector, allowed in open_to.items()}
    return _search([room.copy() for room in rooms], queue, options)


def _fits_in_one_pass(open_to: Mapping[Selector, Sequence[Room]], hardest: Iterable[tuple[Bundle, int]]) -> bool:
    copies = {id(room): room.copy() for rooms in open_to.values() for room in rooms}
    for bundle, number in hardest:
        names = [name for name, _ in bundle.resources.items()]
        allowed = [copies[id(room)] for room in open_to[bundle.selector]]
        for room in sorted(allowed, key=lambda room: [room.free.get(name, 0) for name in names]):
            n_here = room.how_many(bundle.resources, number)
            for _ in range(n_here):
                room.take(bundle.resources)
            number -= n_here
            if number == 0:
                break
        if number:
            return False
    return True


def _search(rooms: list[Room], queue: Sequence[Bundle], options: Mapping[Selector, Sequence[int]]) -> bool:
    # Depth first without recursion: one frame per bundle, each with the candidates that it has not tried yet.
    steps = 0
    frames: list[tuple[list[int], int, Room | None]] = []
    candidates = _candidates(rooms, queue[0], options)
    while True:
        if not candidates:
            if not frames:
                return False
            candidates, idx, before = frames.pop()
            assert before is not None
            rooms[idx] = before
            continue
        steps += 1
        if steps > max(_MOST_STEPS, 2 * len(queue)):
            return False
        idx = candidates.pop()
        frames.append((candidates, idx, rooms[idx].copy()))
        rooms[idx].take(queue[len(frames) - 1].resources)
        if len(frames) == len(queue):
            return True
        candidates = _candidates(rooms, queue[len(frames)], options)


def _candidates(rooms: Sequence[Room], bundle: Bundle, options: Mapping[Selector, Sequence[int]]) -> list[int]:
    # The tightest node last, since candidates are popped; nodes with the same room are the same choice.
    found: dict[tuple[object, ...], int] = {}
    for idx in options[bundle.selector]:
        if rooms[idx].how_many(bundle.resources, 1):
            left = (*sorted(rooms[idx].free.items()), *sorted(rooms[idx].fractions))
            found.setdefault((left, rooms[idx].node.labels), idx)
    names = [name for name, _ in bundle.resources.items()]
    return sorted(found.values(), key=lambda idx: [-rooms[idx].free.get(name, 0) for name in names])


def _spread(domains: Sequence[Sequence[Room]], wanted: Kinds) -> bool:
    """At most one bundle per domain: a matching of bundles to domains (augmenting paths)."""
    queue = [bundle for bundle, number in wanted for _ in range(number)]
    if len(queue) > len(domains):
        return False
    able = {
        bundle: [
            idx
            for idx, domain in enumerate(domains)
            if any(bundle.selector.accepts(p.node) and p.how_many(bundle.resources, 1) for p in domain)
        ]
        for bundle, _ in wanted
    }
    if len(wanted) == 1:
        return len(able[queue[0]]) >= len(queue)
    holder: dict[int, int] = {}
    return all(_augment(idx, queue, able, holder) for idx in range(len(queue)))


def _augment(start: int, queue: Sequence[Bundle], able: Mapping[Bundle, Sequence[int]], holder: dict[int, int]) -> bool:
    came_from: dict[int, int] = {}
    frontier = [start]
    while frontier:
        bundle = frontier.pop()
        for domain in able[queue[bundle]]:
            if domain in came_from:
                continue
            came_from[domain] = bundle
            if domain in holder:
                frontier.append(holder[domain])
                continue
            _reassign(domain, start, came_from, holder)
            return True
    return False


def _reassign(domain: int, start: int, came_from: Mapping[int, int], holder: dict[int, int]) -> None:
    held = {bundle: where for where, bundle in holder.items()}
    while True:
        bundle = came_from[domain]
        holder[domain] = bundle
        if bundle == start:
            return
        domain = held[bundle]


def _size(resources: Resources) -> tuple[int, ...]:
    return (-resources.get("GPU"), -sum(amount for name, amount in resources.items() if name != "memory"))
