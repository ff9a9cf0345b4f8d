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

Size = tuple[int, bool]
"""How many bundles of the kind that is the hardest to place, and whether it has been asked often enough."""
NOBODY: dict[Size, list[Step]] = {}


class Blocked:
    """Blocked steps by tenant, kind and size, in the order inside the tenant."""

    def __init__(self, kinds: Kinds, placer: Placer) -> None:
        self.kinds, self.placer, self.rooms = kinds, placer, placer.rooms
        self._queues: dict[TenantId, dict[int, dict[Size, list[Step]]]] = {}
        """By tenant, kind and size."""
        self._numbers: dict[int, int] = {}
        """How many wait and may be asked again, by kind."""

    @staticmethod
    def _place(step: Step) -> tuple[int, Size]:
        kind, places = step.groups[0]
        return kind.number, (len(places), step.asked >= MOST_ASKED)

    def add(self, step: Step) -> None:
        number, size = self._place(step)
        queues = self._queues.setdefault(step.demand.tenant, {}).setdefault(number, {})
        insort(queues.setdefault(size, []), step, key=_rank)
        if not size[1]:
            self._numbers[number] = self._numbers.get(number, 0) + 1

    def remove(self, step: Step) -> None:
        """Take out one that is asked again."""
        number, size = self._place(step)
        queues = self._queues[step.demand.tenant][number]
        queues[size].remove(step)
        if not queues[size]:
            del queues[size]
        if not size[1]:
            self._numbers[number] -= 1
        step.asked += 1

    def of(self, tenant: TenantId) -> Iterator[list[Step]]:
        """Yield those of a tenant, with equals together."""
        for queues in self._queues.get(tenant, {}).values():
            yield from queues.values()

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
        for kinds in self._queues.values() if most else ():
            best: Step | None = None
            for number, bound in most.items():
                for (n, asked), queue in kinds.get(number, NOBODY).items():
                    if not asked and n <= bound and (best is None or queue[0].rank < best.rank):
                        best = queue[0]
            if best is not None:
                out.append(best)
        return out


def _rank(step: Step) -> Rank:
    return step.rank
