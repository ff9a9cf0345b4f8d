"""What fairness adds to the value of a tenant's work: who has less than it is entitled to weighs more."""

from __future__ import annotations

from collections.abc import Mapping

from placement.inuse import used_shares
from placement.model import Problem, TenantId

LARGEST = 2.0
"""The weight of who has nothing of what it is entitled to; who has twice of it or more weighs one over this."""


def fairness_weights(problem: Problem, entitled: Mapping[TenantId, float]) -> dict[TenantId, float]:
    """Return a factor for the value of each tenant's pending work, 1/``LARGEST`` to ``LARGEST``.

    It is ``LARGEST`` to the power of (entitled - used) / entitled: 1 for who has just what it is entitled to. Of a
    tenant and its ancestors the geometric mean counts, so that the tree's depth changes no scale.
    """
    used = used_shares(problem)
    own = {tenant: _factor(entitled.get(tenant, 0.0), share) for tenant, share in used.items()}
    parents = {tenant.id: tenant.parent for tenant in problem.tenants}
    out: dict[TenantId, float] = {}
    for tenant in own:
        product, n, at = 1.0, 0, tenant
        while at in own and n < len(own):
            product, n = product * own[at], n + 1
            above = parents[at]
            if above is None:
                break
            at = above
        out[tenant] = product ** (1.0 / max(1, n))
    return out


def _factor(entitled: float, used: float) -> float:
    if entitled <= 0.0:
        return 1.0 if used <= 0.0 else 1.0 / LARGEST
    return float(LARGEST ** max(-1.0, min(1.0, (entitled - used) / entitled)))
