"""What must hold of every step from one state to the next, event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aios.kernel.concurrency import ancestors, paused_by
from aios.kernel.events import (
    AttemptEnded,
    AttemptReady,
    AttemptResized,
    AttemptStarted,
    CheckpointSaved,
    DeadlineMissed,
    EpochStarted,
    Event,
    Finished,
    Granted,
    NodeDrainRequested,
    PlacementDiffered,
    PreemptionOrdered,
    Published,
    ResizeOrdered,
    ResumedFrom,
    Submitted,
    TenantPaused,
    TenantResumed,
    WorkloadId,
)
from aios.kernel.evolve import evolve
from aios.kernel.lifecycle import PREEMPTED_BY
from aios.kernel.queue import kept, live
from aios.kernel.records import record, short, status_of
from aios.kernel.state import TRANSITIONS, State, Status, Workload
from placement.model import NodeState, Policy, TenantId, Within, total

OF_AN_ATTEMPT = (
    AttemptStarted,
    AttemptReady,
    AttemptEnded,
    CheckpointSaved,
    ResumedFrom,
    ResizeOrdered,
    AttemptResized,
    PreemptionOrdered,
)
"""Events that only the attempt which is open can bring about."""

SAID_ANYWAY = (PlacementDiffered, TenantPaused, TenantResumed, NodeDrainRequested, DeadlineMissed)
"""Events that are written for people, though the state may know it already: who said it, and when."""


def turn_violations(before: State, events: Sequence[Event]) -> tuple[str, ...]:
    """Return what is wrong with a step from one state to the next, event by event."""
    return judged(before, events)[0]


def judged(before: State, events: Sequence[Event]) -> tuple[tuple[str, ...], State]:
    """Return what is wrong with the events of a turn, and the state after them."""
    found: list[str] = []
    state = before
    for event in events:
        after = evolve(event, state)
        found.extend(nothing_vanishes(state, after))
        found.extend(nothing_falls(state, after))
        found.extend(something_changes(event, state, after))
        for rule in RULES:
            found.extend(rule(state, event))
        id: WorkloadId = getattr(event, "workload", WorkloadId(""))
        if id in state.workloads and id in after.workloads:
            found.extend(allowed(state.workloads[id], after.workloads[id]))
            found.extend(progress_is_kept(state.workloads[id], after.workloads[id]))
        if isinstance(event, Granted):
            found.extend(within_limits(state, after, event))
        state = after
    found.extend(time_does_not_run_back(events))
    found.extend(who_is_preempted_for_gets_room(state, events))
    return tuple(found), state


# -- of states


def nothing_vanishes(before: State, after: State) -> list[str]:
    """I3: what was accepted stays known: only what is over may be retired, and then its short record stays for ever."""
    found = []
    if len(after.workloads) < len(before.workloads):
        gone = [id for id in sorted(before.workloads) if id not in after.workloads]
        for id in gone:
            left = after.retired.get(id)
            if not before.workloads[id].status.over:
                found.append(f"I3: {id} vanished")
            elif left != short(before, before.workloads[id]):
                found.append(f"I3: {id} left no record of its own")
    if after.retired is not before.retired:
        found.extend(f"I3: the record of {id} vanished" for id in before.retired if id not in after.retired)
    return found


def nothing_falls(before: State, after: State) -> list[str]:
    """I4: counters only rise."""
    return [
        f"I4: {what} fell"
        for what in ("version", "epoch", "fence", "plan_id")
        if getattr(after, what) < getattr(before, what)
    ]


def something_changes(event: Event, before: State, after: State) -> list[str]:
    """I14: every change has one event, so an event without a change is one too many."""
    if after.version != before.version + 1:
        return [f"I14: {type(event).__name__} counts {after.version - before.version} times"]
    if not isinstance(event, SAID_ANYWAY) and not _differs(before, after):
        return [f"I14: {type(event).__name__} changes nothing: {event}"]
    return []


def _differs(before: State, after: State) -> bool:
    return any(
        a is not b and a != b
        for name in State.__slots__
        if name != "version"
        for a, b in ((getattr(before, name), getattr(after, name)),)
    )


# -- of a workload


def allowed(before: Workload, after: Workload) -> list[str]:
    """I4: a status follows another only as the table says."""
    if before.status is after.status or after.status in TRANSITIONS[before.status]:
        return []
    return [f"I4: {after.id} went from {before.status.value} to {after.status.value}"]


def progress_is_kept(before: Workload, after: Workload) -> list[str]:
    """I4, I9: attempts are only added, and what is saved never gets less but where it cannot be read."""
    found = []
    if len(after.attempts) < len(before.attempts):
        found.append(f"I4: {after.id} has fewer attempts than before")
    fell_back = after.attempt is not None and after.attempt.fell_back != ""
    if after.step < before.step and not fell_back:
        found.append(f"I9: {after.id} had saved {before.step} steps and now {after.step}")
    return found


# -- of an event


def recorded_once(state: State, event: Event) -> list[str]:
    """I6: an end, and each version, is recorded once."""
    if isinstance(event, Finished) and event.workload in state.workloads:
        return [f"I6: {event.workload} finished twice"] if state.workloads[event.workload].status.over else []
    if isinstance(event, Published):
        versions = state.versions.get(f"{event.artefact.type}://{event.artefact.name}", ())
        if event.version != len(versions) + 1:
            return [f"I6: version {event.version} of {event.artefact.name} follows {len(versions)}"]
        if event.workload and any(v.workload == event.workload and v.attempt != event.attempt for v in versions):
            made = state.workloads[event.workload]
            return (
                [] if made.work.service else [f"I6: two attempts of {event.workload} published {event.artefact.name}"]
            )
    return []


def of_the_open_attempt(state: State, event: Event) -> list[str]:
    """I8: what an attempt says counts only while it is the one that is open."""
    if not isinstance(event, OF_AN_ATTEMPT) or event.workload not in state.workloads:
        return []
    current = state.workloads[event.workload].current
    if current is None or current.number != event.attempt:
        what = type(event).__name__
        return [f"I8: {what} of attempt {event.attempt} of {event.workload}, which is not open, was taken"]
    return []


def submitted_once(state: State, event: Event) -> list[str]:
    """I2: an id is given once, and a key and a name in it stand for one workload for ever."""
    if not isinstance(event, Submitted):
        return []
    found = [f"I2: {event.work.id} was submitted twice"] if status_of(state, event.work.id) is not None else []
    before = [record(state, id) for id in state.keys.get(event.key, ())] if event.key else []
    if any(one is not None and one.name == event.work.name for one in before):
        found.append(f"I2: key {event.key!r} stands for two workloads named {event.work.name!r}")
    return found


def granted_anew(state: State, event: Event) -> list[str]:
    """I5, I7: a grant has the next number and a new fence, on nodes that are ready, to whom it may be given."""
    if not isinstance(event, Granted) or event.workload not in state.workloads:
        return []
    workload = state.workloads[event.workload]
    found = []
    if event.fence <= state.fence or event.attempt != len(workload.attempts) + 1:
        found.append(f"I7: attempt {event.attempt} of {workload.id} has fence {event.fence} after {state.fence}")
    if workload.stop_requested_s is not None or workload.suspended_s is not None:
        found.append(f"I4: {workload.id} is granted though it was told not to run")
    if workload.not_before_s > event.at_s:
        found.append(f"I4: {workload.id} is granted before its back-off is over")
    unready = [id for id in event.nodes if id not in state.nodes or state.nodes[id].state is not NodeState.READY]
    found.extend(f"I1: {workload.id} is granted on {id}, which is not ready" for id in sorted(set(unready)))
    if paused_by(state, workload.work.tenant) is not None:
        found.append(f"I5: {workload.id} starts in a tenant that is paused")
    return found


def epoch_is_new(state: State, event: Event) -> list[str]:
    """I12: each writer has an epoch of its own, higher than all before."""
    if isinstance(event, EpochStarted) and event.epoch <= state.epoch:
        return [f"I12: epoch {event.epoch} begins after {state.epoch}"]
    return []


def preempted_with_cause(state: State, event: Event) -> list[str]:
    """I11, I13: who yields does so for a known cause that is true now, and for priority only to those above it."""
    if not isinstance(event, PreemptionOrdered) or event.workload not in state.workloads:
        return []
    victim = state.workloads[event.workload]
    found = []
    if event.cause not in PREEMPTED_BY:
        found.append(f"I13: {victim.id} yields without a cause ({event.cause!r})")
    told = victim.current if victim.status is Status.STOPPING else None
    sooner = told is not None and told.deadline_s is not None and event.deadline_s < told.deadline_s
    if told is not None and told.preempt_cause and not sooner:  # a grace may be cut short, as by a pause at once
        found.append(f"I13: {victim.id} was told to yield already")
    others = [state.workloads[id] for id in event.beneficiaries if id in state.workloads]
    found.extend(f"I13: {victim.id} yields for {one.id}, which is over" for one in others if one.status.over)
    if event.cause == "node" and victim.current is not None:
        nodes = [state.nodes.get(id) for id in victim.current.nodes]
        if all(node is not None and node.state is NodeState.READY for node in nodes):
            found.append(f"I13: {victim.id} leaves nodes that are all ready")
    if event.cause == "priority" and _strictly_by_priority(state):
        wrong = [one for one in others if one.work.priority <= victim.work.priority]
        found.extend(f"I11: {victim.id} yields to {one.id}, which is not above it" for one in wrong)
    return found


def _strictly_by_priority(state: State) -> bool:
    policy = Policy() if state.policy is None else state.policy
    rules = [policy.preemption, *(t.preemption for t in state.tenants.values() if t.preemption is not None)]
    return policy.ageing_s is None and all(rule.within is not Within.LOWER_OR_NEWER for rule in rules)


RULES: tuple[Callable[[State, Event], list[str]], ...] = (
    recorded_once,
    of_the_open_attempt,
    submitted_once,
    granted_anew,
    epoch_is_new,
    preempted_with_cause,
)


# -- of a grant in its turn


def within_limits(before: State, after: State, event: Granted) -> list[str]:
    """I5: with what was just granted, no tenant above it holds more than its limit."""
    workload = after.workloads.get(event.workload)
    if workload is None:
        return []
    found: list[str] = []
    for above in ancestors(after.tenants, TenantId(workload.work.tenant)):
        tenant = after.tenants.get(above)
        if tenant is None or tenant.limit is None:
            continue
        held = total(
            other.held(attempt).resources(len(attempt.nodes))
            for other in live(after)
            if (attempt := other.current) is not None and above in ancestors(after.tenants, TenantId(other.work.tenant))
        )
        found.extend(
            f"I5: {event.workload} takes tenant {above} to {held.get(name)} of {name}, above its limit {most}"
            for name, most in tenant.limit
            if held.get(name) > most and workload.held(workload.attempts[-1]).resources().get(name)
        )
    return found


# -- of a turn


def time_does_not_run_back(events: Sequence[Event]) -> list[str]:
    """I4: the events of a turn stand in the order of their time."""
    times = [event.at_s for event in events]
    return [] if times == sorted(times) else ["I4: an event is older than the one before it"]


def who_is_preempted_for_gets_room(after: State, events: Sequence[Event]) -> list[str]:
    """I13: in the turn in which one yields to another, that other is granted nodes or has some kept."""
    return [
        f"I13: {event.workload} yields to {id}, which gets nothing"
        for event in events
        if isinstance(event, PreemptionOrdered) and event.cause != "resize"
        for id in event.beneficiaries
        if id in after.workloads
        if after.workloads[id].current is None and not kept(after, id)
    ]
