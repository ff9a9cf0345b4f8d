"""What the control plane shows: frozen types that go over HTTP as JSON and come back the same.

Names are snake_case; times are seconds on the control plane's clock. Fields are only added, with defaults; what a
reader does not know it leaves out. ``schemaVersion`` changes when a field changes its meaning.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

SCHEMA_VERSION = 1

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class ArtefactView:
    """A dataset version, a model version, an endpoint or a report."""

    type: str
    name: str
    uri: str
    version: int | None = None
    digest: str = ""
    workload: str = ""
    attempt: int = 0
    at_s: float = 0.0
    inputs: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    origin: str | None = None
    tags: tuple[str, ...] = ()
    by: str = ""
    removed: bool = False


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A source, a version, an endpoint or a report; ``id`` is its exact reference."""

    id: str
    type: str
    detail: str = ""
    workload: str = ""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LineageView:
    """What a version was made from, back to the sources, and what was made from it; edges go with the data."""

    root: str
    nodes: tuple[LineageNode, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One run of a workload: where it was planned, where it really ran, how it ended."""

    number: int
    planned_nodes: tuple[str, ...] = ()
    actual_nodes: tuple[str, ...] = ()
    outcome: str | None = None
    granted_s: float = 0.0
    started_s: float | None = None
    ended_s: float | None = None
    exit_code: int | None = None
    error: str = ""
    detail: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    resumed_step: int = 0
    why: str = ""
    plan_id: int = 0
    preempted_for: tuple[str, ...] = ()
    preempt_cause: str = ""
    fell_back: str = ""  # why it began before the latest checkpoint


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A workload as people see it. ``message`` is a sentence with numbers, ``next`` the next useful command."""

    id: str
    name: str
    kind: str
    tenant: str
    priority: int
    status: str
    reason: str = ""
    message: str = ""
    next: str = ""
    would_run_if: tuple[str, ...] = ()
    pipeline: str | None = None
    needs: tuple[str, ...] = ()
    service: bool = False
    ready: bool = False
    over: bool = False
    demand: str = ""
    planned_nodes: tuple[str, ...] = ()
    actual_nodes: tuple[str, ...] = ()
    attempts: tuple[AttemptView, ...] = ()
    submitted_s: float = 0.0
    finished_s: float | None = None
    waited_s: float = 0.0
    ran_s: float = 0.0
    exit_code: int | None = None
    error: str = ""
    detail: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    artefacts: tuple[ArtefactView, ...] = ()
    url: str | None = None
    checkpoint: str = ""
    checkpoint_step: int = 0
    user: str = ""
    time_limit_s: float | None = None
    deadline_s: float | None = None
    late: str = ""
    n_failed: int = 0
    n_lost: int = 0
    max_retries: int = 0
    max_attempts: int | None = None
    reused_from: str = ""
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class WorkloadList:
    workloads: tuple[WorkloadView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a submission; ``existing``: these workloads had been submitted before."""

    workloads: tuple[WorkloadView, ...] = ()
    existing: bool = False
    schemaVersion: int = SCHEMA_VERSION


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
class WaitView:
    """The answer of one long poll; ``seen`` goes into the next one."""

    done: bool
    seen: str
    workloads: tuple[WorkloadView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class LogsView:
    """A piece of an attempt's log. ``end``: the attempt is over and this is the last of it."""

    workload: str
    attempt: int
    text: str
    next_offset: int
    end: bool
    latest_attempt: int
    over: bool
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ExplainView:
    """Why a workload waits or runs where it does: the sentence, its evidence, what would change it, what to do."""

    id: str
    name: str
    status: str
    reason: str
    message: str
    evidence: tuple[str, ...] = ()
    would_run_if: tuple[str, ...] = ()
    next: str = ""


@dataclass(frozen=True, slots=True)
class ExplainList:
    explanations: tuple[ExplainView, ...] = ()
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


@dataclass(frozen=True, slots=True)
class ArtefactList:
    artefacts: tuple[ArtefactView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class AliasView:
    """An alias of a model: the version that has it, the one that had it before (0: none), since when and by whom."""

    model: str
    alias: str
    version: int
    before: int = 0
    at_s: float = 0.0
    by: str = ""


@dataclass(frozen=True, slots=True)
class AliasList:
    aliases: tuple[AliasView, ...] = ()
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


def to_json(view: Any) -> Any:
    """Return a view as JSON values."""
    if dataclasses.is_dataclass(view) and not isinstance(view, type):
        return {f.name: to_json(getattr(view, f.name)) for f in dataclasses.fields(view)}
    if isinstance(view, Mapping):
        return {str(key): to_json(value) for key, value in view.items()}
    if isinstance(view, (list, tuple)):
        return [to_json(item) for item in view]
    if isinstance(view, float) and not math.isfinite(view):
        return None
    return view


def from_json(type_: type[_T], data: Any) -> _T:
    """Build a view from JSON values; fields it does not know are left out, so that old clients read new servers."""
    made: _T = _build(type_, data)
    return made


def _build(hint: Any, data: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if data is None:
        return None
    if origin in (types.UnionType, typing.Union):
        return _build(next(arg for arg in args if arg is not type(None)), data)
    if origin is tuple:
        return tuple(_build(args[0], item) for item in data)
    if origin is dict:
        return {key: _build(args[1], value) for key, value in data.items()}
    if dataclasses.is_dataclass(hint):
        hints = _hints(typing.cast(type, hint))
        return typing.cast(Any, hint)(**{key: _build(hints[key], value) for key, value in data.items() if key in hints})
    return data


@cache
def _hints(type_: type) -> dict[str, Any]:
    return typing.get_type_hints(type_)
