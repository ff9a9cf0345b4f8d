"""Requests: each is recorded whole, found to be there already, or refused with what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from aios.kernel import catalogue, operate
from aios.kernel.concurrency import ancestors, limits_of, too_many
from aios.kernel.events import (
    Finished,
    Limits,
    PolicyApplied,
    ReservationEnded,
    ReservationsApplied,
    Reused,
    StopRequested,
    Submitted,
    TenantsApplied,
    Work,
    WorkloadId,
)
from aios.kernel.evolve import Fold
from aios.kernel.inputs import find, is_versioned, split
from aios.kernel.limits import duration
from aios.kernel.ports import (
    Accepted,
    Answer,
    ApplyPolicy,
    ApplyTenants,
    Asked,
    Drain,
    NewWork,
    PauseTenant,
    PreemptWork,
    PublishVersion,
    Refused,
    ReleaseNode,
    RemoveVersions,
    Reply,
    Request,
    Reserve,
    Resume,
    ResumeTenant,
    Retry,
    StopWork,
    Submit,
    Suspend,
    TagVersion,
    Undrain,
    Unreserve,
)
from aios.kernel.reuse import reusable, unchanged
from aios.kernel.state import State, Status, Workload
from placement.model import ROOT, Demand, DemandId, TenantId


def admit(fold: Fold, now_s: float, asked: Sequence[Asked]) -> tuple[Answer, ...]:
    """Record what is asked, in order, and return the replies."""
    return tuple(Answer(one.id, _reply(fold, now_s, one.request)) for one in asked)


def _reply(fold: Fold, now_s: float, request: Request) -> Reply:
    match request:
        case Submit():
            return _submit(fold, now_s, request)
        case StopWork():
            return _stop(fold, now_s, request)
        case TagVersion():
            return catalogue.tag(fold, now_s, request)
        case PublishVersion():
            return catalogue.publish(fold, now_s, request)
        case RemoveVersions():
            return catalogue.remove(fold, now_s, request)
        case Retry():
            return _retry(fold, now_s, request)
        case PreemptWork():
            return operate.preempt(fold, now_s, request)
        case Suspend():
            return operate.suspend(fold, now_s, request)
        case Resume():
            return operate.resume(fold, now_s, request)
        case Drain():
            return operate.drain(fold, now_s, request)
        case Undrain():
            return operate.undrain(fold, now_s, request)
        case ReleaseNode():
            return operate.release(fold, now_s, request)
        case PauseTenant():
            return operate.pause(fold, now_s, request)
        case ResumeTenant():
            return operate.unpause(fold, now_s, request)
        case ApplyTenants():
            return _apply_tenants(fold, now_s, request)
        case ApplyPolicy():
            if fold.state.policy == request.policy:
                return Accepted(existing=True)
            fold.record(PolicyApplied(now_s, request.policy, request.by))
            return Accepted()
        case Reserve():
            return _reserve(fold, now_s, request)
        case Unreserve():
            return _unreserve(fold, now_s, request)


def _submit(fold: Fold, now_s: float, submit: Submit) -> Reply:
    before = _same_key(fold.state, submit)
    if before is not None:
        return before
    refused = _malformed(fold.state, submit)
    if refused is not None:
        return refused
    ids: dict[str, WorkloadId] = {}
    fresh: list[NewWork] = []
    for work in submit.works:
        found = _existing(fold.state, work)
        if isinstance(found, Refused):
            return found
        if found is None:
            fresh.append(work)
            found = _new_id(fold.state, work.name, len(ids))
        ids[work.name] = found
    for work in fresh:
        refused = _missing_input(fold.state, work, submit)
        if refused is not None:
            return refused
    refused = _beyond_limits(fold.state, fresh)
    if refused is not None:
        return refused
    _record(fold, now_s, submit, fresh, ids)
    return Accepted(tuple(ids[work.name] for work in submit.works), existing=not fresh)


def _record(fold: Fold, now_s: float, submit: Submit, fresh: Sequence[NewWork], ids: Mapping[str, WorkloadId]) -> None:
    """Record new work; where a stage has been done before just so, its result stands for it."""
    state, standing = fold.state, {work.name for work in submit.works if work not in fresh}
    before = {w.name: state.workloads[state.names[w.name]] for w in fresh if w.name in state.names}
    for work in _in_order(fresh):
        source = reusable(state, work, before, standing)
        fold.record(Submitted(now_s, _with_id(state, work, ids, now_s), submit.key))
        if source is not None:
            id = ids[work.name]
            standing.add(work.name)
            fold.record(Reused(now_s, id, source))
            message = f"reused from {source}: same code, parameters and inputs"
            fold.record(Finished(now_s, id, Status.SUCCEEDED.value, "Reused", message, 0))


def _beyond_limits(state: State, fresh: Sequence[NewWork]) -> Refused | None:
    """Return which limit of its tenant new work breaks."""
    for work in fresh:
        for limits in limits_of(state, work.tenant):
            most_s = limits.time_limit_s
            if most_s is not None and work.time_limit_s is not None and work.time_limit_s > most_s:
                asked = f"{work.name}: time_limit {duration(work.time_limit_s)} is above {duration(most_s)}"
                return Refused("rejected", f"{asked}, the most in tenant {limits.tenant}", "give a smaller time_limit")
    broken = too_many(state, ((work.tenant, work.user) for work in fresh))
    hint = "wait until some of them have started (`aios ps`), or raise max_pending of the tenant"
    return Refused("too_many", broken, hint) if broken else None


def _same_key(state: State, submit: Submit) -> Reply | None:
    """Return the first answer again where the idempotency key is known."""
    ids = state.keys.get(submit.key, ()) if submit.key else ()
    if not ids:
        return None
    before = {state.workloads[id].work.name: state.workloads[id] for id in ids}
    now = {work.name: work for work in submit.works}
    if any(name not in now or now[name].content != workload.work.content for name, workload in before.items()):
        what = ", ".join(sorted(before))
        return Refused(
            "name_taken",
            f"idempotency key {submit.key!r} was used before, for {what} with other content",
            "use a new key for new content",
        )
    found = {name: before[name].id if name in before else state.names.get(name) for name in now}
    return Accepted(tuple(id for id in found.values() if id is not None), existing=True)


def _malformed(state: State, submit: Submit) -> Refused | None:
    names = [work.name for work in submit.works]
    if not names:
        return Refused("invalid_spec", "the submission holds no workload", "give at least one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return Refused("invalid_spec", f"two workloads are named {twice[0]!r}", "give each a name of its own")
    for work in submit.works:
        if TenantId(work.tenant) not in state.tenants:
            known = ", ".join(sorted(state.tenants)) or "none yet"
            return Refused(
                "unknown_tenant",
                f"{work.name}: tenant {work.tenant!r} is not known",
                f"known tenants: {known}; add one with `aios tenant apply`",
            )
        missing = [need for need in work.needs if need not in names]
        if missing:
            return Refused(
                "invalid_spec",
                f"{work.name} needs {missing[0]!r}, which is not in this submission",
                f"one of: {', '.join(sorted(names))}",
            )
    stuck = _in_a_circle(submit.works)
    if stuck:
        return Refused("invalid_spec", f"{', '.join(stuck)} need each other", "break the circle")
    return None


def _in_a_circle(works: Sequence[NewWork]) -> list[str]:
    done: set[str] = set()
    waiting = list(works)
    while True:
        free = [work for work in waiting if done.issuperset(work.needs)]
        if not free:
            return sorted(work.name for work in waiting)
        done.update(work.name for work in free)
        waiting = [work for work in waiting if work.name not in done]
        if not waiting:
            return []


def _in_order(works: Sequence[NewWork]) -> list[NewWork]:
    """Return the works as given, but none before one of them that it needs."""
    names, done = {work.name for work in works}, set[str]()
    ordered: list[NewWork] = []
    while len(ordered) < len(works):
        for work in works:
            if work.name not in done and done.issuperset(names.intersection(work.needs)):
                ordered.append(work)
                done.add(work.name)
    return ordered


def _existing(state: State, work: NewWork) -> WorkloadId | Refused | None:
    """Return the workload that this already is, None where it is new."""
    id = state.names.get(work.name)
    if id is None:
        return None
    older = state.workloads[id]
    if work.rerun and older.status.over:
        return None
    if older.work.content == work.content and older.work.tenant == work.tenant:
        return id
    how = "rerun it with --rerun" if older.status.over else f"stop it first (`aios stop {id}`)"
    return Refused(
        "name_taken",
        f"{work.name!r} is taken by {id} ({older.status.value}) with other content",
        f"choose another name, or {how}",
    )


def _missing_input(state: State, work: NewWork, submit: Submit) -> Refused | None:
    """Return which input neither exists nor is made in this submission."""
    made = {split(reference)[0] for other in submit.works for _, reference in other.outputs}
    for role, reference in work.inputs:
        key, version = split(reference)
        if not is_versioned(reference) or key in made:
            continue
        versions = state.versions.get(key, ())
        if not versions:
            kind = key.partition("://")[0]
            known = ", ".join(sorted(name for name in state.versions if name.startswith(kind))) or "none yet"
            return Refused("not_found", f"{work.name}: input {role!r}: there is no {reference}", f"there is: {known}")
        if version not in ("", "latest") and find(state, key, version) is None:
            return Refused(
                "not_found",
                f"{work.name}: input {role!r}: {key} has no version {version}",
                f"versions: {', '.join(str(v.version) for v in versions)}",
            )
    return None


def _new_id(state: State, name: str, nth: int) -> WorkloadId:
    sequence = state.version + nth
    while True:
        id = WorkloadId(f"{name}-{hashlib.sha256(f'{name}/{sequence}'.encode()).hexdigest()[:4]}")
        if id not in state.workloads:
            return id
        sequence += 1


def _with_id(state: State, work: NewWork, ids: Mapping[str, WorkloadId], now_s: float) -> Work:
    id = ids[work.name]
    runtime_s = work.demand.runtime_s if work.demand.runtime_s is not None else work.estimate_s
    inherited = (limits.time_limit_s for limits in limits_of(state, work.tenant) if limits.time_limit_s is not None)
    limit_s = work.time_limit_s if work.time_limit_s is not None else min(inherited, default=None)
    if limit_s is not None and not work.service:  # the planner knows at least that it does not run longer
        runtime_s = limit_s if runtime_s is None else min(runtime_s, limit_s)
    deadline_s = None if work.demand.deadline_s is None else now_s + work.demand.deadline_s
    demand: Demand = replace(
        work.demand,
        id=DemandId(id),
        tenant=TenantId(work.tenant),
        submitted_s=now_s,
        runtime_s=runtime_s,
        deadline_s=deadline_s,
    )
    return Work(
        id=id,
        name=work.name,
        kind=work.kind,
        tenant=work.tenant,
        priority=work.priority,
        demand=replace(demand, priority=work.priority),
        spec=work.spec,
        content=work.content,
        pipeline=work.pipeline,
        needs=tuple(ids[need] for need in work.needs),
        inputs=work.inputs,
        outputs=work.outputs,
        service=work.service,
        max_retries=work.max_retries,
        grace_s=work.grace_s,
        estimate_s=work.estimate_s,
        trace=work.trace,
        time_limit_s=limit_s,
        on_deadline=work.on_deadline,
        max_attempts=work.max_attempts,
        user=work.user,
        cache=work.cache,
    )


def _retry(fold: Fold, now_s: float, retry: Retry) -> Reply:
    """Submit again what did not succeed, in its place: it needs what succeeded before and what is tried again now."""
    unknown = [id for id in retry.workloads if id not in fold.state.workloads]
    if unknown:
        return Refused("not_found", f"there is no workload {unknown[0]!r}", "list them with `aios ps -a`")
    found = [fold.state.workloads[id] for id in retry.workloads]
    again = _again(fold.state, found, retry.afresh)
    if not again:
        which = ", ".join(f"{w.id} is {w.status.value}" for w in found)
        return Refused("rejected", f"nothing to try again: {which}", "--no-cache runs what has succeeded once more")
    taken = [w for w in again if fold.state.names.get(w.work.name, w.id) != w.id]
    if taken:
        newer = fold.state.names[taken[0].work.name]
        return Refused("rejected", f"{taken[0].id} was submitted again already, as {newer}", f"aios retry {newer}")
    ids = {w.id: _new_id(fold.state, w.work.name, nth) for nth, w in enumerate(again)}
    todo = {w.id: w.work for w in again}
    while todo:
        free = [id for id, work in todo.items() if not any(need in todo for need in work.needs)]
        for id in free:
            work = todo.pop(id)
            demand = replace(work.demand, id=DemandId(ids[id]), submitted_s=now_s, deadline_s=_later(work, now_s))
            needs = tuple(ids.get(need, need) for need in work.needs)
            fold.record(Submitted(now_s, replace(work, id=ids[id], demand=demand, needs=needs)))
    return Accepted(tuple(ids.values()))


def _again(state: State, found: Sequence[Workload], afresh: bool) -> list[Workload]:
    """Return what has to run again: what did not succeed, what read something older, and what needs either."""
    again: dict[WorkloadId, Workload] = {}
    for workload in found:  # what is needed stands before what needs it
        over = workload.status.over
        if over and (afresh or workload.status is not Status.SUCCEEDED or not unchanged(state, workload, again)):
            again[workload.id] = workload
    return list(again.values())


def _later(work: Work, now_s: float) -> float | None:
    """Return a deadline as long after now as it was after the first submission."""
    deadline_s = work.demand.deadline_s
    return None if deadline_s is None else now_s + deadline_s - work.demand.submitted_s


def _stop(fold: Fold, now_s: float, stop: StopWork) -> Reply:
    workload = fold.state.workloads.get(stop.workload)
    if workload is None:
        return Refused("not_found", f"there is no workload {stop.workload!r}", "list them with `aios ps`")
    asked_before = workload.status.over or workload.stop_requested_s is not None
    if not asked_before:
        fold.record(StopRequested(now_s, workload.id, stop.by))
    return Accepted((workload.id,), existing=asked_before)


def _apply_tenants(fold: Fold, now_s: float, apply: ApplyTenants) -> Reply:
    known = dict(fold.state.tenants.items())
    known.update({tenant.id: tenant for tenant in apply.tenants})
    for tenant in apply.tenants:
        if tenant.parent is not None and tenant.parent != ROOT and tenant.parent not in known:
            return Refused(
                "invalid_spec",
                f"tenant {tenant.id}: its parent {tenant.parent!r} is not known",
                f"known: {', '.join(sorted(known))}",
            )
        top = ancestors(known, tenant.id)[-1]
        if known[top].parent not in (None, ROOT):
            return Refused("invalid_spec", f"tenant {tenant.id} is above itself", "break the circle of parents")
    changed = tuple(tenant for tenant in apply.tenants if fold.state.tenants.get(tenant.id) != tenant)
    limits = tuple(one for one in apply.limits if fold.state.limits.get(TenantId(one.tenant)) != one)
    limits = tuple(one for one in limits if TenantId(one.tenant) in fold.state.limits or one != Limits(one.tenant))
    if changed or limits:
        fold.record(TenantsApplied(now_s, changed, limits))
    return Accepted(tuple(tenant.id for tenant in apply.tenants), existing=not (changed or limits))


def _reserve(fold: Fold, now_s: float, reserve: Reserve) -> Reply:
    for one in reserve.reservations:
        unknown = [tenant for tenant in one.tenants if tenant not in fold.state.tenants]
        if unknown:
            known = ", ".join(sorted(fold.state.tenants)) or "none yet"
            return Refused("unknown_tenant", f"reservation {one.id}: no tenant {unknown[0]!r}", f"known: {known}")
    changed = tuple(one for one in reserve.reservations if fold.state.reservations.get(one.id) != one)
    if changed:
        fold.record(ReservationsApplied(now_s, changed, reserve.by))
    return Accepted(tuple(one.id for one in reserve.reservations), existing=not changed)


def _unreserve(fold: Fold, now_s: float, unreserve: Unreserve) -> Reply:
    if unreserve.reservation not in fold.state.reservations:
        known = ", ".join(sorted(fold.state.reservations)) or "none"
        return Refused("not_found", f"there is no reservation {unreserve.reservation!r}", f"there is: {known}")
    fold.record(ReservationEnded(now_s, unreserve.reservation, unreserve.by))
    return Accepted((unreserve.reservation,))
