"""Tenants from what operators write: one spec into the planner's type, and a tree that holds together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aios.errors import InvalidSpec, Problem
from aios.spec import PreemptionSpec, TenantSpec
from placement.model import (
    ROOT,
    Borrow,
    PreemptionPolicy,
    Reclaim,
    Resources,
    Tenant,
    TenantId,
    Within,
    format_amount,
    parse_amount,
)

DEFAULT = TenantId("default")
"""The tenant that always exists: weight 1, nothing guaranteed, no limit."""


def tenant_of(spec: TenantSpec) -> Tenant:
    """Return the planner's tenant that a spec describes."""
    return Tenant(
        id=TenantId(spec.name),
        parent=None if spec.parent is None else TenantId(spec.parent),
        weight=spec.weight,
        quota=None if spec.quota is None else Resources.parse(spec.quota),
        borrow_limit=_limits(spec.borrow_limit),
        lend_limit=_limits(spec.lend_limit),
        limit=_limits(spec.limit),
        preemption=None if spec.preemption is None else preemption_of(spec.preemption),
    )


def with_default(tenants: Mapping[TenantId, Tenant]) -> dict[TenantId, Tenant]:
    """Return the tenants, the one that always exists among them."""
    return {DEFAULT: Tenant(DEFAULT), **tenants}


def check_tree(known: Mapping[TenantId, Tenant], new: Iterable[Tenant]) -> None:
    """Raise InvalidSpec where a new tenant's parents do not exist or go round in a circle."""
    new = tuple(new)
    tree = {**known, **{tenant.id: tenant for tenant in new}}
    for i, tenant in enumerate(new):
        if tenant.id == ROOT:
            raise InvalidSpec("'root' is the top of the tree and no tenant", hint="choose another name")
        _check_amounts(i, tenant)
        seen: list[TenantId] = [tenant.id]
        parent = tenant.parent
        while parent is not None and parent != ROOT:
            if parent not in tree:
                message = f"tenant {seen[-1]!r} has an unknown parent {parent!r}"
                hint = f"known are {', '.join(sorted(tree))}"
                raise InvalidSpec(f"{message}", hint=hint, problems=(Problem((i, "parent"), message, hint),))
            if parent in seen:
                message = f"tenants {' → '.join([*seen, parent])} are each other's parents"
                raise InvalidSpec(message, hint="break the circle", problems=(Problem((i, "parent"), message),))
            seen.append(parent)
            parent = tree[parent].parent


def _check_amounts(i: int, tenant: Tenant) -> None:
    limit = dict(tenant.limit or ())
    for name, amount in tenant.quota.items() if tenant.quota is not None else ():
        if name in limit and limit[name] < amount:
            message = (
                f"limit {format_amount(name, limit[name])} {name} is below the quota {format_amount(name, amount)}"
            )
            hint = "what is guaranteed must be allowed: raise the limit or lower the quota"
            problem = Problem((i, "limit"), message, hint)
            raise InvalidSpec(f"tenant {tenant.id!r}: {message}", hint=hint, problems=(problem,))


def amounts_text(amounts: Resources | tuple[tuple[str, int], ...] | None) -> dict[str, str] | None:
    """Return amounts as people write them."""
    if amounts is None:
        return None
    pairs = amounts.items() if isinstance(amounts, Resources) else amounts
    return {name: format_amount(name, amount) for name, amount in pairs}


def _limits(amounts: Mapping[str, object] | None) -> tuple[tuple[str, int], ...] | None:
    if amounts is None:
        return None
    return tuple(sorted((name, parse_amount(name, value)) for name, value in amounts.items()))


def preemption_of(spec: PreemptionSpec) -> PreemptionPolicy:
    """Return who may displace whom."""
    return PreemptionPolicy(Within(spec.within), Reclaim(spec.reclaim), Borrow(spec.borrow))
