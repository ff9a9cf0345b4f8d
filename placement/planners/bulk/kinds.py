"""Bundles that are alike, counted once: their amounts as short vectors, their selector and their speeds."""

from __future__ import annotations

from collections.abc import Sequence

from placement.model import ACCELERATOR_KEY, Bundle, Demand, Node, Problem, Resources
from placement.planners.tree import Vector

BOUNDLESS = 10**9
"""How many bundles that ask for nothing fit on a node."""

Speed = tuple[tuple[str, float], ...]
Closed = frozenset[int]
OPEN: Closed = frozenset()
Groups = tuple[tuple["Kind", tuple[int, ...]], ...]
"""The bundles of a gang by kind, with their places in it; the hardest to place first."""


class Kind:
    """One sort of bundle.

    Attributes
    ----------
    needs : tuple of (index of a resource, amount)
    shape : int
        Kinds with equal amounts have the same; selectors and speeds do not count.
    closed : frozenset of int
        Reservations, by their place in the problem, whose nodes it may not use.
    bound : int
        So many of its bundles fit at most, as far as is known from searches that failed; ``seen`` of the rooms that
        have grown since are counted in.
    """

    __slots__ = (
        "bound",
        "closed",
        "gpu",
        "gpu_idx",
        "grown",
        "needs",
        "number",
        "resources",
        "seen",
        "selector",
        "shape",
        "speed",
        "width",
    )

    def __init__(
        self, number: int, shape: int, bundle: Bundle, speed: Speed, closed: Closed, names: Sequence[str]
    ) -> None:
        self.number, self.shape, self.resources, self.selector = number, shape, bundle.resources, bundle.selector
        self.needs = tuple((names.index(name), amount) for name, amount in bundle.resources.entries)
        self.speed, self.closed, self.width = speed, closed, len(names)
        self.gpu = bundle.resources.get("GPU")
        self.gpu_idx = names.index("GPU") if self.gpu else -1
        self.bound, self.seen, self.grown = BOUNDLESS * 1000, 0, 0

    @property
    def anywhere(self) -> bool:
        """Return whether every node will do."""
        return not self.selector.requirements and not self.closed

    def speed_on(self, node: Node) -> float:
        if not self.speed:
            return 1.0
        accelerator = node.label(ACCELERATOR_KEY)
        return dict(self.speed).get(accelerator, 1.0) if accelerator is not None else 1.0


class Kinds:
    """All kinds of one planning question."""

    def __init__(self, problem: Problem, capacity: Vector) -> None:
        self.capacity = capacity
        names = {name for node in problem.nodes for name, _ in node.resources.entries}
        bundles: dict[int, Bundle] = {}
        for demand in [r.demand for r in problem.running] + list(problem.pending):
            for form in (demand.bundles, *(shape.bundles for shape in demand.alternatives)):
                first = form[0]
                bundles[id(first)] = first
                if form.count(first) != len(form):
                    bundles.update((id(bundle), bundle) for bundle in form)
        names |= {name for amounts in problem.foreign.values() for name in amounts}
        entries = {bundle.resources.entries for bundle in bundles.values()}
        self.names: tuple[str, ...] = tuple(sorted(names | {name for pairs in entries for name, _ in pairs}))
        self.selector_keys = {r.key for b in bundles.values() for r in b.selector.requirements}
        self.all: list[Kind] = []
        self._shapes: dict[object, int] = {}
        self._kinds: dict[object, Kind] = {}
        self._by_id: dict[tuple[int, Speed, Closed], Kind] = {}
        self._groups: dict[object, Groups] = {}
        self._vectors: dict[tuple[object, int], Vector] = {}

    def of(self, bundle: Bundle, speed: Speed = (), closed: Closed = OPEN) -> Kind:
        kind = self._by_id.get((id(bundle), speed, closed))
        if kind is None:
            key = bundle.resources.entries, bundle.selector, speed, closed
            kind = self._kinds.get(key)
            if kind is None:
                shape = self._shapes.setdefault(bundle.resources.entries, len(self._shapes))
                kind = self._kinds[key] = Kind(len(self.all), shape, bundle, speed, closed, self.names)
                self.all.append(kind)
            self._by_id[id(bundle), speed, closed] = kind
        return kind

    def groups(self, demand: Demand, first: int, last: int, closed: Closed = OPEN) -> Groups:
        """Return bundles ``first`` to ``last`` - 1 by kind, those with a selector and the largest first."""
        bundles, speed = demand.bundles, demand.speed
        head = bundles[first]
        if bundles.count(head) == len(bundles):
            key = (id(head), speed, first, last, closed)
            known = self._groups.get(key)
            if known is None:
                known = self._groups[key] = ((self.of(head, speed, closed), tuple(range(first, last))),)
            return known
        places: dict[Kind, list[int]] = {}
        for i in range(first, last):
            places.setdefault(self.of(bundles[i], speed, closed), []).append(i)
        order = sorted(places, key=self._size, reverse=True)
        return tuple((kind, tuple(places[kind])) for kind in order)

    def _size(self, kind: Kind) -> tuple[bool, float]:
        sizes = [amount / max(1, self.capacity.get(name, 0)) for name, amount in kind.resources.entries]
        return bool(kind.selector.requirements), max(sizes, default=0.0)

    def amounts(self, groups: Groups) -> Vector:
        """Return the sum over the bundles; not to be changed."""
        if len(groups) == 1:
            kind, places = groups[0]
            key = kind.shape, len(places)
            known = self._vectors.get(key)
            if known is None:
                known = self._vectors[key] = _times(kind.resources, len(places))
            return known
        out: Vector = {}
        for kind, places in groups:
            for name, amount in kind.resources.entries:
                out[name] = out.get(name, 0) + amount * len(places)
        return out


def _times(resources: Resources, n: int) -> Vector:
    return {name: amount * n for name, amount in resources.entries}
