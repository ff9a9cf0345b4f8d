"""What was submitted, and what it makes: the plain values that events carry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from placement.model import Demand

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
