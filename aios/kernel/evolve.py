"""The fold: what each event does to what is believed, with no clock and no choice of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from immutables import Map

from aios.kernel.events import (
    AttemptEnded,
    AttemptReady,
    AttemptStarted,
    CheckpointSaved,
    EpochStarted,
    Event,
    Finished,
    Granted,
    NodeChanged,
    NodeDrainEnded,
    NodeDrainRequested,
    Outcome,
    PlacementDiffered,
    PlanAdopted,
    PolicyApplied,
    PreemptionOrdered,
    Published,
    Requeued,
    ReservationEnded,
    ReservationsApplied,
    ResumeRequested,
    StopRequested,
    Submitted,
    SuspendRequested,
    TenantsApplied,
    Waits,
    WorkloadId,
)
from aios.kernel.state import DEPENDENCY_PENDING, Attempt, Past, State, Status, Workload, waited_s
from aios.kernel.used import with_attempt
from aios.kernel.worked import received, saved_s
from placement.model import Node, NodeId, Policy, TenantId

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
}
"""The reason that users read, by the cause that the planner gave."""


def replay(events: Iterable[Event], state: State | None = None) -> State:
    """Return the state after all the events."""
    folded = State() if state is None else state
    for event in events:
        folded = evolve(event, folded)
    return folded


class Fold:
    """A state and the events that led to it from where it began: what a turn writes on."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.state = evolve(event, self.state)
        self.events.append(event)

    def grant(
        self, now_s: float, id: WorkloadId, nodes: tuple[NodeId, ...], plan_id: int, why: str, form: int = 0
    ) -> None:
        """Record that the next attempt may run, under a new fence."""
        number = len(self.state.workloads[id].attempts) + 1
        self.record(Granted(now_s, id, number, self.state.fence + 1, nodes, plan_id, why, form))

    def wait(self, waits: Waits) -> None:
        """Record why a workload waits, where that is new."""
        before = self.state.waits.get(waits.workload)
        if before is None or _why(before) != _why(waits):
            self.record(waits)


def _why(waits: Waits) -> tuple[object, ...]:
    return waits.reason, waits.detail, waits.would_run_if, waits.nodes, waits.form


def evolve(event: Event, state: State) -> State:
    """Return the state after one event; total: whatever an old log says, it folds."""
    after = _apply(event, state)
    return replace(after, version=state.version + 1)


def _apply(event: Event, state: State) -> State:
    match event:
        case EpochStarted():
            return replace(state, epoch=max(state.epoch, event.epoch))
        case TenantsApplied():
            tenants = state.tenants
            for tenant in event.tenants:
                tenants = tenants.set(tenant.id, tenant)
            return replace(state, tenants=tenants)
        case PolicyApplied():
            return replace(state, policy=event.policy)
        case ReservationsApplied():
            reservations = state.reservations
            for one in event.reservations:
                reservations = reservations.set(one.id, one)
            return replace(state, reservations=reservations)
        case ReservationEnded():
            known = event.reservation in state.reservations
            return replace(state, reservations=state.reservations.delete(event.reservation)) if known else state
        case Submitted():
            return _submitted(event, state)
        case NodeChanged():
            names = state.node_names.set(event.node.id, event.name or state.node_names.get(event.node.id, ""))
            return replace(state, nodes=state.nodes.set(event.node.id, event.node), node_names=names)
        case PlanAdopted():
            return replace(state, plan=event, plan_id=max(state.plan_id, event.plan_id))
        case Published():
            key = f"{event.artefact.type}://{event.artefact.name}"
            return replace(state, versions=state.versions.set(key, (*state.versions.get(key, ()), event)))
        case Waits():
            waits = state.waits.set(event.workload, event)
            return _with(replace(state, waits=waits), event.workload, lambda w: _waits(event, w))
        case Granted():
            state = replace(state, fence=max(state.fence, event.fence), waits=_without(state, event.workload))
            return _with(state, event.workload, lambda w: _granted(event, w))
        case StopRequested():
            return _with(state, event.workload, lambda w: _stop_requested(event, w))
        case PreemptionOrdered():
            return _with(state, event.workload, lambda w: _preemption_ordered(event, w))
        case SuspendRequested():
            state = replace(state, waits=_without(state, event.workload))
            return _with(state, event.workload, lambda w: _suspended(event, w))
        case ResumeRequested():
            return _with(state, event.workload, lambda w: _resumed(event, w))
        case NodeDrainRequested():
            return replace(state, drains=state.drains.set(event.node, event.grace_s))
        case NodeDrainEnded():
            drained = event.node in state.drains
            return replace(state, drains=state.drains.delete(event.node)) if drained else state
        case AttemptStarted():
            return _with(state, event.workload, lambda w: _attempt_started(event, w))
        case AttemptReady():
            return _with(state, event.workload, lambda w: _attempt_ready(event, w))
        case PlacementDiffered():
            return _with(state, event.workload, lambda w: _edit(w, event.attempt, lambda a: _seen(a, event.actual)))
        case CheckpointSaved():
            return _with(state, event.workload, lambda w: _checkpoint_saved(event, w))
        case AttemptEnded():
            state = replace(state, usage=_used(event, state))
            return _with(state, event.workload, lambda w: _attempt_ended(event, w, state.nodes))
        case Requeued():
            if not _goes_on_elsewhere(state, event.workload):
                state = replace(state, waits=_without(state, event.workload))
            return _with(state, event.workload, lambda w: _requeued(event, w))
        case Finished():
            state = replace(state, live=_not_among(state.live, event.workload), waits=_without(state, event.workload))
            return _with(state, event.workload, lambda w: _finished(event, w))


def _with(state: State, id: WorkloadId, change: Callable[[Workload], Workload]) -> State:
    workload = state.workloads.get(id)
    if workload is None:
        return state
    return replace(state, workloads=state.workloads.set(id, change(workload)))


def _without(state: State, id: WorkloadId) -> Map[WorkloadId, Waits]:
    return state.waits.delete(id) if id in state.waits else state.waits


def _goes_on_elsewhere(state: State, id: WorkloadId) -> bool:
    """Return whether work that yielded as it was told has nodes kept for it."""
    workload, waits = state.workloads.get(id), state.waits.get(id)
    attempt = workload.attempt if workload is not None else None
    return attempt is not None and attempt.outcome is Outcome.PREEMPTED and waits is not None and bool(waits.nodes)


def _not_among(live: tuple[WorkloadId, ...], id: WorkloadId) -> tuple[WorkloadId, ...]:
    if id not in live:
        return live
    at = live.index(id)
    return live[:at] + live[at + 1 :]


def _edit(workload: Workload, number: int, change: Callable[[Attempt], Attempt]) -> Workload:
    attempts = tuple(change(a) if a.number == number else a for a in workload.attempts)
    return replace(workload, attempts=attempts)


def _submitted(event: Submitted, state: State) -> State:
    work = event.work
    workload = Workload(
        work,
        submitted_s=event.at_s,
        queued_s=event.at_s,
        reason="WaitingForPlan",
        message="accepted; the next plan decides",
    )
    keys = state.keys
    if event.key:
        keys = keys.set(event.key, (*keys.get(event.key, ()), work.id))
    return replace(
        state,
        workloads=state.workloads.set(work.id, workload),
        live=(*state.live, work.id),
        names=state.names.set(work.name, work.id),
        keys=keys,
    )


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
    return replace(workload, checkpoint=event.uri, step=max(workload.step, event.step), checkpoint_s=event.at_s)


def _used(event: AttemptEnded, state: State) -> Map[TenantId, Past]:
    """Return the tenants' past use with an attempt that ends."""
    workload = state.workloads.get(event.workload)
    if workload is None or workload.current is None or workload.current.number != event.attempt:
        return state.usage
    tenant = TenantId(workload.work.tenant)
    half_life_s = (Policy() if state.policy is None else state.policy).usage_half_life_s
    past = with_attempt(state.usage.get(tenant), workload, workload.current, event.at_s, half_life_s)
    return state.usage.set(tenant, past)


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
