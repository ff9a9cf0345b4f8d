"""What governs the cluster: tenants with their limits, the policy, reservations."""

from __future__ import annotations

from aios.kernel.concurrency import ancestors
from aios.kernel.events import (
    Limits,
    PolicyApplied,
    ReservationEnded,
    ReservationsApplied,
    TenantsApplied,
)
from aios.kernel.evolve import Fold
from aios.kernel.ports import (
    Accepted,
    ApplyPolicy,
    ApplyTenants,
    Refused,
    Reply,
    Reserve,
    Unreserve,
)
from placement.model import ROOT, TenantId


def apply_tenants(fold: Fold, now_s: float, apply: ApplyTenants) -> Reply:
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


def make_reservations(fold: Fold, now_s: float, reserve: Reserve) -> Reply:
    for one in reserve.reservations:
        unknown = [tenant for tenant in one.tenants if tenant not in fold.state.tenants]
        if unknown:
            known = ", ".join(sorted(fold.state.tenants)) or "none yet"
            return Refused("unknown_tenant", f"reservation {one.id}: no tenant {unknown[0]!r}", f"known: {known}")
    changed = tuple(one for one in reserve.reservations if fold.state.reservations.get(one.id) != one)
    if changed:
        fold.record(ReservationsApplied(now_s, changed, reserve.by))
    return Accepted(tuple(one.id for one in reserve.reservations), existing=not changed)


def end_reservation(fold: Fold, now_s: float, unreserve: Unreserve) -> Reply:
    if unreserve.reservation not in fold.state.reservations:
        known = ", ".join(sorted(fold.state.reservations)) or "none"
        return Refused("not_found", f"there is no reservation {unreserve.reservation!r}", f"there is: {known}")
    fold.record(ReservationEnded(now_s, unreserve.reservation, unreserve.by))
    return Accepted((unreserve.reservation,))


def apply_policy(fold: Fold, now_s: float, apply: ApplyPolicy) -> Reply:
    if fold.state.policy == apply.policy:
        return Accepted(existing=True)
    fold.record(PolicyApplied(now_s, apply.policy, apply.by))
    return Accepted()
