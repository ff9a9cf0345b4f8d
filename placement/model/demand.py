"""What the planner is asked for: a gang of bundles, and work that already runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import inf, isfinite
from typing import NewType

from placement.model.cluster import NodeId, Selector
from placement.model.resources import Resources, refuse_amounts, total

DemandId = NewType("DemandId", str)
TenantId = NewType("TenantId", str)

MOST_BUNDLES = 10_000


@dataclass(frozen=True, slots=True)
class Bundle:
    """One placement-group bundle: resources on one node that the selector accepts."""

    resources: Resources
    selector: Selector = field(default_factory=Selector)

    def __post_init__(self) -> None:
        refuse_amounts("a bundle", self.resources.entries)


@dataclass(frozen=True, slots=True)
class Topology:
    """Bundles together (pack) or apart (spread) at one label level.

    ``required`` or else preferred, which never costs an admission.

    Attributes
    ----------
    kind : str
        ``pack``: all on nodes with one value of ``key``. ``spread``: no two on nodes with the same value.
    slice : int
        Of pack: bundles 0 .. slice - 1 on one value, the next ``slice`` on one value, and so on; 0: all on one.
    skew : int or None
        Of spread: the numbers of bundles on the key's values differ by at most so many. All values count that a
        ready node has which a bundle's selector accepts. None: no two bundles on one value.
    """

    kind: str
    key: str
    required: bool = False
    slice: int = 0
    skew: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("pack", "spread"):
            raise ValueError(f"topology {self.kind!r} is not one of pack, spread")
        if self.slice < 0 or (self.slice and self.kind != "pack"):
            raise ValueError(f"slice {self.slice}: only pack has slices, of 1 bundle or more")
        if self.skew is not None and (self.skew < 1 or self.kind != "spread"):
            raise ValueError(f"skew {self.skew}: only spread has a skew, of 1 or more")


@dataclass(frozen=True, slots=True)
class Shape:
    """Another form in which a demand may run: other bundles, and its throughput there relative to the first form."""

    bundles: tuple[Bundle, ...]
    min_bundles: int = -1
    throughput: float = 1.0

    def __post_init__(self) -> None:
        if self.min_bundles == -1:
            object.__setattr__(self, "min_bundles", len(self.bundles))
        if not 1 <= self.min_bundles <= len(self.bundles) <= MOST_BUNDLES:
            raise ValueError(f"a shape has 1 to {MOST_BUNDLES} bundles and a minimum among them")
        if not 0 < self.throughput < float("inf"):
            raise ValueError(f"the throughput of a shape is a positive number, not {self.throughput}")


@dataclass(frozen=True, slots=True)
class Demand:
    """A gang that starts with at least ``min_bundles`` of its bundles, all placed, or not at all.

    Attributes
    ----------
    bundles : tuple of Bundle
        Expanded, in rank order; an elastic gang that got k bundles has the first k of them.
    topologies : tuple of Topology
        Label levels on which its bundles are together or apart; all hold at once.
    submitted_s, runtime_s, deadline_s : float
        Seconds on the caller's clock; ``runtime_s`` is an estimate from the start, None when unknown.
    speed : tuple of (accelerator type, factor)
        Relative throughput by ``ray.io/accelerator-type``; 1 where it is not named.
    alternatives : tuple of Shape
        Other forms, the most wanted first; form 0 is ``bundles`` itself.
    scaling : tuple of (number of bundles, factor)
        Throughput of an elastic gang by its number of bundles, relative to all of them; linear where left out.
    near : tuple of NodeId
        Nodes that hold its inputs: preferred, never required.
    profile : str
        What it does to its neighbours, by the names of ``Policy.interference``; empty: nothing known.
    served_s : float
        Work done in earlier runs, in seconds of its first form at speed 1; ``runtime_s`` counts what is left.
    attained : float
        Dominant-resource seconds (accelerators, or else CPUs, times seconds) that it has received in earlier runs.
    """

    id: DemandId
    tenant: TenantId
    bundles: tuple[Bundle, ...]
    priority: int = 0
    min_bundles: int = field(default=-1)
    topologies: tuple[Topology, ...] = ()
    submitted_s: float = 0.0
    runtime_s: float | None = None
    deadline_s: float | None = None
    speed: tuple[tuple[str, float], ...] = ()
    preemptible: bool = True
    alternatives: tuple[Shape, ...] = ()
    scaling: tuple[tuple[int, float], ...] = ()
    near: tuple[NodeId, ...] = ()
    profile: str = ""
    served_s: float = 0.0
    attained: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.bundles)
        if not 1 <= n <= MOST_BUNDLES:
            raise ValueError(f"{self.id}: a gang has 1 to {MOST_BUNDLES} bundles, not {n}")
        if self.min_bundles == -1:
            object.__setattr__(self, "min_bundles", n)
        if not 1 <= self.min_bundles <= n:
            raise ValueError(f"{self.id}: min_bundles is {self.min_bundles}, must be 1 to {n}")
        self._refuse_odd_numbers()
        sizes = sorted({t.slice for t in self.topologies if t.slice})
        if any(large % small for small, large in pairwise(sizes)):
            raise ValueError(f"{self.id}: slices of {sizes}: each must be a multiple of the smaller ones")

    def _refuse_odd_numbers(self) -> None:
        """Raise ValueError for what nobody can reckon with."""
        if not (isfinite(self.submitted_s) and isfinite(self.served_s) and isfinite(self.attained)):
            raise ValueError(f"{self.id}: submitted_s, served_s and attained are finite numbers")
        if any(seconds is not None and seconds != seconds for seconds in (self.runtime_s, self.deadline_s)):
            raise ValueError(f"{self.id}: runtime_s and deadline_s are numbers, or None where they are unknown")
        if any(not 0 <= factor < inf for _, factor in (*self.speed, *self.scaling)):
            raise ValueError(f"{self.id}: factors of speed and scaling are finite and not negative")

    def form(self, number: int) -> Demand:
        """Return the demand as if form ``number`` were all that it asked for; form 0 is itself.

        Raises IndexError where it has no such form.
        """
        if number == 0:
            return self
        shape = self.alternatives[number - 1]
        return replace(self, bundles=shape.bundles, min_bundles=shape.min_bundles, alternatives=(), scaling=())

    def resources(self, n_bundles: int | None = None) -> Resources:
        """Return the sum over the first ``n_bundles`` (all by default)."""
        return total(bundle.resources for bundle in self.bundles[:n_bundles])


def counted(bundles: tuple[Bundle, ...]) -> tuple[tuple[Bundle, int], ...]:
    """Return like bundles with their number; quick where a gang is one bundle many times."""
    if bundles and bundles.count(bundles[0]) == len(bundles):
        return ((bundles[0], len(bundles)),)
    by_identity = {id(bundle): bundle for bundle in bundles}
    return tuple((by_identity[key], n) for key, n in Counter(map(id, bundles)).items())


@dataclass(frozen=True, slots=True)
class Running:
    """Work that holds its nodes now: bundle i on ``nodes[i]``."""

    demand: Demand
    nodes: tuple[NodeId, ...]
    started_s: float = 0.0
    checkpointed_s: float | None = None
    """When its progress was last saved; None: never, so all of it would be lost."""

    def __post_init__(self) -> None:
        if len(self.nodes) > len(self.demand.bundles):
            raise ValueError(
                f"{self.demand.id}: stands on {len(self.nodes)} nodes, has {len(self.demand.bundles)} bundles"
            )

    @property
    def resources(self) -> Resources:
        return self.demand.resources(len(self.nodes))
