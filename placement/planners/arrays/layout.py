"""The nodes of a problem as arrays: what never changes while one baseline decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from placement.model import ACCELERATOR_KEY, MILLI, Bundle, Demand, DemandId, NodeId, NodeState, Problem, Resources

GPU = "GPU"
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_MOST = 2**62
"""Amounts are cut here, so that sums of a few stay within 64 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One bundle as the arrays see it: amounts_R, thousandths of GPU, and the nodes_N that it may use."""

    amounts: Ints
    gpu: int
    allowed: Bools
    size: float
    """Its largest amount as a fraction of the cluster's."""

    @property
    def whole(self) -> int:
        """Return the number of whole GPUs; 0 where it asks for none or for a part of one."""
        return self.gpu // MILLI if self.gpu % MILLI == 0 else 0


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A bundle on a node, and on which of its GPUs."""

    node: int
    ask: Ask
    devices: tuple[int, ...] = ()


Group = tuple[Ask, tuple[int, ...]]
"""Alike bundles of a gang: what each asks, and their ranks."""


class Layout:
    """Rows are nodes in the problem's order, columns are resources in the order of their names."""

    def __init__(self, problem: Problem) -> None:
        self.nodes = problem.nodes
        self.index: dict[NodeId, int] = {node.id: i for i, node in enumerate(problem.nodes)}
        self.names = tuple(sorted({name for node in problem.nodes for name, _ in node.resources.entries}))
        self.column = {name: i for i, name in enumerate(self.names)}
        self.capacity: Ints = np.zeros((len(self.nodes), len(self.names)), np.int64)
        for i, node in enumerate(self.nodes):
            for name, amount in node.resources.entries:
                self.capacity[i, self.column[name]] = min(amount, _MOST)
        self.ready: Bools = np.array([node.state is NodeState.READY for node in self.nodes], np.bool_)
        self.totals: Floats = self.capacity.sum(axis=0, dtype=np.float64)
        self.devices = self._devices()
        self._asks: dict[Bundle, Ask | None] = {}
        self._masks: dict[object, Bools] = {}
        self._domains: dict[str, Ints] = {}

    def _devices(self) -> Ints:
        """Return the size of each GPU, devices_NG, 0 where a node has fewer."""
        if GPU not in self.column:
            return np.zeros((len(self.nodes), 0), np.int64)
        gpu = self.capacity[:, self.column[GPU]]
        most = -int((-gpu // MILLI).min()) if len(gpu) else 0
        steps = np.arange(most, dtype=np.int64) * MILLI
        devices: Ints = np.clip(gpu[:, None] - steps[None, :], 0, MILLI)
        return devices

    def amounts(self, resources: Resources) -> Ints:
        """Return a vector of the resources that some node has."""
        out = np.zeros(len(self.names), np.int64)
        for name, amount in resources.entries:
            if name in self.column:
                out[self.column[name]] = min(amount, _MOST)
        return out

    def ask(self, bundle: Bundle) -> Ask | None:
        """Return a bundle as arrays; None where no cluster of these nodes could hold it."""
        if bundle not in self._asks:
            self._asks[bundle] = self._ask(bundle)
        return self._asks[bundle]

    def _ask(self, bundle: Bundle) -> Ask | None:
        gpu = bundle.resources.get(GPU)
        known = all(name in self.column and amount <= _MOST for name, amount in bundle.resources.entries)
        if not known or (gpu > MILLI and gpu % MILLI):
            return None
        amounts = self.amounts(bundle.resources)
        size = float((amounts / np.maximum(self.totals, 1.0)).max()) if len(amounts) else 0.0
        return Ask(amounts, gpu, self._mask(bundle), size)

    def _mask(self, bundle: Bundle) -> Bools:
        if not bundle.selector.requirements:
            return self.ready
        if bundle.selector not in self._masks:
            accepted = [bundle.selector.accepts(node) for node in self.nodes]
            self._masks[bundle.selector] = self.ready & np.array(accepted, np.bool_)
        return self._masks[bundle.selector]

    def groups(self, demand: Demand, low: int, high: int) -> tuple[Group, ...] | None:
        """Return bundles ``low`` to ``high`` - 1 by kind, the largest first; None where one can never be held."""
        kinds: dict[Bundle, list[int]] = {}
        last, ranks = demand.bundles[low], kinds.setdefault(demand.bundles[low], [])
        for rank, bundle in enumerate(demand.bundles[low:high], low):
            if bundle is not last:
                last, ranks = bundle, kinds.setdefault(bundle, [])
            ranks.append(rank)
        out: list[Group] = []
        for bundle, of in kinds.items():
            ask = self.ask(bundle)
            if ask is None:
                return None
            out.append((ask, tuple(of)))
        return tuple(sorted(out, key=lambda group: -group[0].size))

    def domains(self, key: str) -> Ints:
        """Return each node's value of a label as a number, -1 where it has none."""
        if key not in self._domains:
            values = [node.label(key) for node in self.nodes]
            numbers = {value: i for i, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
            self._domains[key] = np.array([-1 if v is None else numbers[v] for v in values], np.int64)
        return self._domains[key]

    def is_mixed(self) -> bool:
        """Return whether there is more than one type of accelerator."""
        return len(set(self.domains(ACCELERATOR_KEY).tolist()) - {-1}) > 1


class Floor:
    """What is free: amounts_NR and each GPU's free part, devices_NG."""

    def __init__(self, layout: Layout, free: Ints, devices: Ints) -> None:
        self.layout, self.free, self.devices = layout, free, devices
        self.whole: Ints = (devices == MILLI).sum(axis=1)

    def copy(self) -> Floor:
        other = Floor.__new__(Floor)
        other.layout, other.free, other.devices = self.layout, self.free.copy(), self.devices.copy()
        other.whole = self.whole.copy()
        return other

    def both(self, other: Floor) -> Floor:
        """Return what is free on this floor and on the other one."""
        return Floor(self.layout, np.minimum(self.free, other.free), np.minimum(self.devices, other.devices))

    def fits(self, ask: Ask) -> Bools:
        """Return on which nodes one such bundle fits."""
        able: Bools = ask.allowed & (self.free >= ask.amounts).all(axis=1)
        if ask.whole:
            able &= self.whole >= ask.whole
        elif ask.gpu:
            able &= (self.devices >= ask.gpu).any(axis=1)
        return able

    def counts(self, ask: Ask, most: int) -> Ints:
        """Return how many such bundles fit on each node, up to ``most``."""
        out = np.full(len(self.layout.nodes), most, np.int64)
        for column in np.flatnonzero(ask.amounts):
            out = np.minimum(out, np.maximum(self.free[:, column], 0) // ask.amounts[column])
        if ask.whole:
            out = np.minimum(out, self.whole // ask.whole)
        elif ask.gpu:
            out = np.minimum(out, (self.devices // ask.gpu).sum(axis=1))
        return np.where(ask.allowed, out, 0)

    def counts_at(self, ask: Ask, node: int, most: int) -> int:
        """Return how many such bundles fit on one node, up to ``most``."""
        n = most
        for free, amount in zip(self.free[node].tolist(), ask.amounts.tolist(), strict=True):
            if amount:
                n = min(n, max(0, free) // amount)
        if ask.whole:
            n = min(n, int(self.whole[node]) // ask.whole)
        elif ask.gpu:
            n = min(n, int((self.devices[node] // ask.gpu).sum()))
        return n

    def device_for(self, node: int, ask: Ask) -> tuple[int, ...]:
        """Return the GPUs that a bundle would get: free ones, or the fullest that still holds a part; () for none."""
        row = self.devices[node]
        if ask.whole:
            free = np.flatnonzero(row == MILLI)[: ask.whole]
            return tuple(free.tolist()) if len(free) == ask.whole else ()
        if ask.gpu:
            room = np.where(row >= ask.gpu, row, 2 * MILLI)
            best = int(room.argmin())
            return (best,) if room[best] <= MILLI else ()
        return ()

    def take(self, taken: Taken, sign: int = 1) -> None:
        """Take a bundle's amounts, or give them back with sign -1."""
        node, ask = taken.node, taken.ask
        if sign > 0:
            self.free[node] -= ask.amounts
        else:
            self.free[node] += ask.amounts
        if ask.whole:
            for device in taken.devices:
                self.devices[node, device] -= sign * MILLI
            self.whole[node] -= sign * len(taken.devices)
        elif taken.devices:
            before = int(self.devices[node, taken.devices[0]])
            after = before - sign * ask.gpu
            self.devices[node, taken.devices[0]] = after
            self.whole[node] += (after == MILLI) - (before == MILLI)


def opening(problem: Problem) -> tuple[Floor, dict[DemandId, tuple[Taken, ...]]]:
    """Return what is free now, and what each running workload holds."""
    layout = Layout(problem)
    floor = Floor(layout, layout.capacity.copy(), layout.devices.copy())
    wanted: list[tuple[int, int, DemandId, Ask]] = []
    for node_id, amounts in problem.foreign.items():
        if node_id in layout.index:
            ask = Ask(layout.amounts(amounts), amounts.get(GPU), layout.ready, 0.0)
            wanted.append((layout.index[node_id], -1, DemandId(""), ask))
    for order, running in enumerate(problem.running):
        for bundle, node_id in zip(running.demand.bundles, running.nodes, strict=False):
            held = layout.ask(bundle)
            if held is not None and node_id in layout.index:
                wanted.append((layout.index[node_id], order, running.demand.id, held))
    taken: dict[DemandId, list[Taken]] = {running.demand.id: [] for running in problem.running}
    for node, _, name, ask in sorted(wanted, key=lambda w: (w[3].whole == 0, -w[3].gpu)):
        part = _settle(floor, node, ask)
        if name:
            taken[name].append(part)
    return floor, {name: tuple(parts) for name, parts in taken.items()}


def _settle(floor: Floor, node: int, ask: Ask) -> Taken:
    """Give running work GPUs of its node, whole ones first; where it finds none, the node gives none to anybody."""
    devices = floor.device_for(node, ask)
    if ask.gpu and not devices and floor.devices.shape[1]:
        floor.devices[node] = 0
        floor.whole[node] = 0
    taken = Taken(node, ask, devices)
    floor.take(taken)
    return taken


def ids(layout: Layout, nodes: Sequence[Taken]) -> tuple[NodeId, ...]:
    """Return the ids of the nodes of a gang's bundles."""
    return tuple(layout.nodes[taken.node].id for taken in nodes)
