"""What people do to running work and to nodes by hand: preempt, suspend, resume, drain."""

from __future__ import annotations

from dataclasses import replace

from aios.kernel.concurrency import paused_by
from aios.kernel.events import (
    NodeChanged,
    NodeDrainEnded,
    NodeDrainRequested,
    PreemptionOrdered,
    QuarantineEnded,
    ResumeRequested,
    StopRequested,
    SuspendRequested,
    TenantPaused,
    TenantResumed,
    WorkloadId,
)
from aios.kernel.evolve import Fold
from aios.kernel.ports import (
    Accepted,
    Drain,
    PauseTenant,
    PreemptWork,
    Refused,
    ReleaseNode,
    Reply,
    Resume,
    ResumeTenant,
    StopWork,
    Suspend,
    Undrain,
)
from aios.kernel.records import status_of
from aios.kernel.state import Status, Workload
from placement.model import NodeState, TenantId


def stop(fold: Fold, now_s: float, asked: StopWork) -> Reply:
    workload = fold.state.workloads.get(asked.workload)
    if workload is None and asked.workload in fold.state.retired:
        return Accepted((asked.workload,), existing=True)
    if workload is None:
        return _unknown(fold, asked.workload)
    asked_before = workload.status.over or workload.stop_requested_s is not None
    if not asked_before:
        fold.record(StopRequested(now_s, workload.id, asked.by))
    return Accepted((workload.id,), existing=asked_before)


def preempt(fold: Fold, now_s: float, asked: PreemptWork) -> Reply:
    """Have a running workload save its progress and wait for its next turn."""
    workload = fold.state.workloads.get(asked.workload)
    if workload is None:
        return _unknown(fold, asked.workload)
    if workload.current is None or workload.status is Status.STOPPING:
        return Refused(
            "rejected", f"{workload.id} is {workload.status.value}: only what runs can be preempted", "aios ps"
        )
    _yield(fold, now_s, workload, "user")
    return Accepted((workload.id,))


def suspend(fold: Fold, now_s: float, asked: Suspend) -> Reply:
    """Have a workload save its progress and wait until it is resumed."""
    workload = fold.state.workloads.get(asked.workload)
    if workload is None:
        return _unknown(fold, asked.workload)
    if workload.status.over:
        return Refused("rejected", f"{workload.id} is {workload.status.value}: it is over", "submit it again")
    if workload.suspended_s is not None:
        return Accepted((workload.id,), existing=True)
    fold.record(SuspendRequested(now_s, workload.id, asked.by))
    if workload.current is not None and workload.status is not Status.STOPPING:
        _yield(fold, now_s, fold.state.workloads[workload.id], "suspend")
    return Accepted((workload.id,))


def resume(fold: Fold, now_s: float, asked: Resume) -> Reply:
    """Let a suspended workload wait for its turn again."""
    workload = fold.state.workloads.get(asked.workload)
    if workload is None:
        return _unknown(fold, asked.workload)
    if workload.suspended_s is None:
        if workload.status.over:
            return Refused("rejected", f"{workload.id} is {workload.status.value}: it is over", "submit it again")
        return Accepted((workload.id,), existing=True)
    fold.record(ResumeRequested(now_s, workload.id, asked.by))
    return Accepted((workload.id,))


def drain(fold: Fold, now_s: float, asked: Drain) -> Reply:
    """Take a node out of use: nothing new starts there, and what runs there saves its progress and moves."""
    node = fold.state.nodes.get(asked.node)
    if node is None or node.state is NodeState.DOWN:
        return Refused("not_found", f"there is no node {asked.node!r}", "list them with `aios node list`")
    if fold.state.drains.get(asked.node) == asked.grace_s and asked.node in fold.state.drains:
        return Accepted((asked.node,), existing=True)
    fold.record(NodeDrainRequested(now_s, asked.node, asked.grace_s, asked.by))
    if node.state is NodeState.READY:
        draining = replace(node, state=NodeState.DRAINING)
        fold.record(NodeChanged(now_s, draining, fold.state.node_names.get(asked.node, "")))
    return Accepted((asked.node,))


def undrain(fold: Fold, now_s: float, asked: Undrain) -> Reply:
    """Take a node back into use; the next look at the cluster says whether it is ready."""
    if asked.node not in fold.state.drains:
        return Refused("rejected", f"node {asked.node} was not drained by hand", "list nodes with `aios node list`")
    fold.record(NodeDrainEnded(now_s, asked.node, asked.by))
    return Accepted((asked.node,))


def release(fold: Fold, now_s: float, asked: ReleaseNode) -> Reply:
    """Trust a node again before its quarantine is over."""
    if asked.name not in fold.state.quarantines:
        shut = ", ".join(sorted(fold.state.quarantines)) or "none"
        return Refused("rejected", f"node {asked.name} is not in quarantine", f"in quarantine: {shut}")
    fold.record(QuarantineEnded(now_s, asked.name, asked.by or "hand"))
    return Accepted((asked.name,))


def pause(fold: Fold, now_s: float, asked: PauseTenant) -> Reply:
    """Start nothing of a tenant and of those below it; what runs goes on, yields, or is ended at once."""
    if (unknown := _unknown_tenant(fold, asked.tenant)) is not None:
        return unknown
    known = TenantId(asked.tenant) in fold.state.paused
    if not known or asked.how:
        fold.record(TenantPaused(now_s, asked.tenant, asked.how, asked.by))
    for id in fold.state.live if asked.how else ():
        workload = fold.state.workloads[id]
        attempt = workload.current
        if attempt is None or paused_by(fold.state, workload.work.tenant) is None:
            continue
        if asked.how == "now":
            if attempt.deadline_s is None or attempt.deadline_s > now_s:
                _yield(fold, now_s, workload, "pause", 0.0)
        elif attempt.deadline_s is None and (workload.work.demand.preemptible or attempt.started_s is None):
            _yield(fold, now_s, workload, "pause")
    return Accepted((asked.tenant,), existing=known and not asked.how)


def unpause(fold: Fold, now_s: float, asked: ResumeTenant) -> Reply:
    """Let a tenant's work start again."""
    if (unknown := _unknown_tenant(fold, asked.tenant)) is not None:
        return unknown
    if TenantId(asked.tenant) not in fold.state.paused:
        above = paused_by(fold.state, asked.tenant)
        if above is not None:
            return Refused("rejected", f"tenant {asked.tenant} waits for {above}", f"aios tenant resume {above}")
        return Accepted((asked.tenant,), existing=True)
    fold.record(TenantResumed(now_s, asked.tenant, asked.by))
    return Accepted((asked.tenant,))


def _unknown_tenant(fold: Fold, tenant: str) -> Refused | None:
    if TenantId(tenant) in fold.state.tenants:
        return None
    known = ", ".join(sorted(fold.state.tenants)) or "none yet"
    return Refused("not_found", f"there is no tenant {tenant!r}", f"known: {known}")


def _yield(fold: Fold, now_s: float, workload: Workload, cause: str, grace_s: float | None = None) -> None:
    attempt = workload.current
    assert attempt is not None, f"{workload.id}: only what runs can yield"
    until_s = now_s + (workload.work.grace_s if grace_s is None else grace_s)
    fold.record(PreemptionOrdered(now_s, workload.id, attempt.number, cause, (), until_s))


def _unknown(fold: Fold, id: WorkloadId) -> Refused:
    status = status_of(fold.state, id)
    if status is not None:
        return Refused("rejected", f"{id} is {status.value}: it is over", "submit it again")
    return Refused("not_found", f"there is no workload {id!r}", "list them with `aios ps`")
