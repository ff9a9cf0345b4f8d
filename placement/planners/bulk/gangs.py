"""Running work as the bulk planner sees it: which gang stands where, and how much of it is still there."""

from __future__ import annotations

from collections.abc import Iterator

from placement.model import DemandId, Problem, Running, TenantId
from placement.planners.bulk.kinds import Groups, Kind, Kinds
from placement.planners.bulk.rooms import Rooms
from placement.planners.bulk.turns import Book
from placement.planners.tree import Vector, add


class Gang:
    """Running work that holds its first ``keep`` bundles now."""

    __slots__ = ("alike", "at", "index", "keep", "kinds", "least", "priority", "running", "since", "size", "tenant")

    def __init__(self, index: int, running: Running, at: list[int], kinds: list[Kind], alike: bool) -> None:
        self.index, self.running, self.at, self.kinds, self.alike = index, running, at, kinds, alike
        self.tenant: TenantId = running.demand.tenant
        self.priority, self.since = running.demand.priority, running.started_s
        self.keep = len(at)
        self.least = running.demand.min_bundles if running.demand.min_bundles < len(at) else 0
        self.size = kinds[0].gpu * len(kinds) if alike else sum(kind.gpu for kind in kinds)

    @property
    def id(self) -> DemandId:
        return self.running.demand.id

    @property
    def liking(self) -> tuple[int, float, int]:
        """Return the order in which gangs go: the least important first, then what started last."""
        return self.priority, -self.since, self.index

    def parts(self, keep: int, until: int | None = None) -> Iterator[tuple[int, Kind]]:
        """Yield (node, kind) of the bundles from ``keep`` on that it has now."""
        for i in range(keep, self.keep if until is None else until):
            yield self.at[i], self.kinds[i]

    def released(self, keep: int) -> Vector:
        """Return the amounts that it gives up when it keeps so many bundles."""
        if self.alike:
            n = self.keep - keep
            return {name: amount * n for name, amount in self.kinds[0].resources.entries}
        out: Vector = {}
        for _, kind in self.parts(keep):
            add(out, kind.resources)
        return out


class Gangs:
    """All running work, by node and by tenant; fills rooms and tenants' books with it."""

    def __init__(self, problem: Problem, kinds: Kinds, rooms: Rooms, book: Book) -> None:
        self.rooms, self.book = rooms, book
        self.all: list[Gang] = []
        self.on: dict[int, list[Gang]] = {}
        self.of: dict[TenantId, list[Gang]] = {t: [] for t in book.tree.tenants}
        self.by_id: dict[DemandId, Gang] = {}
        self.sizes: dict[TenantId, dict[int, int]] = {t: {} for t in book.tree.tenants}
        """GPUs of what may be preempted, by tenant and priority."""
        own: dict[TenantId, Vector] = {t: {} for t in book.tree.tenants}
        for running in problem.running:
            gang = self._read(running, kinds)
            for node, kind in zip(gang.at, gang.kinds, strict=True):
                if node >= 0:
                    rooms.preload(node, kind)
            mine = own[gang.tenant]
            for kind, n in _counted(gang.kinds):
                for name, amount in kind.resources.entries:
                    mine[name] = mine.get(name, 0) + amount * n
            if running.demand.preemptible:
                for node in set(gang.at) if len(gang.at) > 1 else gang.at:
                    self.on.setdefault(node, []).append(gang)
                self.of[gang.tenant].append(gang)
                sizes = self.sizes[gang.tenant]
                sizes[gang.priority] = sizes.get(gang.priority, 0) + gang.size
        rooms.settle()
        for tenant, amounts in own.items():
            book.count(tenant, amounts)
        for gangs in self.of.values():
            gangs.sort(key=lambda gang: gang.liking)
        self.in_order = sorted((gang for gangs in self.of.values() for gang in gangs), key=lambda gang: gang.liking)
        """All that may be preempted, the least important and the last started first."""

    def _read(self, running: Running, kinds: Kinds) -> Gang:
        bundles, index = running.demand.bundles, self.rooms.index
        at = [index.get(node, -1) for node in running.nodes]
        first = kinds.of(bundles[0])
        alike = len(bundles) == 1 or bundles.count(bundles[0]) == len(bundles)
        own = [first] * len(at) if alike else [kinds.of(bundle) for bundle in bundles[: len(at)]]
        gang = Gang(len(self.all), running, at, own, alike)
        self.all.append(gang)
        self.by_id[running.demand.id] = gang
        return gang

    def release(self, gang: Gang, keep: int) -> None:
        """Let a gang go down to its first ``keep`` bundles, on its nodes and in the books."""
        released = gang.released(keep)
        self.sizes[gang.tenant][gang.priority] -= released.get("GPU", 0)
        self.book.count(gang.tenant, released, -1)
        for node, kind, n in _together(gang, keep, gang.keep):
            self.rooms.give(node, kind, n)
        gang.keep = keep

    def restore(self, gang: Gang, keep: int) -> None:
        """Undo a release: the gang has its first ``keep`` bundles again."""
        before = gang.keep
        gang.keep = keep
        released = gang.released(before)
        self.sizes[gang.tenant][gang.priority] += released.get("GPU", 0)
        self.book.count(gang.tenant, released)
        for node, kind, n in _together(gang, before, keep):
            self.rooms.take(node, kind, n)

    def extend(self, gang: Gang, node: int, kind: Kind) -> None:
        """Note one bundle more of a gang that grows; the caller counts it."""
        gang.alike = gang.alike and kind.resources == gang.kinds[0].resources
        gang.at = [*gang.at[: gang.keep], node]
        gang.kinds = [*gang.kinds[: gang.keep], kind]
        gang.keep += 1


def _together(gang: Gang, first: int, last: int) -> list[tuple[int, Kind, int]]:
    """Return (node, kind, number) of a gang's bundles from ``first`` to ``last`` - 1 on nodes that are there."""
    if last - first == 1:
        return [(gang.at[first], gang.kinds[first], 1)] if gang.at[first] >= 0 else []
    out: dict[tuple[int, Kind], int] = {}
    for part in zip(gang.at[first:last], gang.kinds[first:last], strict=True):
        out[part] = out.get(part, 0) + 1
    return [(node, kind, n) for (node, kind), n in out.items() if node >= 0]


def _counted(kinds: list[Kind]) -> list[tuple[Kind, int]]:
    if len(kinds) == 1:
        return [(kinds[0], 1)]
    out: dict[Kind, int] = {}
    for kind in kinds:
        out[kind] = out.get(kind, 0) + 1
    return list(out.items())


__all__ = ["Gang", "Gangs", "Groups"]
