"""The cluster's rules and reservations: from what operators write into the planner's types."""

from __future__ import annotations

from collections.abc import Mapping

from aios.errors import InvalidSpec, Problem
from aios.spec import PolicySpec, ReservationSpec
from aios.tenants import preemption_of
from placement.model import NodeId, Objective, Policy, Reservation, TenantId
from placement.shares import POLICIES

FAIRNESS = tuple(policy.name for policy in POLICIES)


def policy_of(spec: PolicySpec) -> Policy:
    """Return the planner's policy that a spec describes; raises InvalidSpec for an unknown fairness."""
    if spec.fairness not in FAIRNESS:
        message, hint = f"fairness: {spec.fairness!r} is not known", f"one of {', '.join(FAIRNESS)}"
        raise InvalidSpec(message, hint=hint, problems=(Problem(("fairness",), message, hint),))
    return Policy(
        fairness=spec.fairness,
        preemption=preemption_of(spec.preemption),
        backfill=spec.backfill,
        migration=spec.migration,
        objective=Objective(spec.objective),
        ageing_s=spec.ageing,
        time_slice_s=spec.time_slice,
        usage_half_life_s=spec.usage_half_life,
        interference=spec.interference,
    )


def policy_text(policy: Policy) -> dict[str, object]:
    """Return a policy as operators write it."""
    rules = policy.preemption
    return {
        "fairness": policy.fairness,
        "preemption": {"within": rules.within.value, "reclaim": rules.reclaim.value, "borrow": rules.borrow.value},
        "backfill": policy.backfill,
        "migration": policy.migration,
        "objective": policy.objective.value,
        "ageing": policy.ageing_s,
        "time_slice": policy.time_slice_s,
        "usage_half_life": policy.usage_half_life_s,
        "interference": [list(one) for one in policy.interference],
    }


def reservation_of(spec: ReservationSpec, now_s: float, node_names: Mapping[NodeId, str]) -> Reservation:
    """Return the planner's reservation; nodes are given by name or id. Raises InvalidSpec for an unknown node."""
    ids: dict[str, list[NodeId]] = {}
    for id, name in node_names.items():
        for key in {id, name}:
            ids.setdefault(key, []).append(id)
    nodes: list[NodeId] = []
    for i, name in enumerate(spec.nodes):
        if name not in ids:
            known = ", ".join(sorted({name or id for id, name in node_names.items()})) or "none"
            message = f"reservation {spec.name}: there is no node {name!r}"
            raise InvalidSpec(message, hint=f"nodes: {known}", problems=(Problem(("nodes", i), message),))
        nodes.extend(ids[name])
    starts_s = spec.starts_s(now_s)
    if starts_s + spec.duration <= now_s:
        message = f"reservation {spec.name}: it would be over already"
        raise InvalidSpec(message, hint="give a later `starts` or a longer `duration`")
    tenants = tuple(TenantId(name) for name in spec.tenants)
    return Reservation(spec.name, tuple(dict.fromkeys(nodes)), starts_s, starts_s + spec.duration, tenants)
