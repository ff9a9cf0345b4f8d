"""The planner's answer for the whole cluster, with its proof and its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from placement.model.cluster import NodeId
from placement.model.demand import DemandId, TenantId


class Reason(Enum):
    """Why a workload waits; the first that explains it, in this order."""

    UNSATISFIABLE = "unsatisfiable"
    SELECTOR = "selector"
    TOPOLOGY = "topology"
    DRAINED = "drained"
    QUOTA = "quota"
    PRIORITY = "priority"
    FRAGMENTATION = "fragmentation"
    CAPACITY = "capacity"


class Cause(Enum):
    """Why running work is displaced."""

    PRIORITY = "priority"
    RECLAIM = "reclaim"
    FAIRNESS = "fairness"
    NODE = "node"
    TIME_SLICE = "time_slice"


@dataclass(frozen=True, slots=True)
class Grant:
    """A demand's part of the plan: bundle i on ``nodes[i]``, in the demand's form number ``form``."""

    demand: DemandId
    nodes: tuple[NodeId, ...]
    form: int = 0


@dataclass(frozen=True, slots=True)
class Preemption:
    """A running workload that stops, for whom, and under which rule."""

    demand: DemandId
    cause: Cause
    beneficiaries: tuple[DemandId, ...] = ()

    def __str__(self) -> str:
        return f"{self.cause.value} of {', '.join(self.beneficiaries) or 'the cluster'}"


@dataclass(frozen=True, slots=True)
class Resize:
    """An elastic running workload that keeps its first ``to`` bundles or grows to ``to``."""

    demand: DemandId
    before: int
    to: int
    nodes: tuple[NodeId, ...]
    """Nodes of all ``to`` bundles; running ones stay where they are."""
    cause: Cause | None = None
    """Why it shrinks, as for a preemption; None where it grows."""
    beneficiaries: tuple[DemandId, ...] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """Running work that is stopped and started again elsewhere at once, so that others fit or as its turn is over.

    Its size stays.
    """

    demand: DemandId
    nodes: tuple[NodeId, ...]
    """The new node of each bundle."""
    beneficiaries: tuple[DemandId, ...] = ()
    cost_s: float = 0.0
    """Work that is done again, in seconds times bundles moved."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a workload waits: a code, a sentence with numbers, and what would let it run."""

    reason: Reason
    detail: str
    would_run_if: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """A tenant's share of the cluster (dominant share, 0..1), entitled and used under the plan."""

    entitled: float
    used: float


@dataclass(frozen=True, slots=True)
class SolveStats:
    """How the answer was reached: terms of the objective, bound, gap and time.

    ``status``: optimal, feasible, greedy (no solver), or the solver's word. ``gap`` is relative, 0..1.
    """

    planner: str = "greedy"
    status: str = "greedy"
    objective: float = 0.0
    bound: float = 0.0
    gap: float = 0.0
    wall_s: float = 0.0
    terms: tuple[tuple[str, float], ...] = ()
    fallbacks: tuple[str, ...] = ()
    """Rungs of the ladder that gave no answer, each with its reason."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Grants for pending work, and what has to yield for them; what is not named stays as it is."""

    grants: tuple[Grant, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    resizes: tuple[Resize, ...] = ()
    waiting: Mapping[DemandId, Waiting] = field(default_factory=dict)
    shares: Mapping[TenantId, Share] = field(default_factory=dict)
    stats: SolveStats = SolveStats()
    moves: tuple[Move, ...] = ()
