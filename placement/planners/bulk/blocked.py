"""Who has been asked and waits, so that the right ones are asked again when victims leave more room than was needed."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence

from placement.model import TenantId
from placement.planners.bulk.kinds import Kinds
from placement.planners.bulk.placing import Placer
from placement.planners.bulk.turns import Rank, Step

MOST_ASKED = 2
"""How often one demand is asked again for the sake of room that victims have left."""

Sort = tuple[int, int, bool]
"""What makes waiting steps alike: the kind of the bundles that are the hardest to place, their number, asked enough."""


class Blocked:
    """Blocked steps by tenant and sort, in the order inside the tenant."""

    def __init__(self, kinds: Kinds, placer: Placer) -> None:
        self.kinds, self.placer, self.rooms = kinds, placer, placer.rooms
        self._queues: dict[TenantId, dict[Sort, list[Step]]] = {}
        self._numbers: dict[int, int] = {}
        """How many wait and may be asked again, by kind."""

    @staticmethod
    def _sort(step: Step) -> Sort:
        kind, places = step.groups[0]
        return kind.number, len(places), step.asked >= MOST_ASKED

    def add(self, step: Step) -> None:
        sort = self._sort(step)
        insort(self._queues.setdefault(step.demand.tenant, {}).setdefault(sort, []), step, key=_rank)
        if not sort[2]:
            self._numbers[sort[0]] = self._numbers.get(sort[0], 0) + 1

    def remove(self, step: Step) -> None:
        """Take out one that is asked again."""
        sort = self._sort(step)
        queues = self._queues[step.demand.tenant]
        queues[sort].remove(step)
        if not queues[sort]:
            del queues[sort]
        if not sort[2]:
            self._numbers[sort[0]] -= 1
        step.asked += 1

    def of(self, tenant: TenantId) -> Iterator[list[Step]]:
        """Yield those of a tenant, with equals together."""
        yield from self._queues.get(tenant, {}).values()

    def helped(self, roomier: Sequence[int]) -> list[Step]:
        """Return the first of each tenant whom room on these nodes may help."""
        homes = {id(home): home for home in (self.rooms.home[node] for node in roomier) if home is not None}
        if not homes:
            return []
        gpu_idx = self.rooms.gpu_idx
        gpu = max(home.free[gpu_idx] for home in homes.values()) if gpu_idx >= 0 else 0
        most: dict[int, int] = {}
        for number, n in self._numbers.items():
            kind = self.kinds.all[number]
            if n and kind.gpu <= gpu:
                for home in homes.values():
                    if home.how_many(kind):
                        most[number] = self.placer.bound(kind)
                        break
        out: list[Step] = []
        for queues in self._queues.values() if most else ():
            best: Step | None = None
            for (number, n, asked), queue in queues.items():
                if not asked and n <= most.get(number, 0) and (best is None or queue[0].rank < best.rank):
                    best = queue[0]
            if best is not None:
                out.append(best)
        return out


def _rank(step: Step) -> Rank:
    return step.rank
