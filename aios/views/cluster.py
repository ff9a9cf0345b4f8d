"""The cluster: its nodes, tenants, rules, books and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aios.views.plans import PlanView
from aios.views.schema import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ReservationView:
    """Nodes that are kept for some tenants, or for nobody, for a time."""

    name: str
    nodes: tuple[str, ...] = ()
    starts_s: float = 0.0
    ends_s: float = 0.0
    tenants: tuple[str, ...] = ()
    active: bool = False


@dataclass(frozen=True, slots=True)
class RulesView:
    """What governs the cluster beside its tenants: the policy in force and the reservations."""

    policy: dict[str, Any] = field(default_factory=dict)
    reservations: tuple[ReservationView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of the books: amounts are resource-hours (memory: bytes times hours).

    ``wasted_by_preemption`` and ``wasted_by_failure`` are what was used and had to be done again.
    """

    name: str
    workloads: int = 0
    attempts: int = 0
    asked: dict[str, float] = field(default_factory=dict)
    granted: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    wasted_by_preemption: dict[str, float] = field(default_factory=dict)
    wasted_by_failure: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsageView:
    """Who used what between two moments."""

    by: str
    since_s: float | None = None
    until_s: float = 0.0
    lines: tuple[UsageLine, ...] = ()
    total: UsageLine = field(default_factory=lambda: UsageLine("total"))
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node: what it has, what AIOS has granted there, and to whom."""

    id: str
    name: str
    state: str
    labels: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    workloads: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class NodeList:
    nodes: tuple[NodeView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class TenantView:
    """A tenant with its share: entitled and used are parts of the cluster, 0..1."""

    name: str
    parent: str | None = None
    weight: float = 1.0
    quota: dict[str, str] | None = None
    borrow_limit: dict[str, str] | None = None
    lend_limit: dict[str, str] | None = None
    limit: dict[str, str] | None = None
    used: dict[str, str] = field(default_factory=dict)
    entitled_share: float | None = None
    used_share: float | None = None
    running: int = 0
    waiting: int = 0
    paused: bool = False
    paused_by: str = ""
    max_running: int | None = None
    max_pending: int | None = None
    max_running_per_user: int | None = None
    max_pending_per_user: int | None = None
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class TenantList:
    tenants: tuple[TenantView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class EventView:
    seq: int
    type: str
    at_s: float
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventList:
    events: tuple[EventView, ...] = ()
    last: int = 0
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class PackageView:
    uri: str
    size: int
    existing: bool = False
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class StatusView:
    """The control plane and its cluster at a glance."""

    version: str
    epoch: int
    state_version: int
    now_s: float
    nodes_ready: int = 0
    nodes_total: int = 0
    resources: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, int] = field(default_factory=dict)
    tenants: int = 0
    plan: PlanView = field(default_factory=PlanView)
    quarantined: dict[str, str] = field(default_factory=dict)
    paused: tuple[str, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    schemaVersion: int = SCHEMA_VERSION
