"""How much room each node has: now, and once those who yield are gone."""

from __future__ import annotations

from collections.abc import Mapping

from aios.kernel.ports import Observed
from aios.kernel.queue import added, foreign_use, kept, kept_demand, live, placed, yields
from aios.kernel.state import State
from placement.model import Demand, NodeId, NodeState, Resources


class Room:
    """A ledger of free resources by node, taken down as grants are made."""

    def __init__(self, state: State, observed: Observed) -> None:
        held, staying, promised = [], [], []
        for workload in live(state):
            attempt = workload.current
            if nodes := kept(state, workload.id):
                promised.append(placed(kept_demand(state, workload), nodes))
            if attempt is not None:
                held.append(placed(workload.held(attempt), attempt.nodes))
                if not yields(attempt):
                    staying.append(held[-1])
        foreign = foreign_use(observed)
        sizes = {id: node.resources for id, node in state.nodes.items() if node.state is NodeState.READY}
        self._now = _free(sizes, added([foreign, *held]))
        self._later = _free(sizes, added([foreign, *staying]))
        self._unpromised = _free(sizes, added([foreign, *staying, *promised]))

    def fits_now(self, demand: Demand, nodes: tuple[NodeId, ...]) -> bool:
        """Return whether the nodes really have room."""
        return _fits(demand, nodes, self._now)

    def will_fit(self, demand: Demand, nodes: tuple[NodeId, ...]) -> bool:
        """Return whether they have room once those who yield are gone."""
        return _fits(demand, nodes, self._later)

    def is_free(self, demand: Demand, nodes: tuple[NodeId, ...]) -> bool:
        """Return whether they will have room beside all that is kept for others."""
        return _fits(demand, nodes, self._unpromised)

    def take(self, demand: Demand, nodes: tuple[NodeId, ...]) -> None:
        """Take room now; what was kept for this demand is still counted as promised."""
        _change(self._now, placed(demand, nodes), -1)
        _change(self._later, placed(demand, nodes), -1)

    def promise(self, demand: Demand, nodes: tuple[NodeId, ...]) -> None:
        """Take room beside what is kept for others."""
        _change(self._unpromised, placed(demand, nodes), -1)

    def leave(self, demand: Demand, nodes: tuple[NodeId, ...]) -> None:
        """Give back what a workload holds that is told to yield: free later, held now."""
        _change(self._later, placed(demand, nodes), 1)
        _change(self._unpromised, placed(demand, nodes), 1)


def _fits(demand: Demand, nodes: tuple[NodeId, ...], free: Mapping[NodeId, Resources]) -> bool:
    return all(node in free and amount.fits_in(free[node]) for node, amount in placed(demand, nodes).items())


def _free(sizes: Mapping[NodeId, Resources], used: Mapping[NodeId, Resources]) -> dict[NodeId, Resources]:
    return {node: size - used.get(node, Resources()) for node, size in sizes.items()}


def _change(free: dict[NodeId, Resources], amounts: Mapping[NodeId, Resources], sign: int) -> None:
    for node, amount in amounts.items():
        if node in free:
            free[node] = free[node] + amount if sign > 0 else free[node] - amount
