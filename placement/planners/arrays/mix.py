"""How much of the free GPUs the expected mix of work could not use: the measure of fragmentation, on arrays.

References
----------
Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent, USENIX ATC
2023, section 4: a node's fragmentation is the expectation, over the tasks of the mix, of the free GPU parts that a
task cannot use: all of them where it does not fit the node, else those GPUs that have less free than it needs of one.

``stranded`` is ours: the measure above sees no loss of CPUs until the next task does not fit any more; this one counts
the GPUs for which a node has not the other resources left that the mix needs with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from placement.model import MILLI, Bundle, Problem
from placement.planners.arrays.layout import GPU, Ask, Bools, Floats, Floor, Ints, Layout

MOST_KINDS = 100
"""Only the most frequent kinds of bundle are counted."""


class Mix:
    """The expected bundles with their frequencies; M kinds that fit some node."""

    def __init__(self, layout: Layout, expected: Iterable[tuple[Bundle, float]]) -> None:
        kinds = [(layout.ask(bundle), weight) for bundle, weight in expected]
        asks: list[tuple[Ask, float]] = [(ask, weight) for ask, weight in kinds if ask is not None]
        gpus = sum(ask.gpu * weight for ask, weight in asks)
        asked = sum((ask.amounts * weight for ask, weight in asks), start=np.zeros(len(layout.names)))
        self.per_gpu: list[tuple[int, float]] = [
            (column, float(asked[column] / gpus))
            for column, name in enumerate(layout.names)
            if name != GPU and gpus > 0 and asked[column] > 0
        ]
        """Of each other resource that the mix asks for: its column, and what comes with a thousandth of a GPU."""
        asks = sorted((kind for kind in asks if kind[0].gpu), key=lambda kind: -kind[1])[:MOST_KINDS]
        self._set(layout, [ask for ask, _ in asks], [weight for _, weight in asks])

    def _set(self, layout: Layout, asks: Sequence[Ask], weights: Sequence[float]) -> None:
        self.weights: Floats = np.array(weights, np.float64) / max(sum(weights), 1e-12)
        self.gpu: Ints = np.array([ask.gpu for ask in asks], np.int64)
        needs = np.where(self.gpu % MILLI == 0, MILLI, self.gpu)
        self.needs, self.of_need = np.unique(needs, return_inverse=True)
        self.whole: Ints = np.where(self.gpu % MILLI == 0, self.gpu // MILLI, 0)
        n = len(layout.nodes)
        self.allowed: Bools = np.array([ask.allowed for ask in asks], np.bool_).reshape(len(asks), n).T
        self.others = [i for i, name in enumerate(layout.names) if name != GPU]
        amounts = np.array([ask.amounts for ask in asks], np.int64).reshape(len(asks), len(layout.names))
        self.amounts: Ints = amounts[:, self.others]

    def stranded(self, free: Ints, devices: Ints) -> Floats:
        """Return the thousandths of GPU that lack the mix's mean of some other resource, for free_CR and devices_CG."""
        total = devices.sum(axis=1).astype(np.float64)
        able = total.copy()
        for column, per_gpu in self.per_gpu:
            able = np.minimum(able, np.maximum(free[:, column], 0) / per_gpu)
        lacking: Floats = total - able
        return lacking

    def unusable(self, nodes: Ints, free: Ints, devices: Ints) -> Floats:
        """Return the thousandths of GPU that the mix could not use, for nodes_C with free_CR and devices_CG."""
        total = devices.sum(axis=1)
        if not len(self.weights):
            return np.zeros(len(nodes))
        fits = self.allowed[nodes]
        for i, column in enumerate(self.others):
            if self.amounts[:, i].any():
                fits &= free[:, column, None] >= self.amounts[None, :, i]
        largest, n_whole = devices.max(axis=1), (devices == MILLI).sum(axis=1)
        fits &= (largest[:, None] >= self.gpu) | (self.whole > 0)
        fits &= n_whole[:, None] >= self.whole
        small = np.stack([(devices * (devices < need)).sum(axis=1) for need in self.needs], axis=1)
        usable = (total[:, None] - small)[:, self.of_need]
        return np.asarray(total - (fits * usable) @ self.weights, np.float64)


def expected_mix(problem: Problem) -> tuple[tuple[Bundle, float], ...]:
    """Return what is expected: what the problem says, or else the bundles that wait and run."""
    if problem.expected:
        return problem.expected
    counts: dict[Bundle, float] = {}
    for demand in [*problem.pending, *(running.demand for running in problem.running)]:
        for bundle in demand.bundles:
            counts[bundle] = counts.get(bundle, 0.0) + 1.0
    return tuple(counts.items())


def options(floor: Floor, ask: Ask, able: Bools) -> tuple[Ints, Ints, Ints, Ints]:
    """Return every way to put a bundle on a node: nodes_C, their first GPU_C (-1: none), free_CR and devices_CG after.

    For a part of a GPU each GPU with another free part is a way of its own.
    """
    at = np.flatnonzero(able)
    if not ask.gpu:
        return at, np.full(len(at), -1), floor.free[at] - ask.amounts, floor.devices[at]
    devices = floor.devices[at]
    if ask.whole:
        free = devices == MILLI
        taken = free & (free.cumsum(axis=1) <= ask.whole)
        return at, taken.argmax(axis=1), floor.free[at] - ask.amounts, np.where(taken, 0, devices)
    room = devices >= ask.gpu
    for device in range(1, devices.shape[1]):
        room[:, device] &= (devices[:, :device] != devices[:, device, None]).all(axis=1)
    rows, device_of = np.nonzero(room)
    after = devices[rows]
    after[np.arange(len(rows)), device_of] -= ask.gpu
    return at[rows], device_of, floor.free[at[rows]] - ask.amounts, after
