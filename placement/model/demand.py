"""What the planner is asked for: a gang of bundles, and work that already runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

from placement.model.cluster import NodeId, Selector
from placement.model.resources import Resources, total

DemandId = NewType("DemandId", str)
TenantId = NewType("TenantId", str)

MOST_BUNDLES = 10_000


@dataclass(frozen=True, slots=True)
class Bundle:
    """One placement-group bundle: resources on one node that the selector accepts."""

    resources: Resources
    selector: Selector = field(default_factory=Selector)


@dataclass(frozen=True, slots=True)
class Topology:
    """Bundles together (pack) or apart (spread) at one label level.

    ``pack``: all on nodes with one value of ``key``. ``spread``: no two on nodes with the same value. ``required``
    or else preferred, which never costs an admission.
    """

    kind: str
    key: str
    required: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("pack", "spread"):
            raise ValueError(f"topology {self.kind!r} is not one of pack, spread")


@dataclass(frozen=True, slots=True)
class Demand:
    """A gang that starts with at least ``min_bundles`` of its bundles, all placed, or not at all.

    Attributes
    ----------
    bundles : tuple of Bundle
        Expanded, in rank order; an elastic gang that got k bundles has the first k of them.
    submitted_s, runtime_s, deadline_s : float
        Seconds on the caller's clock; ``runtime_s`` is an estimate from the start, None when unknown.
    speed : tuple of (accelerator type, factor)
        Relative throughput by ``ray.io/accelerator-type``; 1 where it is not named.
    """

    id: DemandId
    tenant: TenantId
    bundles: tuple[Bundle, ...]
    priority: int = 0
    min_bundles: int = field(default=-1)
    topology: Topology | None = None
    submitted_s: float = 0.0
    runtime_s: float | None = None
    deadline_s: float | None = None
    speed: tuple[tuple[str, float], ...] = ()
    preemptible: bool = True

    def __post_init__(self) -> None:
        n = len(self.bundles)
        if not 1 <= n <= MOST_BUNDLES:
            raise ValueError(f"{self.id}: a gang has 1 to {MOST_BUNDLES} bundles, not {n}")
        if self.min_bundles == -1:
            object.__setattr__(self, "min_bundles", n)
        if not 1 <= self.min_bundles <= n:
            raise ValueError(f"{self.id}: min_bundles is {self.min_bundles}, must be 1 to {n}")

    def resources(self, n_bundles: int | None = None) -> Resources:
        """Return the sum over the first ``n_bundles`` (all by default)."""
        return total(bundle.resources for bundle in self.bundles[:n_bundles])


@dataclass(frozen=True, slots=True)
class Running:
    """Work that holds its nodes now: bundle i on ``nodes[i]``."""

    demand: Demand
    nodes: tuple[NodeId, ...]
    started_s: float = 0.0
    checkpointed_s: float | None = None
    """When its progress was last saved; None: never, so all of it would be lost."""

    @property
    def resources(self) -> Resources:
        return self.demand.resources(len(self.nodes))
