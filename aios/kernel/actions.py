"""Wishes that the kernel has of the outside; each may be asked twice and does nothing new the second time.

A change of size in place. Work that answers requests (``Work.service``) and has a minimum below its size is made
smaller or larger without a new attempt. The kernel records ``ResizeOrdered`` and asks ``Resize`` at every turn until
the attempt is observed with ``ObservedAttempt.size`` equal to the number of nodes in the action; then it records
``AttemptResized``.

- The first ``min(before, after)`` bundles stay where they are. Smaller: the last bundles go, each after it has answered
  the requests that it has (at the latest when ``grace_s`` is over). Larger: the new ones start on ``nodes[before:]``.
- The executor reports ``size`` as the number of bundles that hold resources now, and counts no more and no less as held
  by the attempt. It changes ``size`` only once the bundles that went are really gone, or the new ones really answer;
  0 means: as launched. ``ObservedAttempt.nodes`` follows: where the replicas that are left really run.
- An executor that cannot do it leaves ``size`` as it is. What has not shrunk 30 s after its grace is restarted smaller
  as a new attempt; what has not grown within ``resizing.GROWS_WITHIN_S`` keeps the size that was seen.
- Its order against others: ``Stop`` and ``Kill`` end the attempt whatever its size; ``Resize`` after them does nothing.
"""

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

    ``checkpoint`` is where an earlier attempt left off, or empty. Where it is torn or gone the attempt begins at
    ``before_checkpoint`` (the one before it), else anew, and says so: ``ObservedAttempt.resumed``, ``resumed_step`` and
    ``resumed_why``.
    """

    work: Work
    attempt: int
    fence: int
    nodes: tuple[NodeId, ...]
    inputs: tuple[ResolvedInput, ...] = ()
    checkpoint: str = ""
    step: int = 0
    before_checkpoint: str = ""
    before_step: int = 0
    bases: tuple[ResolvedInput, ...] = ()  # what each output that has versions is built on


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask an attempt to end by itself: ``why`` is ``preempt`` (save progress first) or ``stop``."""

    workload: WorkloadId
    attempt: int
    why: str
    grace_s: float


@dataclass(frozen=True, slots=True)
class Resize:
    """Have an attempt go on with bundle i on ``nodes[i]``, without ending it; see the top of this file."""

    workload: WorkloadId
    attempt: int
    fence: int
    nodes: tuple[NodeId, ...]
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


Action = Launch | Resize | Stop | Kill | Forget


def attempt_name(workload: str, attempt: int) -> str:
    """Return the name under which all things of an attempt are found in the cluster."""
    return f"aios/{workload}/{attempt}"
