"""Plans: the one in force, and what would become of what was not submitted."""

from __future__ import annotations

from dataclasses import dataclass, field

from aios.views.schema import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ShareView:
    tenant: str
    entitled: float
    used: float


@dataclass(frozen=True, slots=True)
class PlanView:
    """An adopted plan and its proof: terms of the objective, bound and relative gap (0..1)."""

    plan_id: int = 0
    at_s: float | None = None
    planner: str = ""
    status: str = "none"
    objective: float = 0.0
    bound: float = 0.0
    gap: float = 0.0
    wall_s: float = 0.0
    terms: dict[str, float] = field(default_factory=dict)
    fallbacks: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    shares: tuple[ShareView, ...] = ()
    running: dict[str, tuple[str, ...]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    yields: dict[str, str] = field(default_factory=dict)
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Verdict:
    """What would become of one workload if it were submitted now."""

    name: str
    kind: str
    tenant: str
    priority: int
    demand: str
    verdict: str
    starts_now: bool = False
    nodes: tuple[str, ...] = ()
    reason: str = ""
    displaces: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DryRunView:
    """Demand and plan of documents that were not submitted."""

    workloads: tuple[Verdict, ...] = ()
    tenants: tuple[str, ...] = ()
    plan: PlanView = field(default_factory=PlanView)
    schemaVersion: int = SCHEMA_VERSION
