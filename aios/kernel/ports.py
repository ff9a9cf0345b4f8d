"""What the kernel's shell needs from the outside: an executor, and what it observes there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from aios.kernel.actions import Action
from aios.kernel.events import Artefact, Event, Limits, Outcome, Work, WorkloadId
from placement.model import Demand, Node, NodeId, Policy, Reservation, Resources, Tenant


class Phase(Enum):
    """What an observed attempt is doing."""

    LAUNCHING = "launching"
    RUNNING = "running"
    READY = "ready"  # a service that answers
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ObservedNode:
    """A node as the cluster reports it; ``foreign`` is used there by others than AIOS."""

    node: Node
    name: str = ""
    foreign: Resources = Resources()  # noqa: RUF009  # frozen
    leaves_in_s: float | None = None
    """Until the cluster itself takes a draining node away, as a notice of a spot node says; None: not said."""


@dataclass(frozen=True, slots=True)
class ObservedAttempt:
    """An attempt as the cluster reports it: a level, seen again at every look until it is forgotten."""

    workload: WorkloadId
    attempt: int
    fence: int
    phase: Phase
    nodes: tuple[NodeId, ...] = ()
    """Where its workers really run; empty while not known."""
    checkpoint: str = ""
    step: int = 0
    outcome: Outcome | None = None
    error: str = ""
    exit_code: int | None = None
    artefacts: tuple[Artefact, ...] = ()
    metrics: str = "{}"
    size: int = 0
    """How many bundles it holds now, where that was changed in place; 0: as launched."""
    resumed: str | None = None
    """The checkpoint that it began at, where that is not the one it was launched with; empty: it began anew."""
    resumed_step: int = 0
    resumed_why: str = ""
    """Why the one that it was launched with could not be used."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything there is to see at one moment. ``complete`` is False where the cluster did not fully answer; what is
    absent then proves nothing."""

    nodes: tuple[ObservedNode, ...] = ()
    attempts: tuple[ObservedAttempt, ...] = ()
    complete: bool = True


class Executor(Protocol):
    """The cluster: real Ray, or the simulator.

    ``apply`` takes actions in order; each is idempotent and none blocks for long: failures show up in the next
    ``observe``. ``observe`` remembers nothing between calls. ``wait`` returns early when ``wake`` was called.
    """

    def now_s(self) -> float: ...

    def wait(self, timeout_s: float) -> None: ...

    def wake(self) -> None: ...

    def observe(self) -> Observed: ...

    def apply(self, actions: Sequence[Action]) -> None: ...


@dataclass(frozen=True, slots=True)
class Submit:
    """Accept these works together (one, or a pipeline's stages), or none of them."""

    works: tuple[NewWork, ...]
    key: str = ""


@dataclass(frozen=True, slots=True)
class NewWork:
    """A workload before it has an id; ``needs`` are names within the same submission.

    A deadline in its demand counts from the submission.
    """

    name: str
    kind: str
    tenant: str
    priority: int
    demand: Demand
    spec: str
    content: str
    pipeline: str | None = None
    needs: tuple[str, ...] = ()
    inputs: tuple[tuple[str, str], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    service: bool = False
    max_retries: int = 0
    grace_s: float = 30.0
    estimate_s: float | None = None
    trace: str = ""
    rerun: bool = False
    time_limit_s: float | None = None
    on_deadline: str = "warn"
    max_attempts: int | None = None
    user: str = ""
    cache: bool = False


@dataclass(frozen=True, slots=True)
class StopWork:
    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Submit again what of these did not succeed; with ``afresh`` what did, too.

    ``retired``: the work of those that have left the state, as the log has it.
    """

    workloads: tuple[WorkloadId, ...]
    afresh: bool = False
    by: str = ""
    retired: tuple[Work, ...] = ()


@dataclass(frozen=True, slots=True)
class PreemptWork:
    """Have a workload save its progress and queue again."""

    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class Suspend:
    """Have a workload save its progress and wait until it is resumed."""

    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    workload: WorkloadId
    by: str = ""


@dataclass(frozen=True, slots=True)
class Drain:
    """Take a node out of use; ``grace_s`` for its work to save its progress, None: each workload's own."""

    node: NodeId
    grace_s: float | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Undrain:
    """Take a node that was drained by hand back into use."""

    node: NodeId
    by: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseNode:
    """Trust a node again that is in quarantine."""

    name: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class ApplyTenants:
    """Add or change these tenants, with their limits; others stay."""

    tenants: tuple[Tenant, ...]
    by: str = ""
    limits: tuple[Limits, ...] = ()


@dataclass(frozen=True, slots=True)
class PauseTenant:
    """Start nothing of a tenant; ``how``: what runs goes on (empty), yields (drain) or is ended at once (now)."""

    tenant: str
    how: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class ResumeTenant:
    tenant: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class ApplyPolicy:
    """Replace the rules of the cluster."""

    policy: Policy
    by: str = ""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Make or change these reservations; others stay."""

    reservations: tuple[Reservation, ...]
    by: str = ""


@dataclass(frozen=True, slots=True)
class Unreserve:
    """Give a reservation up."""

    reservation: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class TagVersion:
    """Name a version of ``key`` (``dataset://name``), or move the name there; version 0 takes it away."""

    key: str
    tag: str
    version: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class PublishVersion:
    """Make an artefact that no attempt made the next version of its name."""

    artefact: Artefact
    inputs: tuple[str, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True)
class RemoveVersions:
    """Take versions out of use, before their bytes go."""

    key: str
    versions: tuple[int, ...]
    why: str = ""
    by: str = ""


Request = (
    Submit
    | TagVersion
    | PublishVersion
    | RemoveVersions
    | StopWork
    | Retry
    | PreemptWork
    | Suspend
    | Resume
    | Drain
    | Undrain
    | ReleaseNode
    | PauseTenant
    | ResumeTenant
    | ApplyTenants
    | ApplyPolicy
    | Reserve
    | Unreserve
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request was recorded; ``existing`` says that it had been before."""

    ids: tuple[str, ...] = ()
    existing: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The request was not taken: ``code`` is that of a class in ``aios.errors``."""

    code: str
    message: str
    hint: str = ""


Reply = Accepted | Refused


@dataclass(frozen=True, slots=True)
class Asked:
    """A request with the number under which its reply is returned."""

    id: int
    request: Request


@dataclass(frozen=True, slots=True)
class Answer:
    id: int
    reply: Reply = field(default_factory=Accepted)


class StaleEpoch(Exception):
    """A later control plane has taken over; this one must stop."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What folding the log up to event ``sequence`` gave, in bytes of whoever saved it."""

    sequence: int
    body: bytes


class Log(Protocol):
    """The event log: one writer at a time, durable before ``append`` returns.

    ``begin`` takes over: it returns a new epoch, and from then on appends of earlier epochs raise ``StaleEpoch``.
    ``append`` writes all the events or none. ``read`` gives (sequence number, event) in order, after ``after``;
    ``read_workload`` gives those about one workload alone, its submission first, without a look at the others.

    ``save_snapshot`` replaces the snapshot before it, under the same epoch check; it raises ValueError where there is
    no event ``sequence`` yet. ``load_snapshot`` returns the latest one, None where there is none or where it is not as
    it was written, or not of this log: then the log is folded from its start. Whether the bytes can be understood
    is for the reader to judge, who passes over what another version wrote.
    """

    def begin(self) -> int: ...

    def append(self, epoch: int, events: Sequence[Event]) -> int: ...

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]: ...

    def read_workload(self, workload: WorkloadId) -> Iterator[tuple[int, Event]]: ...

    def save_snapshot(self, epoch: int, sequence: int, body: bytes) -> None: ...

    def load_snapshot(self) -> Snapshot | None: ...
