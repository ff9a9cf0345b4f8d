"""Every fact that the control plane records; the state is a fold over them.

An event is written before anything is done about it. Fields are plain values and the planner's frozen types, so
that ``aios.store.codec`` can turn any of them into JSON and back. Old logs must still fold: fields are only added,
with defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from placement.model import Demand, Node, NodeId, Policy, Reservation, Tenant

WorkloadId = NewType("WorkloadId", str)


class Outcome(Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the user's code, or the engine on its behalf
    PREEMPTED = "preempted"  # it was asked to yield and did
    STOPPED = "stopped"  # a user asked for it
    LOST = "lost"  # its node or its supervisor went away
    OUT_OF_TIME = "out_of_time"  # it was told to end at its time limit or deadline


@dataclass(frozen=True, slots=True)
class Artefact:
    """A dataset version, a model version, an endpoint or a report that an attempt made."""

    type: str  # dataset | model | endpoint | report
    name: str
    uri: str
    digest: str = ""
    meta: str = "{}"  # JSON: rows, schema, scores, url, ...
    origin: str | None = None
    """The exact version that it was built on (``dataset://name@4``), empty: on none; None: it stands for itself."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was submitted: an immutable description, complete without the submitter.

    Attributes
    ----------
    demand : Demand
        As the engine derived it; its id is the workload's id.
    spec : str
        The validated spec as JSON, which the engine gets back.
    content : str
        SHA-256 of the spec: same name and same content is the same workload.
    needs : tuple of WorkloadId
        Workloads that must have succeeded before this one is planned.
    inputs, outputs : tuple of (role, reference)
        References are ``dataset://name[@version]`` and ``model://name[@version]``.
    service : bool
        Runs until it is stopped; counts as succeeded for those that need it once it is ready.
    estimate_s : float or None
        Run time on virtual time, and the planner's estimate.
    """

    id: WorkloadId
    name: str
    kind: str
    tenant: str
    priority: int
    demand: Demand
    spec: str
    content: str
    pipeline: str | None = None
    needs: tuple[WorkloadId, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    service: bool = False
    max_retries: int = 0
    grace_s: float = 30.0
    estimate_s: float | None = None
    trace: str = ""  # W3C traceparent of the submission
    time_limit_s: float | None = None  # of running, over all its attempts
    on_deadline: str = "warn"  # or stop
    max_attempts: int | None = None  # that fail or are lost
    user: str = ""
    cache: bool = False  # the result of an equal run may stand for it


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant, with all tenants below it, may have at once; None: no limit.

    ``time_limit_s`` is what its work gets that says none, and the most that it may say.
    """

    tenant: str
    max_running: int | None = None
    max_pending: int | None = None
    max_running_per_user: int | None = None
    max_pending_per_user: int | None = None
    time_limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """A control plane took over; writers of earlier epochs are refused."""

    at_s: float
    epoch: int
    version: str


@dataclass(frozen=True, slots=True)
class TenantsApplied:
    at_s: float
    tenants: tuple[Tenant, ...]
    limits: tuple[Limits, ...] = ()  # of those whose limits changed


@dataclass(frozen=True, slots=True)
class TenantPaused:
    """Nothing of a tenant, and of those below it, starts; ``how`` says what becomes of what runs."""

    at_s: float
    tenant: str
    how: str = ""  # it goes on; drain: it saves its progress and yields; now: it is ended at once
    by: str = ""


@dataclass(frozen=True, slots=True)
class TenantResumed:
    at_s: float
    tenant: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class PolicyApplied:
    """The rules of the cluster from here on."""

    at_s: float
    policy: Policy
    by: str = ""


@dataclass(frozen=True, slots=True)
class ReservationsApplied:
    """Reservations that were made or changed; those with other names stay."""

    at_s: float
    reservations: tuple[Reservation, ...]
    by: str = ""


@dataclass(frozen=True, slots=True)
class ReservationEnded:
    """A reservation was given up, or its time is over."""

    at_s: float
    reservation: str
    by: str = ""


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
class NodeDrainRequested:
    """A node was taken out of use by hand; ``grace_s`` is what its work has to save its progress, None: its own."""

    at_s: float
    node: NodeId
    grace_s: float | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class NodeDrainEnded:
    """A node that was drained by hand is in use again."""

    at_s: float
    node: NodeId
    by: str = ""


@dataclass(frozen=True, slots=True)
class NodeQuarantined:
    """Nothing new starts on a node where attempts keep failing, until then; it is the ``times``-th time in a row."""

    at_s: float
    node: NodeId
    name: str
    reason: str
    until_s: float
    times: int = 1


@dataclass(frozen=True, slots=True)
class QuarantineEnded:
    """A node is trusted again: its time is over, or somebody (``by``) said so."""

    at_s: float
    name: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node joined, left (state DOWN) or changed."""

    at_s: float
    node: Node
    name: str = ""  # what people call it


@dataclass(frozen=True, slots=True)
class PlanAdopted:
    """What was kept of a plan, and its proof; grants and preemptions follow as events of their own."""

    at_s: float
    plan_id: int
    planner: str
    status: str
    objective: float
    bound: float
    gap: float
    wall_s: float
    terms: tuple[tuple[str, float], ...] = ()
    fallbacks: tuple[str, ...] = ()
    shares: tuple[tuple[str, float, float], ...] = ()  # tenant, entitled, used
    refused: tuple[str, ...] = ()  # parts of the plan that were no longer valid, each with why


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
class Granted:
    """Attempt ``attempt`` may run: bundle i on ``nodes[i]``; ``fence`` is newer than any earlier one."""

    at_s: float
    workload: WorkloadId
    attempt: int
    fence: int
    nodes: tuple[NodeId, ...]
    plan_id: int = 0
    why: str = ""
    form: int = 0  # which of the demand's forms runs


@dataclass(frozen=True, slots=True)
class PreemptionOrdered:
    """An attempt was asked to yield for ``beneficiaries``; it is killed when the grace ends."""

    at_s: float
    workload: WorkloadId
    attempt: int
    cause: str
    beneficiaries: tuple[WorkloadId, ...] = ()
    deadline_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TimeLimitReached:
    """An attempt is told to save its progress and end: its workload may run until ``deadline_s`` and no longer."""

    at_s: float
    workload: WorkloadId
    attempt: int
    limit_s: float
    deadline_s: float


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
class ResizeOrdered:
    """An attempt goes on in place with bundle i on ``nodes[i]``; what it gives up is for ``beneficiaries``."""

    at_s: float
    workload: WorkloadId
    attempt: int
    nodes: tuple[NodeId, ...]
    cause: str = ""
    beneficiaries: tuple[WorkloadId, ...] = ()
    plan_id: int = 0
    deadline_s: float = 0.0  # until when what is given up should be free


@dataclass(frozen=True, slots=True)
class AttemptResized:
    """The attempt has the size that was ordered: it holds ``nodes`` and nothing else."""

    at_s: float
    workload: WorkloadId
    attempt: int
    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """The attempt runs; ``nodes`` are where its workers really are, as Ray says."""

    at_s: float
    workload: WorkloadId
    attempt: int
    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class AttemptReady:
    """A service answers: those who need it may start."""

    at_s: float
    workload: WorkloadId
    attempt: int
    artefacts: tuple[Artefact, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacementDiffered:
    """Workers ran elsewhere than planned."""

    at_s: float
    workload: WorkloadId
    attempt: int
    planned: tuple[NodeId, ...]
    actual: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """Progress that a later attempt continues from. ``step`` never falls within a workload."""

    at_s: float
    workload: WorkloadId
    attempt: int
    uri: str
    step: int


@dataclass(frozen=True, slots=True)
class ResumedFrom:
    """An attempt could not use the checkpoint that it was given, and began at an earlier one (or, empty, at none)."""

    at_s: float
    workload: WorkloadId
    attempt: int
    uri: str
    step: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reused:
    """A stage need not run: ``source`` has done the same with the same code, parameters and inputs."""

    at_s: float
    workload: WorkloadId
    source: WorkloadId


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt ended; ``resumed_from`` is the step it began at."""

    at_s: float
    workload: WorkloadId
    attempt: int
    outcome: Outcome
    nodes: tuple[NodeId, ...] = ()
    error: str = ""
    exit_code: int | None = None
    artefacts: tuple[Artefact, ...] = ()
    metrics: str = "{}"  # JSON


@dataclass(frozen=True, slots=True)
class Published:
    """A dataset or model version exists from here on."""

    at_s: float
    artefact: Artefact
    version: int
    workload: WorkloadId  # empty: somebody published it by hand
    attempt: int
    inputs: tuple[str, ...] = ()  # resolved references it was made from
    by: str = ""


@dataclass(frozen=True, slots=True)
class VersionTagged:
    """A version has a name from here on, which another may have had before; 0: none has it any more."""

    at_s: float
    key: str  # dataset://name
    tag: str
    version: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class VersionsRemoved:
    """Versions are out of use, and their bytes may be gone."""

    at_s: float
    key: str
    versions: tuple[int, ...]
    why: str = ""
    by: str = ""


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


Event = (
    EpochStarted
    | TenantsApplied
    | TenantPaused
    | TenantResumed
    | PolicyApplied
    | ReservationsApplied
    | ReservationEnded
    | Submitted
    | StopRequested
    | SuspendRequested
    | ResumeRequested
    | NodeDrainRequested
    | NodeDrainEnded
    | NodeQuarantined
    | QuarantineEnded
    | NodeChanged
    | PlanAdopted
    | Waits
    | Granted
    | PreemptionOrdered
    | TimeLimitReached
    | DeadlineMissed
    | ResizeOrdered
    | AttemptResized
    | AttemptStarted
    | AttemptReady
    | PlacementDiffered
    | CheckpointSaved
    | ResumedFrom
    | Reused
    | AttemptEnded
    | Published
    | VersionTagged
    | VersionsRemoved
    | Requeued
    | Finished
)

EVENTS: tuple[type, ...] = (
    EpochStarted,
    TenantsApplied,
    TenantPaused,
    TenantResumed,
    PolicyApplied,
    ReservationsApplied,
    ReservationEnded,
    Submitted,
    StopRequested,
    SuspendRequested,
    ResumeRequested,
    NodeDrainRequested,
    NodeDrainEnded,
    NodeQuarantined,
    QuarantineEnded,
    NodeChanged,
    PlanAdopted,
    Waits,
    Granted,
    PreemptionOrdered,
    TimeLimitReached,
    DeadlineMissed,
    ResizeOrdered,
    AttemptResized,
    AttemptStarted,
    AttemptReady,
    PlacementDiffered,
    CheckpointSaved,
    ResumedFrom,
    Reused,
    AttemptEnded,
    Published,
    VersionTagged,
    VersionsRemoved,
    Requeued,
    Finished,
)
"""The one list of event types, by whose names the log is written."""
