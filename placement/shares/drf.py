"""Weighted dominant-resource fairness over the tenant tree, and the same with what was used before.

Every tenant first gets what of its demand its quota covers; what remains is filled at speeds equal to the tenants'
weights, level by level down the tree (``placement.shares.maxmin``).

References
----------
Ghodsi et al., Dominant Resource Fairness, NSDI 2011. For past use: Slurm, Multifactor Priority Plugin, "fair-share
factor" (2 to the power of minus use over share), and its half-life decay.
"""

from __future__ import annotations

from collections.abc import Mapping

from placement.model import MILLI, ROOT, Problem, TenantId
from placement.model.resources import BYTE_RESOURCES
from placement.shares.maxmin import FairLp
from placement.shares.tree import TenantTree

MOST_OWED = 2.0
"""Who has used nothing rises so many times as fast as by its weight; who used twice its part, so many times slower."""
LEAST = 1 / 16
"""Past use slows nobody down further than to this part of its weight."""


class WeightedDrf:
    """Guarantees first, the rest by weight."""

    name = "drf"

    def __call__(self, problem: Problem) -> Mapping[TenantId, float]:
        return FairLp(TenantTree(problem), {t.id: t.weight for t in problem.tenants}).solve()


class DrfWithUsage:
    """As ``drf``, and what is owed is paid back: who had less than its part of past use rises faster, others slower.

    A tenant's part of past use, among its siblings, is compared with its part of their weights.
    """

    name = "drf-usage"

    def __call__(self, problem: Problem) -> Mapping[TenantId, float]:
        tree = TenantTree(problem)
        return FairLp(tree, weights_after_use(tree)).solve()


def weights_after_use(tree: TenantTree) -> dict[TenantId, float]:
    """Return each tenant's weight times 2 to the power of 1 minus its part of past use over its part of weights."""
    used = {tenant: _past_share(tree, tenant) for tenant in tree.by_id}
    out: dict[TenantId, float] = {}
    for parent in (ROOT, *tree.by_id):
        members = tree.children.get(parent, [])
        all_used, all_weights = sum(used[m] for m in members), sum(tree.by_id[m].weight for m in members)
        for member in members:
            weight = tree.by_id[member].weight
            ratio = used[member] / all_used / (weight / all_weights) if all_used > 0 else 1.0
            out[member] = weight * max(LEAST, MOST_OWED ** (1.0 - ratio))
    return out


def _past_share(tree: TenantTree, tenant: TenantId) -> float:
    """Return the dominant past use of a subtree, in seconds of the whole cluster."""
    past: dict[str, float] = {}
    for member in tree.below(tenant):
        for name, amount in tree.by_id[member].usage:
            past[name] = past.get(name, 0.0) + amount
    have = {name: amount / (1 if name in BYTE_RESOURCES else MILLI) for name, amount in tree.capacity.items()}
    return max((amount / have[name] for name, amount in past.items() if name in have), default=0.0)


def decayed(usage: Mapping[str, float], seconds: float, half_life_s: float) -> dict[str, float]:
    """Return past use after so many seconds in which nothing was used: half of it after each half-life."""
    if half_life_s <= 0:
        raise ValueError(f"a half-life is a positive number of seconds, not {half_life_s}")
    factor = 0.5 ** (max(0.0, seconds) / half_life_s)
    return {name: amount * factor for name, amount in usage.items()}
