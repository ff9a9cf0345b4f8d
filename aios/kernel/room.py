"""How much room each node has: now, and once those who yield are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aios.kernel.ports import Observed
from aios.kernel.queue import foreign_use, kept_demand, kept_nodes_of, live, placed, yields
from aios.kernel.resizing import staying as staying_nodes
from aios.kernel.state import State
from placement.model import Demand, NodeId, NodeState, Resources, total


class Room:
    """A ledger of free resources by node, taken down as grants are made."""

    def __init__(self, state: State, observed: Observed) -> None:
        held, staying, promised = [], [], []
        all_kept = kept_nodes_of(state)
        for workload in live(state):
            attempt = workload.current
            if nodes := all_kept.get(workload.work.id):
                promised.append(placed(kept_demand(state, workload), nodes))
            if attempt is not None:
                held.append(placed(workload.held(attempt), attempt.nodes))
                if not yields(attempt):
                    staying.append(placed(workload.held(attempt), staying_nodes(attempt)))
        foreign = foreign_use(observed)
        self._now = _Free(state, [foreign, *held])
        self._later = _Free(state, [foreign, *staying])
        self._unpromised = _Free(state, [foreign, *staying, *promised])

    def fits_now(self, demand: Demand, nodes: tuple[NodeId, ...]) -> bool:
        """Return whether the nodes really have room."""
        return self._now.holds(placed(demand, nodes))

    def will_fit(self, demand: Demand, nodes: tuple[NodeId, ...]) -> bool:
        """Return whether they have room once those who yield are gone."""
        return self._later.holds(placed(demand, nodes))

    def is_free(self, demand: Demand, nodes: tuple[NodeId, ...]) -> bool:
        """Return whether they will have room beside all that is kept for others."""
        return self._unpromised.holds(placed(demand, nodes))

    def take(self, demand: Demand, nodes: tuple[NodeId, ...]) -> None:
        """Take room now; what was kept for this demand is still counted as promised."""
        self._now.take(placed(demand, nodes))
        self._later.take(placed(demand, nodes))

    def promise(self, demand: Demand, nodes: tuple[NodeId, ...]) -> None:
        """Take room beside what is kept for others."""
        self._unpromised.take(placed(demand, nodes))

    def leave(self, demand: Demand, nodes: tuple[NodeId, ...]) -> None:
        """Give back what a workload holds that is told to yield: free later, held now."""
        self._later.give(placed(demand, nodes))
        self._unpromised.give(placed(demand, nodes))


class _Free:
    """What is free on the nodes that are ready; a node is summed up when it is asked for."""

    def __init__(self, state: State, used: Iterable[Mapping[NodeId, Resources]]) -> None:
        self._nodes = state.nodes
        self._used: dict[NodeId, list[Resources]] = {}
        self._free: dict[NodeId, Resources | None] = {}
        for part in used:
            for id, amount in part.items():
                self._used.setdefault(id, []).append(amount)

    def holds(self, amounts: Mapping[NodeId, Resources]) -> bool:
        return all((free := self._of(id)) is not None and amount.fits_in(free) for id, amount in amounts.items())

    def take(self, amounts: Mapping[NodeId, Resources]) -> None:
        for id, amount in amounts.items():
            if (free := self._of(id)) is not None:
                self._free[id] = free - amount

    def give(self, amounts: Mapping[NodeId, Resources]) -> None:
        for id, amount in amounts.items():
            if (free := self._of(id)) is not None:
                self._free[id] = free + amount

    def _of(self, id: NodeId) -> Resources | None:
        if id not in self._free:
            node = self._nodes.get(id)
            ready = node is not None and node.state is NodeState.READY
            self._free[id] = node.resources - total(self._used.get(id, ())) if node is not None and ready else None
        return self._free[id]
