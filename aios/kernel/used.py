"""What each tenant has used, halved with each half-life: who had less than its part is owed more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from aios.kernel.state import Attempt, Past, Workload
from placement.model import Tenant, TenantId
from placement.shares import decayed


def with_attempt(past: Past | None, workload: Workload, attempt: Attempt, now_s: float, half_life_s: float) -> Past:
    """Return a tenant's past use once an attempt has ended, or up to now where it goes on.

    Its resource-seconds count as they would if each had been entered when it was used: over the attempt's time ``t``
    the sum of them is ``amount x half-life / ln 2 x (1 - 2^(-t / half-life))``.
    """
    before_s, amounts = past if past is not None else (now_s, ())
    total = decayed(dict(amounts), now_s - before_s, half_life_s)
    seconds = max(0.0, now_s - attempt.held_from_s)
    counted_s = half_life_s / math.log(2) * -math.expm1(-math.log(2) * seconds / half_life_s)
    held = workload.held(attempt).resources(len(attempt.nodes))
    for name, amount in held.to_ray().items():
        total[name] = total.get(name, 0.0) + amount * counted_s
    return now_s, tuple(sorted(total.items()))


def with_usage(
    tenants: Iterable[Tenant],
    pasts: Mapping[TenantId, Past],
    running: Iterable[tuple[Workload, Attempt]],
    now_s: float,
    half_life_s: float,
) -> tuple[Tenant, ...]:
    """Return the tenants with what they have used up to now."""
    now: dict[TenantId, Past] = dict(pasts.items())
    for workload, attempt in running:
        id = TenantId(workload.work.tenant)
        now[id] = with_attempt(now.get(id), workload, attempt, now_s, half_life_s)
    out = []
    for tenant in tenants:
        before_s, amounts = now.get(tenant.id, (now_s, ()))
        usage = decayed(dict(amounts), now_s - before_s, half_life_s)
        out.append(replace(tenant, usage=tuple(sorted(usage.items()))))
    return tuple(out)
