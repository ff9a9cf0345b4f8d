"""Facts about one attempt of a workload, from its grant to its end."""

from __future__ import annotations

from dataclasses import dataclass

from aios.kernel.events.work import Artefact, Outcome, WorkloadId
from placement.model import NodeId


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
