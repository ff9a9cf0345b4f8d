"""Facts about a workload between its attempts: what is asked of it, why it waits, how it ends."""

from __future__ import annotations

from dataclasses import dataclass

from aios.kernel.events.work import Work, WorkloadId
from placement.model import NodeId


@dataclass(frozen=True, slots=True)
class Submitted:
    """Work was accepted; ``key`` is the client's idempotency key."""

    at_s: float
    work: Work
    key: str = ""


@dataclass(frozen=True, slots=True)
class StopRequested:
    at_s: float
    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class SuspendRequested:
    """A workload shall not run until it is resumed; its progress stays."""

    at_s: float
    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    at_s: float
    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class Waits:
    """Why a workload waits, whenever that changes.

    ``nodes``, where there are any, are kept for it (bundle i on ``nodes[i]``) until those who yield there are gone;
    plan ``plan_id`` gave them. Work that still runs has nodes kept where it moves or changes its size.
    """

    at_s: float
    workload: WorkloadId
    reason: str
    detail: str
    would_run_if: tuple[str, ...] = ()
    nodes: tuple[NodeId, ...] = ()
    plan_id: int = 0
    form: int = 0  # which of the demand's forms the kept nodes are for


@dataclass(frozen=True, slots=True)
class Reused:
    """A stage need not run: ``source`` has done the same with the same code, parameters and inputs."""

    at_s: float
    workload: WorkloadId
    source: WorkloadId


@dataclass(frozen=True, slots=True)
class DeadlineMissed:
    """A deadline has passed, or (``expected_s``: when it would be done) can no longer be met.

    Where it is to ``stop``, a running attempt has until ``until_s`` to save its progress.
    """

    at_s: float
    workload: WorkloadId
    deadline_s: float
    expected_s: float | None = None
    stop: bool = False
    until_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Requeued:
    """The workload waits again; not before ``not_before_s``."""

    at_s: float
    workload: WorkloadId
    why: str
    not_before_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Finished:
    """The workload is over: ``status`` is SUCCEEDED, FAILED or STOPPED."""

    at_s: float
    workload: WorkloadId
    status: str
    reason: str = ""
    message: str = ""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Retired:
    """Workloads that ended long ago leave the state: what is left there says who they were, the log has the rest."""

    at_s: float
    workloads: tuple[WorkloadId, ...]
