"""New work: recorded whole, found to be there already, or refused with what to do about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from aios.kernel.concurrency import Pending, limits_of
from aios.kernel.events import (
    Finished,
    Reused,
    Submitted,
    Work,
    WorkloadId,
)
from aios.kernel.evolve import Fold
from aios.kernel.inputs import find, is_versioned, may_be_missing, split
from aios.kernel.limits import duration
from aios.kernel.ports import (
    Accepted,
    NewWork,
    Refused,
    Reply,
    Submit,
)
from aios.kernel.records import record
from aios.kernel.reuse import reusable
from aios.kernel.state import State, Status, Tombstone
from placement.model import Demand, DemandId, TenantId


def submit_work(fold: Fold, now_s: float, submit: Submit, pending: Pending) -> Reply:
    """Record the works of a submission that are new, or none of them; ``pending`` is kept up to date."""
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
            found = new_id(fold.state, work.name, len(ids))
        ids[work.name] = found
    for work in fresh:
        refused = _missing_input(fold.state, work, submit)
        if refused is not None:
            return refused
    refused = _beyond_limits(fold.state, fresh, pending)
    if refused is not None:
        return refused
    _record(fold, now_s, submit, fresh, ids)
    recorded = (fold.state.workloads[ids[work.name]] for work in fresh)
    pending.add(fold.state, ((w.work.tenant, w.work.user) for w in recorded if not w.status.over))
    return Accepted(tuple(ids[work.name] for work in submit.works), existing=not fresh)


def _record(fold: Fold, now_s: float, submit: Submit, fresh: Sequence[NewWork], ids: Mapping[str, WorkloadId]) -> None:
    """Record new work; where a stage has been done before just so, its result stands for it."""
    state, standing = fold.state, {work.name for work in submit.works if work not in fresh}
    before = {w.name: older for w in fresh if w.cache and (older := _newest(state, w.name)) is not None}
    for work in _in_order(fresh):
        source = reusable(state, work, before, standing)
        fold.record(Submitted(now_s, _with_id(state, work, ids, now_s), submit.key))
        if source is not None:
            id = ids[work.name]
            standing.add(work.name)
            fold.record(Reused(now_s, id, source))
            message = f"reused from {source}: same code, parameters and inputs"
            fold.record(Finished(now_s, id, Status.SUCCEEDED.value, "Reused", message, 0))


def _beyond_limits(state: State, fresh: Sequence[NewWork], pending: Pending) -> Refused | None:
    """Return which limit of its tenant new work breaks."""
    for work in fresh:
        for limits in limits_of(state, work.tenant):
            most_s = limits.time_limit_s
            if most_s is not None and work.time_limit_s is not None and work.time_limit_s > most_s:
                asked = f"{work.name}: time_limit {duration(work.time_limit_s)} is above {duration(most_s)}"
                return Refused("rejected", f"{asked}, the most in tenant {limits.tenant}", "give a smaller time_limit")
    broken = pending.broken(state, ((work.tenant, work.user) for work in fresh))
    hint = "wait until some of them have started (`aios ps`), or raise max_pending of the tenant"
    return Refused("too_many", broken, hint) if broken else None


def _same_key(state: State, submit: Submit) -> Reply | None:
    """Return the first answer again where the idempotency key is known."""
    ids = state.keys.get(submit.key, ()) if submit.key else ()
    if not ids:
        return None
    before = {one.name: one for id in ids if (one := record(state, id)) is not None}
    now = {work.name: work for work in submit.works}
    if any(name not in now or now[name].content != one.content for name, one in before.items()):
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
    older = _newest(state, work.name)
    if older is None or (work.rerun and older.status.over):
        return None
    if older.content == work.content and older.tenant == work.tenant:
        return older.id
    how = "rerun it with --rerun" if older.status.over else f"stop it first (`aios stop {older.id}`)"
    return Refused(
        "name_taken",
        f"{work.name!r} is taken by {older.id} ({older.status.value}) with other content",
        f"choose another name, or {how}",
    )


def _newest(state: State, name: str) -> Tombstone | None:
    """Return the record of the newest workload of a name."""
    id = state.names.get(name)
    return None if id is None else record(state, id)


def _missing_input(state: State, work: NewWork, submit: Submit) -> Refused | None:
    """Return which input neither exists nor is made in this submission."""
    made = {split(reference)[0] for other in submit.works for _, reference in other.outputs}
    for role, reference in work.inputs:
        key, version = split(reference)
        if not is_versioned(reference) or key in made or may_be_missing(role):
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


def new_id(state: State, name: str, nth: int) -> WorkloadId:
    sequence = state.version + nth
    while True:
        id = WorkloadId(f"{name}-{hashlib.sha256(f'{name}/{sequence}'.encode()).hexdigest()[:4]}")
        if id not in state.workloads and id not in state.retired:
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
