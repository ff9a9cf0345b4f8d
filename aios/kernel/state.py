"""What the control plane believes: a fold over the log, and the table of allowed transitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from immutables import Map

from aios.kernel.events import (
    Artefact,
    Limits,
    NodeQuarantined,
    Outcome,
    PlanAdopted,
    Published,
    VersionTagged,
    Waits,
    Work,
    WorkloadId,
)
from placement.model import Demand, Node, NodeId, Policy, Reservation, Tenant, TenantId


class Status(Enum):
    """The closed set of states of a workload."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"  # suspended: waits until it is resumed
    PREEMPTED = "PREEMPTED"  # yielded; waits to go on from its checkpoint
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"

    @property
    def over(self) -> bool:
        return self in (Status.SUCCEEDED, Status.FAILED, Status.STOPPED)

    @property
    def active(self) -> bool:
        """Whether an attempt holds resources, or is about to."""
        return self in (Status.STARTING, Status.RUNNING, Status.STOPPING)


_ENDS = frozenset({Status.SUCCEEDED, Status.FAILED, Status.STOPPED})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.STARTING, Status.PAUSED}) | _ENDS,  # a result may be reused
    Status.STARTING: frozenset({Status.RUNNING, Status.STOPPING, Status.PAUSED, Status.PREEMPTED, Status.QUEUED})
    | _ENDS,
    Status.RUNNING: frozenset({Status.STOPPING, Status.PAUSED, Status.PREEMPTED, Status.QUEUED}) | _ENDS,
    Status.PAUSED: frozenset({Status.QUEUED, Status.PREEMPTED, Status.FAILED, Status.STOPPED}),
    Status.PREEMPTED: frozenset({Status.STARTING, Status.PAUSED, Status.FAILED, Status.STOPPED}),
    Status.STOPPING: frozenset({Status.PAUSED, Status.PREEMPTED, Status.QUEUED}) | _ENDS,
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.STOPPED: frozenset(),
}
"""Which status may follow which; what is over stays over. An end may be seen before the start was."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a workload under one grant."""

    number: int
    fence: int
    nodes: tuple[NodeId, ...]
    granted_s: float
    plan_id: int = 0
    why: str = ""
    form: int = 0
    started_s: float | None = None
    ready_s: float | None = None
    ended_s: float | None = None
    actual: tuple[NodeId, ...] = ()
    outcome: Outcome | None = None
    error: str = ""
    exit_code: int | None = None
    metrics: str = "{}"
    resumed_step: int = 0
    fell_back: str = ""  # why it began before its workload's latest checkpoint
    preempted_for: tuple[WorkloadId, ...] = ()
    preempt_cause: str = ""
    deadline_s: float | None = None  # when it is killed, once it has been asked to end
    resizing_to: int | None = None  # the size that was ordered in place and not seen yet
    resize_by_s: float | None = None
    first_size: int = 0  # bundles at its launch, where that was changed in place
    resized_from: int = 0  # bundles before the latest change in place
    since_s: float | None = None  # since when it holds these nodes, where that was changed in place

    @property
    def held_from_s(self) -> float:
        """Since when it holds what it holds now."""
        return self.granted_s if self.since_s is None else self.since_s


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload and everything that happened to it."""

    work: Work
    submitted_s: float
    status: Status = Status.QUEUED
    reason: str = ""
    message: str = ""
    would_run_if: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    checkpoint: str = ""
    step: int = 0
    checkpoint_s: float | None = None
    queued_s: float = 0.0  # since when it waits (again)
    waited_s: float = 0.0  # sum over earlier waits
    ran_s: float = 0.0  # sum over ended attempts
    served_s: float = 0.0  # work that ended attempts have saved, in seconds of the whole gang at speed 1
    attained: float = 0.0  # accelerator-seconds (else CPU-seconds) that ended attempts have held
    not_before_s: float = 0.0
    stop_requested_s: float | None = None
    suspended_s: float | None = None  # since when it shall not run
    finished_s: float | None = None
    exit_code: int | None = None
    failures: int = 0  # attempts that ended FAILED or LOST; preemptions do not count
    ready: bool = False
    artefacts: tuple[Artefact, ...] = ()
    before_checkpoint: str = ""  # the one before, for when the latest cannot be read
    before_step: int = 0
    ending: str = ""  # why it ends though nobody asked: TIME_LIMIT or DEADLINE_MISSED
    late: str = ""  # a sentence, once its deadline has passed or cannot be met
    overdue: bool = False  # its deadline has passed
    reused: WorkloadId | None = None  # whose result stands for its own

    @property
    def id(self) -> WorkloadId:
        return self.work.id

    @property
    def needs(self) -> tuple[WorkloadId, ...]:
        return self.work.needs

    @property
    def pipeline(self) -> str | None:
        return self.work.pipeline

    def held(self, attempt: Attempt) -> Demand:
        """Return what an attempt holds, as the demand in its form."""
        return self.work.demand.form(attempt.form)

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def current(self) -> Attempt | None:
        """The attempt that has not ended: it holds its nodes."""
        return self.attempts[-1] if self.attempts and self.attempts[-1].ended_s is None else None


Past = tuple[float, tuple[tuple[str, float], ...]]
"""Resource-seconds used, decayed up to a moment: the moment, and the amounts by resource in Ray's units."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended that was on a node."""

    at_s: float
    workload: WorkloadId
    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What stays in the state of a workload that was retired; all else about it is in the log.

    Attributes
    ----------
    content : str
        Of its work: the same name and content is the same workload, for ever.
    outputs : tuple of str
        The references of the datasets and models that it was to make.
    read : tuple of (reference, reference)
        Inputs that no workload made that it needs: as they were named, and the exact version that was read.
    reports : tuple of Artefact
        What it said about versions: part of their lineage.
    """

    id: WorkloadId
    name: str
    kind: str
    tenant: str
    content: str
    status: Status
    submitted_s: float
    finished_s: float | None
    priority: int = 0
    reason: str = ""
    pipeline: str | None = None
    needs: tuple[WorkloadId, ...] = ()
    reused: WorkloadId | None = None
    service: bool = False
    user: str = ""
    exit_code: int | None = None
    waited_s: float = 0.0
    ran_s: float = 0.0
    n_attempts: int = 0
    outputs: tuple[str, ...] = ()
    read: tuple[tuple[str, str], ...] = ()
    reports: tuple[Artefact, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """The fold. ``version`` counts events; ``epoch`` is the current writer's."""

    version: int = 0
    epoch: int = 0
    fence: int = 0  # the highest ever given
    plan_id: int = 0
    tenants: Map[TenantId, Tenant] = field(default_factory=Map)
    workloads: Map[WorkloadId, Workload] = field(default_factory=Map)  # that live or ended lately
    retired: Map[WorkloadId, Tombstone] = field(default_factory=Map)  # that ended longer ago
    live: tuple[WorkloadId, ...] = ()  # not over, in order of submission
    names: Map[str, WorkloadId] = field(default_factory=Map)  # newest workload of a name
    keys: Map[str, tuple[WorkloadId, ...]] = field(default_factory=Map)  # idempotency key -> ids
    nodes: Map[NodeId, Node] = field(default_factory=Map)
    drains: Map[NodeId, float | None] = field(default_factory=Map)  # drained by hand, with the grace
    node_names: Map[NodeId, str] = field(default_factory=Map)
    down_s: Map[NodeId, float] = field(default_factory=Map)  # since when a node is DOWN
    versions: Map[str, tuple[Published, ...]] = field(default_factory=Map)  # "dataset://name" -> versions in order
    tags: Map[str, tuple[VersionTagged, ...]] = field(default_factory=Map)  # by the same key, in order
    removed: Map[str, frozenset[int]] = field(default_factory=Map)  # out of use
    plan: PlanAdopted | None = None
    policy: Policy | None = None  # None: nobody has applied one
    reservations: Map[str, Reservation] = field(default_factory=Map)
    limits: Map[TenantId, Limits] = field(default_factory=Map)
    paused: Map[TenantId, str] = field(default_factory=Map)  # tenants in which nothing starts, with who said so
    mishaps: Map[NodeId, tuple[Ended, ...]] = field(default_factory=Map)  # how attempts ended lately on each node
    quarantines: Map[str, NodeQuarantined] = field(default_factory=Map)  # by name of the node
    distrusted: Map[str, NodeQuarantined] = field(default_factory=Map)  # the latest that is over, and when that was
    usage: Map[TenantId, Past] = field(default_factory=Map)  # of attempts that have ended
    waits: Map[WorkloadId, Waits] = field(default_factory=Map)


TIME_LIMIT = "TimeLimit"
"""The reason of what has run for as long as it may."""

DEADLINE_MISSED = "DeadlineMissed"
"""The reason of what was to stop at its deadline."""

DEPENDENCY_PENDING = "DependencyPending"
"""The reason of what waits for its inputs and not for room."""


def waited_s(workload: Workload, now_s: float) -> float:
    """Return how long a workload has waited for room; the time in which its inputs were made does not count."""
    waits = workload.status in (Status.QUEUED, Status.PREEMPTED) and workload.reason != DEPENDENCY_PENDING
    return workload.waited_s + (max(0.0, now_s - workload.queued_s) if waits else 0.0)
