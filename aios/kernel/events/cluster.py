"""Facts about the cluster as a whole: its writers, its rules, its nodes, its plans."""

from __future__ import annotations

from dataclasses import dataclass

from aios.kernel.events.work import Limits
from placement.model import Node, NodeId, Policy, Reservation, Tenant


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
class NodeForgotten:
    """A node that has been DOWN for long, with nothing on it, leaves the state; if it comes back it is a new one."""

    at_s: float
    node: NodeId


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
