"""What each event does to the one workload that it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aios.kernel import limits, resizing
from aios.kernel.events import (
    AttemptEnded,
    AttemptReady,
    AttemptResized,
    AttemptStarted,
    CheckpointSaved,
    DeadlineMissed,
    Finished,
    Granted,
    Outcome,
    PlacementDiffered,
    PreemptionOrdered,
    Requeued,
    ResizeOrdered,
    ResumedFrom,
    ResumeRequested,
    Reused,
    StopRequested,
    Submitted,
    SuspendRequested,
    TimeLimitReached,
    Waits,
)
from aios.kernel.replacing import replace
from aios.kernel.state import DEPENDENCY_PENDING, Attempt, Status, Workload, waited_s
from aios.kernel.worked import received, saved_s
from placement.model import Node, NodeId

PREEMPTED_BY = {
    "priority": "PreemptedByPriority",
    "reclaim": "Reclaimed",
    "fairness": "PreemptedForFairness",
    "node": "NodeDraining",
    "resize": "Resized",
    "migration": "Moved",
    "time_slice": "TakesTurns",
    "user": "PreemptedByUser",
    "suspend": "Suspended",
    "pause": "TenantPaused",
}
"""The reason that users read, by the cause that the planner gave."""

WorkloadEvent = (
    StopRequested
    | SuspendRequested
    | ResumeRequested
    | Waits
    | Granted
    | PreemptionOrdered
    | TimeLimitReached
    | DeadlineMissed
    | ResumedFrom
    | Reused
    | ResizeOrdered
    | AttemptResized
    | AttemptStarted
    | AttemptReady
    | PlacementDiffered
    | CheckpointSaved
    | AttemptEnded
    | Requeued
    | Finished
)
"""The events in the life of a workload that is known already."""


def submitted(event: Submitted) -> Workload:
    return Workload(
        event.work,
        submitted_s=event.at_s,
        queued_s=event.at_s,
        reason="WaitingForPlan",
        message="accepted; the next plan decides",
    )


def after(event: WorkloadEvent, workload: Workload, nodes: Mapping[NodeId, Node]) -> Workload:
    """Return a workload after an event about it."""
    match event:
        case StopRequested():
            return _stop_requested(event, workload)
        case SuspendRequested():
            return _suspended(event, workload)
        case ResumeRequested():
            return _resumed(event, workload)
        case Waits():
            return _waits(event, workload)
        case Granted():
            return _granted(event, workload)
        case PreemptionOrdered():
            return _preemption_ordered(event, workload)
        case TimeLimitReached():
            return limits.reached(event, workload)
        case DeadlineMissed():
            return limits.missed(event, workload)
        case ResumedFrom():
            return _resumed_from(event, workload)
        case Reused():
            return replace(workload, reused=event.source)
        case ResizeOrdered():
            return resizing.ordered(event, workload)
        case AttemptResized():
            return resizing.done(event, workload)
        case AttemptStarted():
            return _attempt_started(event, workload)
        case AttemptReady():
            return _attempt_ready(event, workload)
        case PlacementDiffered():
            return _edit(workload, event.attempt, lambda attempt: _seen(attempt, event.actual))
        case CheckpointSaved():
            return _checkpoint_saved(event, workload)
        case AttemptEnded():
            return _attempt_ended(event, workload, nodes)
        case Requeued():
            return _requeued(event, workload)
        case Finished():
            return _finished(event, workload)


def _edit(workload: Workload, number: int, change: Callable[[Attempt], Attempt]) -> Workload:
    attempts = tuple(change(a) if a.number == number else a for a in workload.attempts)
    return replace(workload, attempts=attempts)


def _waits(event: Waits, workload: Workload) -> Workload:
    wanted = workload.reason == DEPENDENCY_PENDING and event.reason != DEPENDENCY_PENDING
    return replace(
        workload,
        reason=event.reason,
        message=event.detail,
        would_run_if=event.would_run_if,
        queued_s=event.at_s if wanted else workload.queued_s,
    )


def _granted(event: Granted, workload: Workload) -> Workload:
    attempt = Attempt(
        event.attempt,
        event.fence,
        event.nodes,
        granted_s=event.at_s,
        plan_id=event.plan_id,
        why=event.why,
        form=event.form,
        resumed_step=workload.step,
    )
    return replace(
        workload,
        status=Status.STARTING,
        reason="",
        message=event.why,
        would_run_if=(),
        attempts=(*workload.attempts, attempt),
        waited_s=waited_s(workload, event.at_s),
    )


def _stop_requested(event: StopRequested, workload: Workload) -> Workload:
    workload = replace(workload, stop_requested_s=event.at_s, reason="StoppedByUser", message=_stopped_by(event.by))
    current = workload.current
    if current is None:
        return workload
    deadline_s = event.at_s + workload.work.grace_s
    if current.deadline_s is not None:
        deadline_s = min(deadline_s, current.deadline_s)
    workload = _edit(workload, current.number, lambda a: replace(a, deadline_s=deadline_s))
    return replace(workload, status=Status.STOPPING)


def _stopped_by(by: str) -> str:
    return f"{by} asked it to stop" if by else "it was asked to stop"


def _suspended(event: SuspendRequested, workload: Workload) -> Workload:
    workload = replace(workload, suspended_s=event.at_s)
    if workload.current is not None or workload.status.over:
        return workload
    waited = waited_s(workload, event.at_s)
    message = f"suspended{' by ' + event.by if event.by else ''}; aios resume {workload.id}"
    return replace(
        workload, status=Status.PAUSED, reason="Suspended", message=message, would_run_if=(), waited_s=waited
    )


def _resumed(event: ResumeRequested, workload: Workload) -> Workload:
    workload = replace(workload, suspended_s=None)
    if workload.status is not Status.PAUSED:
        return workload
    return replace(
        workload,
        status=Status.PREEMPTED if workload.attempts else Status.QUEUED,
        reason="WaitingForPlan",
        message="resumed; the next plan decides",
        queued_s=event.at_s,
    )


def _preemption_ordered(event: PreemptionOrdered, workload: Workload) -> Workload:
    def ordered(attempt: Attempt) -> Attempt:
        deadline_s = event.deadline_s if attempt.deadline_s is None else min(event.deadline_s, attempt.deadline_s)
        return replace(
            attempt, preempted_for=event.beneficiaries, preempt_cause=event.cause or "plan", deadline_s=deadline_s
        )

    workload = _edit(workload, event.attempt, ordered)
    reason = PREEMPTED_BY.get(event.cause, "Preempted")
    message = f"yields to {', '.join(event.beneficiaries) or 'the plan'}"
    if event.cause in ("user", "suspend"):
        message = "it was asked to save its progress"
    elif event.cause == "pause":
        message = "its tenant is paused: it saves its progress and waits"
    elif event.cause == "node":
        message = "a node of it is leaving: it saves its progress and goes on elsewhere"
    elif event.cause in ("migration", "resize") and not event.beneficiaries:
        message = "it saves its progress and goes on with other nodes"
    return replace(workload, status=Status.STOPPING, reason=reason, message=message)


def _attempt_started(event: AttemptStarted, workload: Workload) -> Workload:
    def started(attempt: Attempt) -> Attempt:
        first_s = event.at_s if attempt.started_s is None else attempt.started_s
        return replace(_seen(attempt, event.nodes), started_s=first_s)

    workload = _edit(workload, event.attempt, started)
    if workload.status is Status.STARTING:
        workload = replace(workload, status=Status.RUNNING)
    return workload


def _seen(attempt: Attempt, nodes: tuple[NodeId, ...]) -> Attempt:
    return replace(attempt, actual=nodes) if nodes else attempt


def _attempt_ready(event: AttemptReady, workload: Workload) -> Workload:
    workload = _edit(workload, event.attempt, lambda a: replace(a, ready_s=event.at_s))
    return replace(workload, ready=True, artefacts=event.artefacts)


def _checkpoint_saved(event: CheckpointSaved, workload: Workload) -> Workload:
    step = max(workload.step, event.step)
    saved = replace(workload, checkpoint=event.uri, step=step, checkpoint_s=event.at_s)
    if event.uri == workload.checkpoint:
        return saved
    return replace(saved, before_checkpoint=workload.checkpoint, before_step=workload.step)


def _resumed_from(event: ResumedFrom, workload: Workload) -> Workload:
    """Return a workload whose latest checkpoint could not be used: what was saved after the one that could is lost."""
    why = event.why or "its latest checkpoint could not be read"
    workload = _edit(workload, event.attempt, lambda a: replace(a, resumed_step=event.step, fell_back=why))
    return replace(
        workload, checkpoint=event.uri, step=event.step, checkpoint_s=None, before_checkpoint="", before_step=0
    )


def _attempt_ended(event: AttemptEnded, workload: Workload, nodes: Mapping[NodeId, Node]) -> Workload:
    def ended(attempt: Attempt) -> Attempt:
        return replace(
            _seen(attempt, event.nodes),
            ended_s=event.at_s,
            outcome=event.outcome,
            error=event.error,
            exit_code=event.exit_code,
            metrics=event.metrics,
        )

    workload = _edit(workload, event.attempt, ended)
    attempt = workload.attempt
    ran_s = event.at_s - attempt.started_s if attempt is not None and attempt.started_s is not None else 0.0
    return replace(
        workload,
        ran_s=workload.ran_s + ran_s,
        served_s=workload.served_s + (0.0 if attempt is None else saved_s(workload, attempt, nodes)),
        attained=workload.attained + (0.0 if attempt is None else received(workload, attempt, event.at_s)),
        failures=workload.failures + (event.outcome in (Outcome.FAILED, Outcome.LOST)),
        ready=False,
        artefacts=event.artefacts or workload.artefacts,
        exit_code=event.exit_code,
    )


def _requeued(event: Requeued, workload: Workload) -> Workload:
    attempt = workload.attempt
    yielded = attempt is not None and attempt.outcome is Outcome.PREEMPTED
    message = ""
    if attempt is not None:
        outcome = attempt.outcome.value if attempt.outcome is not None else "unknown"
        error = attempt.error.partition("\n\n")[0]  # its frames stay with the attempt
        message = f"attempt {attempt.number} ended ({outcome}){': ' + error if error else ''}"
        if workload.step:
            message += f"; it continues from step {workload.step}"
    if workload.suspended_s is not None:
        status, reason = Status.PAUSED, "Suspended"
        message = f"{message + '; ' if message else ''}aios resume {workload.id}"
    else:
        status, reason = Status.PREEMPTED if yielded else Status.QUEUED, event.why
    return replace(
        workload,
        status=status,
        reason=reason,
        message=message,
        queued_s=event.at_s,
        not_before_s=event.not_before_s,
    )


def _finished(event: Finished, workload: Workload) -> Workload:
    return replace(
        workload,
        status=Status(event.status),
        reason=event.reason,
        message=event.message,
        would_run_if=(),
        waited_s=workload.waited_s if workload.status.active else waited_s(workload, event.at_s),
        finished_s=event.at_s,
        exit_code=workload.exit_code if event.exit_code is None else event.exit_code,
        ready=False,
    )
