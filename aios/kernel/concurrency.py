"""Who may not start whatever room there is: work of paused tenants, and of those that run enough already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from aios.kernel.events import Limits, WorkloadId
from aios.kernel.state import State, Status, Workload
from placement.model import ROOT, Tenant, TenantId

PAUSED = "TenantPaused"
"""The reason of work whose tenant is paused."""

CONCURRENCY = "Concurrency"
"""The reason of work whose tenant, or whose user, runs as many workloads as it may."""

_SHOWN = 3

Scope = tuple[TenantId, str]
"""A tenant, and one user of it (empty: all of them)."""


@dataclass(frozen=True, slots=True)
class Held:
    """Why a workload does not start."""

    reason: str
    detail: str


def ancestors(tenants: Mapping[TenantId, Tenant], id: TenantId) -> tuple[TenantId, ...]:
    """Return a tenant and those above it, nearest first; stops where the chain ends or closes."""
    chain: list[TenantId] = []
    at: TenantId | None = id
    while at is not None and at != ROOT and at not in chain:
        chain.append(at)
        tenant = tenants.get(at)
        at = tenant.parent if tenant is not None else None
    return tuple(chain)


def paused_by(state: State, tenant: str) -> TenantId | None:
    """Return the paused tenant that a tenant is, or is below."""
    if not state.paused:
        return None
    return next((id for id in ancestors(state.tenants, TenantId(tenant)) if id in state.paused), None)


def held_back(state: State) -> dict[WorkloadId, Held]:
    """Return what may not start now though it waits, with why.

    The most important waits first, then the oldest. Work that the planner had no room for does not take a place from
    what comes after it; who starts is counted again when the plan is adopted.
    """
    if not state.paused and not any(_runs_limited(limits) for limits in state.limits.values()):
        return {}
    slots = Slots(state)
    waiting = [w for w in (state.workloads[id] for id in state.live) if w.status in (Status.QUEUED, Status.PREEMPTED)]
    held: dict[WorkloadId, Held] = {}
    for workload in sorted(waiting, key=lambda w: -w.work.priority):
        why = slots.closed_to(workload)
        if why is not None:
            held[workload.id] = why
        elif not _had_no_room(state, workload):
            slots.take(workload)
    return held


def _runs_limited(limits: Limits) -> bool:
    return limits.max_running is not None or limits.max_running_per_user is not None


def _had_no_room(state: State, workload: Workload) -> bool:
    waits = state.waits.get(workload.id)
    return waits is not None and not waits.nodes and waits.reason not in (PAUSED, CONCURRENCY, "WaitingForPlan")


class Slots:
    """How many workloads run, or have nodes kept, by tenant and by user."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._running: dict[Scope, list[WorkloadId]] = {}
        if any(_runs_limited(limits) for limits in state.limits.values()):
            for id in state.live:
                workload, waits = state.workloads[id], state.waits.get(id)
                if workload.status.active or (waits is not None and waits.nodes):
                    self.take(workload)

    def closed_to(self, workload: Workload) -> Held | None:
        """Return why a workload may not start, None where it may."""
        paused = paused_by(self._state, workload.work.tenant)
        if paused is not None:
            who = self._state.paused[paused]
            by = f" by {who}" if who and not who.startswith("aios ") else ""
            message = f"tenant {paused} is paused{by}: aios tenant resume {paused}"
            return Held(PAUSED, message)
        waits = self._state.waits.get(workload.id)
        if waits is not None and waits.nodes:
            return None  # counted already: its place is kept for it
        for scope, most in self._limits(workload):
            running = self._running.get(scope, [])
            if len(running) >= most:
                return Held(CONCURRENCY, _sentence(scope, most, running))
        return None

    def take(self, workload: Workload) -> None:
        """Count a workload as running."""
        for scope, _ in self._limits(workload):
            self._running.setdefault(scope, []).append(workload.id)

    def _limits(self, workload: Workload) -> Iterator[tuple[Scope, int]]:
        for limits in limits_of(self._state, workload.work.tenant):
            if limits.max_running is not None:
                yield (TenantId(limits.tenant), ""), limits.max_running
            if limits.max_running_per_user is not None:
                yield (TenantId(limits.tenant), workload.work.user or NOBODY), limits.max_running_per_user


NOBODY = "-"
"""The user of work that names none."""


def _sentence(scope: Scope, most: int, running: list[WorkloadId]) -> str:
    tenant, user = scope
    who = f"user {user} in tenant {tenant}" if user else f"tenant {tenant}"
    shown = ", ".join(running[:_SHOWN]) + (f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else "")
    if not running:
        return f"{who} may run {most} workloads at once"
    return f"{who} runs {len(running)} of at most {most} workloads: it waits until one of {shown} ends"


def limits_of(state: State, tenant: str) -> tuple[Limits, ...]:
    """Return the limits that hold for a tenant's work, its own first."""
    chain = ancestors(state.tenants, TenantId(tenant))
    return tuple(state.limits[id] for id in chain if id in state.limits)


class Pending:
    """How much waits, by tenant and by user: counted when it is first asked for, and kept up to date within a turn."""

    def __init__(self) -> None:
        self._waiting: dict[Scope, int] = {}
        self._counted: tuple[object, object] | None = None

    def broken(self, state: State, new: Iterable[tuple[str, str]]) -> str:
        """Return which limit more waiting work of these tenants and users breaks, empty where none is."""
        limited = [(limits, user or NOBODY) for tenant, user in new for limits in limits_of(state, tenant)]
        if not any(_waits_limited(limits) for limits, _ in limited):
            return ""
        self._count(state)
        more = Counter(scope for limits, user in limited for scope in _scopes(limits, user))
        for limits, user in limited:
            for (tenant, who), most in zip(_scopes(limits, user), _most(limits), strict=True):
                n = self._waiting.get((tenant, who), 0) + more[tenant, who]
                if most is not None and n > most:
                    whose = f"user {who} in tenant {tenant}" if who else f"tenant {tenant}"
                    return f"{whose} would have {n} workloads waiting, and may have {most}"
        return ""

    def add(self, state: State, new: Iterable[tuple[str, str]]) -> None:
        """Count work that waits from now on."""
        for tenant, user in new if self._counted is not None else ():
            for limits in limits_of(state, tenant):
                for scope in _scopes(limits, user or NOBODY):
                    self._waiting[scope] = self._waiting.get(scope, 0) + 1

    def _count(self, state: State) -> None:
        """Count anew where that was not done yet, or tenants have changed since."""
        if self._counted is not None and self._counted[0] is state.limits and self._counted[1] is state.tenants:
            return
        self._waiting, self._counted = {}, (state.limits, state.tenants)
        live = (state.workloads[id] for id in state.live)
        self.add(state, ((w.work.tenant, w.work.user) for w in live if not w.status.active))


def _waits_limited(limits: Limits) -> bool:
    return limits.max_pending is not None or limits.max_pending_per_user is not None


def _scopes(limits: Limits, user: str) -> tuple[Scope, Scope]:
    return (TenantId(limits.tenant), ""), (TenantId(limits.tenant), user)


def _most(limits: Limits) -> tuple[int | None, int | None]:
    return limits.max_pending, limits.max_pending_per_user
