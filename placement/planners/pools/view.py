"""The cluster in numbers: what is free on each node, pools of nodes that are alike for selectors, blocks per pool.

Theory of operation. Nodes that accept the same selectors and have the same accelerators form a pool. In a pool, what
is free on a node is counted in whole units (GPUs, or CPUs where it has none) and cut into blocks of 1, 2, 4, .. units
as a buddy allocator would: for sizes that divide one another, a set of bundles fits exactly if it fits the blocks.
Blocks of the largest size that stand in one rack form blocks of 2, 4, .. nodes in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from placement.model import ACCELERATOR_KEY, MILLI, NodeId, NodeState, Problem, Resources, Selector
from placement.model.resources import BYTE_RESOURCES
from placement.planners.pools.facts import Facts
from placement.throughput import speed_on

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Pool:
    """Nodes that are alike: which, counted in which unit, up to which block size in one node.

    Attributes
    ----------
    nodes : array of int, shape (n,)
        Indices of its nodes.
    unit : int
        Index of the resource that is counted.
    top : int
        The largest power of two of units that some node has; blocks in a node are 1, 2, .., top.
    most : int
        The most units that a node has.
    """

    nodes: Ints
    unit: int
    top: int
    most: int
    sample: int


@dataclass(frozen=True, slots=True)
class Need:
    """What one bundle takes: amounts by the view's resources, and whole GPUs or CPUs, rounded up."""

    resources: Resources
    amounts: tuple[int, ...]
    fraction: int
    possible: bool


class View:
    """One problem's nodes.

    Attributes
    ----------
    names : tuple of str
        Resources that pending work asks for, GPU and CPU always among them, at GPU = 0 and CPU = 1.
    have, free : list of list of int, shape (nodes, names)
        What nodes have in all, and what is free now; closed nodes have nothing free.
    scale : tuple of float
        From amounts to the numbers of the programme: GiB of memory, whole ones of all else.
    """

    def __init__(self, problem: Problem, facts: Sequence[Facts]) -> None:
        self.problem = problem
        self.index: dict[NodeId, int] = {node.id: i for i, node in enumerate(problem.nodes)}
        asked = {bundle.resources: None for fact in facts for form in fact.forms for bundle in form.kinds}
        more = sorted({name for resources in asked for name in resources} - {"GPU", "CPU"})
        self.names = ("GPU", "CPU", *more)
        self.scale = tuple(2.0**-30 if name in BYTE_RESOURCES else 1.0 / MILLI for name in self.names)
        self.open = [node.state is NodeState.READY for node in problem.nodes]
        self._close_reserved()
        self.have, self.free = self._room()
        self.fractions: dict[int, list[int]] = {}
        self.needs: dict[Resources, Need] = {}
        self._take_what_runs()
        self.selectors: dict[Selector, int] = {}
        for fact in facts:
            if fact.simple:
                for form in fact.forms:
                    for bundle in form.kinds:
                        self.selectors.setdefault(bundle.selector, len(self.selectors))
        self.pools, self.pool_of, self.accepts = self._pools(facts)
        self._domains: dict[str, tuple[Ints, int]] = {}

    def _close_reserved(self) -> None:
        """Keep columns off nodes that are reserved or will be: others place work there, which know for how long."""
        for reservation in self.problem.reservations:
            if reservation.ends_s > self.problem.now_s:
                for node in reservation.nodes:
                    if node in self.index:
                        self.open[self.index[node]] = False

    def _room(self) -> tuple[list[list[int]], list[list[int]]]:
        known: dict[int, list[int]] = {}
        have, free = [], []
        for i, node in enumerate(self.problem.nodes):
            amounts = known.get(id(node.resources))
            if amounts is None:
                has = dict(node.resources.items())
                amounts = known[id(node.resources)] = [has.get(name, 0) for name in self.names]
            have.append(amounts)
            free.append(list(amounts) if self.open[i] else [0] * len(amounts))
        return have, free

    def need(self, resources: Resources) -> Need:
        """Return what a bundle takes, worked out once."""
        known = self.needs.get(resources)
        if known is None:
            gpu = resources.get("GPU")
            fraction = gpu % MILLI
            known = Need(
                resources, tuple(resources.get(name) for name in self.names), fraction, not fraction or gpu < MILLI
            )
            self.needs[resources] = known
        return known

    def _take_what_runs(self) -> None:
        index, free, is_open = self.index, self.free, self.open
        known: dict[int, tuple[Resources, tuple[tuple[int, int], ...], int]] = {}
        place = {name: i for i, name in enumerate(self.names)}

        def take(at: int, resources: Resources) -> None:
            entry = known.get(id(resources))
            if entry is None:
                parts = tuple((place[name], amount) for name, amount in resources.items() if name in place)
                entry = known[id(resources)] = (resources, parts, resources.get("GPU") % MILLI)
            room = free[at]
            for name, amount in entry[1]:
                room[name] -= amount
            if entry[2]:
                self.fractions.setdefault(at, []).append(entry[2])

        for node, amounts in self.problem.foreign.items():
            if node in index and is_open[index[node]]:
                take(index[node], amounts)
        for running in self.problem.running:
            for bundle, node in zip(running.demand.bundles, running.nodes, strict=False):
                at = index.get(node, -1)
                if at >= 0 and is_open[at]:
                    take(at, bundle.resources)

    # -- pools ---------------------------------------------------------------------------------------------------

    def _pools(self, facts: Sequence[Facts]) -> tuple[list[Pool], list[int], list[tuple[bool, ...]]]:
        """Return the pools, each node's pool (-1: closed), and which selectors each pool accepts."""
        keys = sorted({r.key for selector in self.selectors for r in selector.requirements})
        speeds = sorted({name for fact in facts for name, _ in fact.demand.speed})
        keys = sorted({*keys, *([ACCELERATOR_KEY] if speeds else [])})
        members: dict[tuple[object, ...], list[int]] = {}
        for i, node in enumerate(self.problem.nodes):
            if self.open[i]:
                members.setdefault((self.have[i][0] > 0, *[node.label(key) for key in keys]), []).append(i)
        merged: dict[tuple[object, ...], list[int]] = {}
        accepted: dict[tuple[object, ...], tuple[bool, ...]] = {}
        for nodes in members.values():
            node = self.problem.nodes[nodes[0]]
            accepts = tuple(selector.accepts(node) for selector in self.selectors)
            speed = node.label(ACCELERATOR_KEY) if speeds else None
            same = (self.have[nodes[0]][0] > 0, accepts, speed if speed in speeds else None)
            merged.setdefault(same, []).extend(nodes)
            accepted[same] = accepts
        pools: list[Pool] = []
        pool_of = [-1] * len(self.problem.nodes)
        for nodes in merged.values():
            nodes.sort()
            unit = 0 if self.have[nodes[0]][0] > 0 else 1
            most = max(self.have[i][unit] for i in nodes) // MILLI
            top = 1 << (most.bit_length() - 1) if most else 0
            for i in nodes:
                pool_of[i] = len(pools)
            pools.append(Pool(np.array(nodes, dtype=np.int64), unit, top, most, nodes[0]))
        return pools, pool_of, list(accepted.values())

    def units(self, pool: Pool, need: Need) -> int:
        """Return the units that a bundle takes in a pool, rounded up."""
        return -(-need.amounts[pool.unit] // MILLI)

    def speed(self, fact: Facts, pool: Pool) -> float:
        return speed_on(fact.demand, self.problem.nodes[pool.sample]) if fact.demand.speed else 1.0

    def free_units(self, pool: Pool) -> Ints:
        """Return the whole units free on each node of a pool; shape (nodes of the pool,)."""
        return np.array([max(0, self.free[i][pool.unit]) // MILLI for i in pool.nodes], dtype=np.int64)

    def domains(self, key: str) -> tuple[Ints, int]:
        """Return for each node the number of its value of a label, -1 where it has none, and how many there are."""
        known = self._domains.get(key)
        if known is None:
            values: dict[str, int] = {}
            out = np.full(len(self.problem.nodes), -1, dtype=np.int64)
            for i, node in enumerate(self.problem.nodes):
                value = node.label(key)
                if value is not None:
                    out[i] = values.setdefault(value, len(values))
            known = self._domains[key] = (out, len(values))
        return known


def digits(count: int, top: int) -> list[int]:
    """Return how many blocks of 1, 2, 4, .., ``top`` one count is made of."""
    levels = top.bit_length()
    return [count >> level & 1 for level in range(levels - 1)] + [count // top] if levels else []


def blocks(counts: Ints, top: int) -> Ints:
    """Return how many blocks of 1, 2, 4, .., ``top`` each count is made of; shape (levels, counts)."""
    levels = top.bit_length()
    out = np.zeros((levels, len(counts)), dtype=np.int64)
    if not levels:
        return out
    out[-1] = counts // top
    rest = counts % top
    for level in range(levels - 1):
        out[level] = (rest >> level) & 1
    return out
