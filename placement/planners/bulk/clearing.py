"""What one more bundle on a node costs others, and whether all that might go would free enough."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from placement.planners.bulk.buckets import how_many
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.kinds import Kind
from placement.planners.bulk.rights import Rights
from placement.planners.bulk.spots import Cost, cost_of, liking

Option = tuple[Cost, list[tuple[Gang, int]]]
"""What it costs, and who goes down to how many bundles."""


class Clearing:
    """Looks at nodes as they are; changes nothing."""

    def __init__(self, gangs: Gangs) -> None:
        self.gangs, self.rooms = gangs, gangs.rooms

    def enough(self, rights: Rights, kind: Kind, n: int) -> bool:
        """Return whether all that might go would free the GPUs, as a first look."""
        wanted = n * kind.gpu - self.rooms.idle_gpu
        if not kind.gpu:
            return True
        sizes, own = self.gangs.sizes, rights.step.demand.tenant
        for tenant, below in rights.limits.items():
            newer = tenant == own and rights.newer
            wanted -= sum(size for priority, size in sizes[tenant].items() if priority < below + newer)
        return wanted <= 0

    def enough_among(self, rights: Rights, kind: Kind, n: int, nodes: Sequence[int]) -> bool:
        """Return whether these nodes would hold so many bundles if all that might go did, by their GPUs alone."""
        gpu_idx, least, may = self.rooms.gpu_idx, kind.gpu, rights.may
        if not least:
            return True
        for node in nodes:
            gpu = self.rooms.free[node][gpu_idx]
            for gang in self.gangs.on.get(node, ()):
                if gang.keep and may(gang):
                    gpu += gang.size if len(gang.at) == 1 else sum(k.gpu for at, k in gang.parts(0) if at == node)
            n -= max(0, gpu) // least
            if n <= 0:
                return True
        return False

    def option(self, rights: Rights, kind: Kind, n: int, node: int) -> Option | None:
        """Return the least harm by which a node takes at least one bundle more, or None."""
        may = rights.may
        gangs = [gang for gang in self.gangs.on.get(node, ()) if gang.keep and may(gang)]
        if not gangs:
            return None
        if len(gangs) == 1 and len(gangs[0].at) == 1 and not self.rooms.parts[node]:
            return self._single(gangs[0], kind, n, node)
        if len(gangs) > 1:
            gangs.sort(key=liking)
        able = [found for gang in gangs if (found := self._tail(gang, node)) is not None]
        had = self.rooms.count_at(kind, node)
        best: Option | None = None
        for gang, keep in able:
            won = self._holds(kind, node, [(gang, keep)]) - had
            if won > 0:
                cost = cost_of([(gang, keep)], min(won, n))
                if best is None or cost < best[0]:
                    best = cost, [(gang, keep)]
        if best is not None and best[0][0] == able[0][0].priority:
            return best
        chosen: list[tuple[Gang, int]] = []
        for entry in able:
            chosen.append(entry)
            if len(chosen) > 1 and self._holds(kind, node, chosen) > had:
                break
        else:
            return best
        for entry in sorted(chosen, key=lambda e: (e[0].priority, e[0].size), reverse=True):
            rest = [other for other in chosen if other is not entry]
            if rest and self._holds(kind, node, rest) > had:
                chosen = rest
        cost = cost_of(chosen, min(self._holds(kind, node, chosen) - had, n))
        return (cost, chosen) if best is None or cost < best[0] else best

    def _single(self, gang: Gang, kind: Kind, n: int, node: int) -> Option | None:
        """Return the same where a gang of one bundle is all that may go."""
        free = list(self.rooms.free[node])
        for i, amount in gang.kinds[0].needs:
            free[i] += amount
        won = how_many(tuple(free), (), kind) - self.rooms.count_at(kind, node)
        if won <= 0:
            return None
        size = gang.size / 1000 + 1e-3
        return (gang.priority, size / min(won, n), size, 1, -gang.since), [(gang, 0)]

    @staticmethod
    def _tail(gang: Gang, node: int) -> tuple[Gang, int] | None:
        """Return how far a gang has to go to leave something on a node: to its minimum, or all of it."""
        if gang.least and gang.least < gang.keep and node in gang.at[gang.least : gang.keep]:
            return gang, gang.least
        return (gang, 0) if node in gang.at[: gang.keep] else None

    def _holds(self, kind: Kind, node: int, gone: Iterable[tuple[Gang, int]]) -> int:
        """Return how many bundles of a kind a node holds without some gangs."""
        free = list(self.rooms.free[node])
        parts = self.rooms.parts[node]
        for gang, keep in gone:
            for at, other in gang.parts(keep):
                if at == node:
                    for i, amount in other.needs:
                        free[i] += amount
        return how_many(tuple(free), parts, kind) if not parts else self._exactly(kind, node, gone)

    def _exactly(self, kind: Kind, node: int, gone: Iterable[tuple[Gang, int]]) -> int:
        """Return the same where GPUs are shared: the parts are packed anew."""
        parts = [part for gang, keep in gone for part in gang.parts(keep) if part[0] == node]
        for at, other in parts:
            self.rooms.give(at, other)
        count = self.rooms.count_at(kind, node)
        for at, other in parts:
            self.rooms.take(at, other)
        return count
