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

Size = tuple[int, bool, bool]
"""How many bundles of the kind that is the hardest to place, whether it has been asked often enough, and whether a
topology is required."""


class Blocked:
    """Blocked steps by tenant, kind and size, in the order inside the tenant."""

    def __init__(self, kinds: Kinds, placer: Placer) -> None:
        self.kinds, self.placer, self.rooms = kinds, placer, placer.rooms
        self._queues: dict[TenantId, dict[int, dict[Size, list[Step]]]] = {}
        """By tenant, kind and size."""
        self._again: dict[int, dict[TenantId, list[Step]]] = {}
        """Who may be asked again, by kind and tenant."""

    @staticmethod
    def _place(step: Step) -> tuple[int, Size]:
        kind, places = step.groups[0]
        return kind.number, (len(places), step.asked >= MOST_ASKED, any(t.required for t in step.demand.topologies))

    def add(self, step: Step) -> None:
        number, size = self._place(step)
        tenant = step.demand.tenant
        queues = self._queues.setdefault(tenant, {}).setdefault(number, {})
        insort(queues.setdefault(size, []), step, key=_rank)
        if not size[1]:
            insort(self._again.setdefault(number, {}).setdefault(tenant, []), step, key=_rank)

    def remove(self, step: Step) -> None:
        """Take out one that is asked again."""
        number, size = self._place(step)
        queues = self._queues[step.demand.tenant][number]
        queues[size].remove(step)
        if not queues[size]:
            del queues[size]
        if not size[1]:
            again = self._again[number]
            again[step.demand.tenant].remove(step)
            if not again[step.demand.tenant]:
                del again[step.demand.tenant]
        step.asked += 1

    def of(self, tenant: TenantId) -> Iterator[list[Step]]:
        """Yield those of a tenant, with equals together."""
        for queues in self._queues.get(tenant, {}).values():
            yield from queues.values()

    def next_like(self, step: Step) -> Step | None:
        """Return the first that waits of the same tenant, kind and size."""
        number, size = self._place(step)
        queues = self._queues.get(step.demand.tenant, {}).get(number, {})
        found = [queue[0] for key, queue in queues.items() if (key[0], key[2]) == (size[0], size[2])]
        return min(found, key=_rank, default=None)

    def helped(self, roomier: Sequence[int]) -> list[Step]:
        """Return the first of each tenant whom room on these nodes may help."""
        homes = {id(home): home for home in (self.rooms.home[node] for node in roomier) if home is not None}
        if not homes:
            return []
        gpu_idx = self.rooms.gpu_idx
        gpu = max(home.free[gpu_idx] for home in homes.values()) if gpu_idx >= 0 else 0
        most: dict[int, int] = {}
        for number, waiting in self._again.items():
            kind = self.kinds.all[number]
            if waiting and kind.gpu <= gpu:
                for home in homes.values():
                    if home.how_many(kind):
                        most[number] = self.placer.bound(kind)
                        break
        best: dict[TenantId, Step] = {}
        for number, bound in most.items():
            for tenant, queue in self._again[number].items():
                for step in queue:
                    if len(step.groups[0][1]) <= bound:
                        if tenant not in best or step.rank < best[tenant].rank:
                            best[tenant] = step
                        break
        return [best[tenant] for tenant in self._queues if tenant in best]


def _rank(step: Step) -> Rank:
    return step.rank
