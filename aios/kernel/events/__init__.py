"""Every fact that the control plane records; the state is a fold over them.

An event is written before anything is done about it. Fields are plain values and the planner's frozen types, so
that ``aios.store.codec`` can turn any of them into JSON and back. Old logs must still fold: fields are only added,
with defaults.
"""

from __future__ import annotations

from typing import get_args

from aios.kernel.events.attempts import (
    AttemptEnded,
    AttemptReady,
    AttemptResized,
    AttemptStarted,
    CheckpointSaved,
    Granted,
    PlacementDiffered,
    PreemptionOrdered,
    ResizeOrdered,
    ResumedFrom,
    TimeLimitReached,
)
from aios.kernel.events.cluster import (
    EpochStarted,
    NodeChanged,
    NodeDrainEnded,
    NodeDrainRequested,
    NodeForgotten,
    NodeQuarantined,
    PlanAdopted,
    PolicyApplied,
    QuarantineEnded,
    ReservationEnded,
    ReservationsApplied,
    TenantPaused,
    TenantResumed,
    TenantsApplied,
)
from aios.kernel.events.versions import (
    Published,
    VersionsRemoved,
    VersionTagged,
)
from aios.kernel.events.work import (
    Artefact,
    Limits,
    Outcome,
    Work,
    WorkloadId,
)
from aios.kernel.events.workloads import (
    DeadlineMissed,
    Finished,
    Requeued,
    ResumeRequested,
    Retired,
    Reused,
    StopRequested,
    Submitted,
    SuspendRequested,
    Waits,
)

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
    | NodeForgotten
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
    | Retired
)

EVENTS: tuple[type, ...] = get_args(Event)
"""The one list of event types, by whose names the log is written."""

__all__ = [
    "EVENTS",
    "Artefact",
    "AttemptEnded",
    "AttemptReady",
    "AttemptResized",
    "AttemptStarted",
    "CheckpointSaved",
    "DeadlineMissed",
    "EpochStarted",
    "Event",
    "Finished",
    "Granted",
    "Limits",
    "NodeChanged",
    "NodeDrainEnded",
    "NodeDrainRequested",
    "NodeForgotten",
    "NodeQuarantined",
    "Outcome",
    "PlacementDiffered",
    "PlanAdopted",
    "PolicyApplied",
    "PreemptionOrdered",
    "Published",
    "QuarantineEnded",
    "Requeued",
    "ReservationEnded",
    "ReservationsApplied",
    "ResizeOrdered",
    "ResumeRequested",
    "ResumedFrom",
    "Retired",
    "Reused",
    "StopRequested",
    "Submitted",
    "SuspendRequested",
    "TenantPaused",
    "TenantResumed",
    "TenantsApplied",
    "TimeLimitReached",
    "VersionTagged",
    "VersionsRemoved",
    "Waits",
    "Work",
    "WorkloadId",
]
