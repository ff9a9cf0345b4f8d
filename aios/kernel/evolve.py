"""The fold: what each event does to what is believed, with no clock and no choice of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from immutables import Map

from aios.kernel import lifecycle, quarantine
from aios.kernel.events import (
    AttemptEnded,
    AttemptResized,
    EpochStarted,
    Event,
    Finished,
    Granted,
    NodeChanged,
    NodeDrainEnded,
    NodeDrainRequested,
    NodeForgotten,
    NodeQuarantined,
    Outcome,
    PlanAdopted,
    PolicyApplied,
    Published,
    QuarantineEnded,
    Requeued,
    ReservationEnded,
    ReservationsApplied,
    ResizeOrdered,
    Retired,
    Submitted,
    SuspendRequested,
    TenantPaused,
    TenantResumed,
    TenantsApplied,
    VersionsRemoved,
    VersionTagged,
    Waits,
    WorkloadId,
)
from aios.kernel.lifecycle import WorkloadEvent
from aios.kernel.records import short
from aios.kernel.replacing import replace
from aios.kernel.state import Past, State
from aios.kernel.used import with_attempt
from placement.model import NodeId, NodeState, Policy, TenantId

_K = TypeVar("_K")
_V = TypeVar("_V")


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
            # A restored log goes on with an epoch beyond all fences that the lost one had given: they follow it.
            fence = max(state.fence, event.epoch - 1)
            return replace(state, epoch=max(state.epoch, event.epoch), fence=fence)
        case TenantsApplied():
            tenants = state.tenants
            for tenant in event.tenants:
                tenants = tenants.set(tenant.id, tenant)
            limits = state.limits
            for limit in event.limits:
                limits = limits.set(TenantId(limit.tenant), limit)
            return replace(state, tenants=tenants, limits=limits)
        case TenantPaused():
            return replace(state, paused=state.paused.set(TenantId(event.tenant), event.by))
        case TenantResumed():
            id = TenantId(event.tenant)
            return replace(state, paused=state.paused.delete(id)) if id in state.paused else state
        case NodeQuarantined():
            return quarantine.begun(state, event)
        case QuarantineEnded():
            return quarantine.ended(state, event)
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
            return _node_changed(event, state)
        case NodeForgotten():
            return _node_forgotten(event, state)
        case Retired():
            return _retired(event, state)
        case NodeDrainRequested():
            return replace(state, drains=state.drains.set(event.node, event.grace_s))
        case NodeDrainEnded():
            drained = event.node in state.drains
            return replace(state, drains=state.drains.delete(event.node)) if drained else state
        case PlanAdopted():
            return replace(state, plan=event, plan_id=max(state.plan_id, event.plan_id))
        case Published():
            key = f"{event.artefact.type}://{event.artefact.name}"
            return replace(state, versions=state.versions.set(key, (*state.versions.get(key, ()), event)))
        case VersionTagged():
            return replace(state, tags=state.tags.set(event.key, (*state.tags.get(event.key, ()), event)))
        case VersionsRemoved():
            gone = state.removed.get(event.key, frozenset()) | set(event.versions)
            return replace(state, removed=state.removed.set(event.key, gone))
        case _:
            return _of_a_workload(event, state)


def _node_changed(event: NodeChanged, state: State) -> State:
    id, down_s = event.node.id, state.down_s
    if event.node.state is not NodeState.DOWN:
        down_s = down_s.delete(id) if id in down_s else down_s
    elif id not in down_s:
        down_s = down_s.set(id, event.at_s)
    names = state.node_names.set(id, event.name or state.node_names.get(id, ""))
    return replace(state, nodes=state.nodes.set(id, event.node), node_names=names, down_s=down_s)


def _node_forgotten(event: NodeForgotten, state: State) -> State:
    id = event.node
    state = quarantine.forgotten(state, event)
    return replace(
        state,
        nodes=_less(state.nodes, id),
        node_names=_less(state.node_names, id),
        down_s=_less(state.down_s, id),
        drains=_less(state.drains, id),
    )


def _less(table: Map[_K, _V], key: _K) -> Map[_K, _V]:
    return table.delete(key) if key in table else table


def _retired(event: Retired, state: State) -> State:
    """Return the state in which only the short records of some workloads are left."""
    found = [workload for id in event.workloads if (workload := state.workloads.get(id)) is not None]
    over = [short(state, workload) for workload in found if workload.status.over]
    workloads, retired = state.workloads.mutate(), state.retired.mutate()
    for one in over:
        del workloads[one.id]
        retired[one.id] = one
    return replace(state, workloads=workloads.finish(), retired=retired.finish())


def _of_a_workload(event: WorkloadEvent, state: State) -> State:
    """Return the state after an event that is about one workload; of one that nobody knows only its traces count."""
    workload = state.workloads.get(event.workload)
    state = _beside(event, state)
    if workload is None:
        return state
    after = lifecycle.after(event, workload, state.nodes)
    return replace(state, workloads=state.workloads.set(event.workload, after))


def _beside(event: WorkloadEvent, state: State) -> State:
    """Return the state with what an event about a workload changes beside that workload."""
    match event:
        case Waits():
            return replace(state, waits=state.waits.set(event.workload, event))
        case Granted():
            return replace(state, fence=max(state.fence, event.fence), waits=_without(state, event.workload))
        case SuspendRequested():
            return replace(state, waits=_without(state, event.workload))
        case AttemptEnded():
            return replace(quarantine.with_end(state, event), usage=_used(event, state))
        case ResizeOrdered() | AttemptResized():  # what it held until now
            return replace(state, usage=_used(event, state))
        case Requeued():
            keeps = _goes_on_elsewhere(state, event.workload)
            return state if keeps else replace(state, waits=_without(state, event.workload))
        case Finished():
            return replace(state, live=_not_among(state.live, event.workload), waits=_without(state, event.workload))
        case _:
            return state


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


def _submitted(event: Submitted, state: State) -> State:
    work = event.work
    keys = state.keys
    if event.key:
        keys = keys.set(event.key, (*keys.get(event.key, ()), work.id))
    return replace(
        state,
        workloads=state.workloads.set(work.id, lifecycle.submitted(event)),
        live=(*state.live, work.id),
        names=state.names.set(work.name, work.id),
        keys=keys,
    )


def _used(event: AttemptEnded | ResizeOrdered | AttemptResized, state: State) -> Map[TenantId, Past]:
    """Return the tenants' past use with what an attempt has held until now."""
    workload = state.workloads.get(event.workload)
    if workload is None or workload.current is None or workload.current.number != event.attempt:
        return state.usage
    tenant = TenantId(workload.work.tenant)
    half_life_s = (Policy() if state.policy is None else state.policy).usage_half_life_s
    past = with_attempt(state.usage.get(tenant), workload, workload.current, event.at_s, half_life_s)
    return state.usage.set(tenant, past)
