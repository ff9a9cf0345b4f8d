"""Wishes that the kernel has of the outside; each may be asked twice and does nothing new the second time."""

from __future__ import annotations

from dataclasses import dataclass

from aios.kernel.events import Work, WorkloadId
from placement.model import NodeId


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """What a role stands for: the exact version, where it is, and what is known about it (JSON)."""

    role: str
    reference: str
    uri: str
    meta: str = "{}"


@dataclass(frozen=True, slots=True)
class Launch:
    """Start one attempt. Its name ``aios/<workload>/<attempt>`` is the idempotency key.

    ``checkpoint`` is where an earlier attempt left off, or empty.
    """

    work: Work
    attempt: int
    fence: int
    nodes: tuple[NodeId, ...]
    inputs: tuple[ResolvedInput, ...] = ()
    checkpoint: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask an attempt to end by itself: ``why`` is ``preempt`` (save progress first) or ``stop``."""

    workload: WorkloadId
    attempt: int
    why: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class Kill:
    """End an attempt now, with all that it holds; its last words stay readable."""

    workload: WorkloadId
    attempt: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Release everything of an ended attempt, its name too; it is no longer observed afterwards."""

    workload: WorkloadId
    attempt: int


Action = Launch | Stop | Kill | Forget


def attempt_name(workload: str, attempt: int) -> str:
    """Return the name under which all things of an attempt are found in the cluster."""
    return f"aios/{workload}/{attempt}"
