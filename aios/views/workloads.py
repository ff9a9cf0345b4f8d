"""Workloads as people see them: what became of them, what they print, why they wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aios.views.artefacts import ArtefactView
from aios.views.schema import SCHEMA_VERSION


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
