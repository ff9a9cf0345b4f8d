"""Fairness policies: the one list of them, and what they say of each tenant."""

from __future__ import annotations

from collections.abc import Mapping

from placement.model import Problem, TenantId
from placement.shares.deficit import fairness_weights
from placement.shares.drf import DrfWithUsage, WeightedDrf, decayed
from placement.shares.effective import EffectiveThroughput
from placement.shares.finish import FinishTime
from placement.shares.policy import FairnessPolicy

POLICIES: tuple[FairnessPolicy, ...] = (WeightedDrf(), DrfWithUsage(), FinishTime(), EffectiveThroughput())
"""Every policy, the default first."""

__all__ = ["POLICIES", "FairnessPolicy", "decayed", "entitlements", "fairness_weights"]


def entitlements(problem: Problem) -> Mapping[TenantId, float]:
    """Return each tenant's entitled dominant share, 0..1, by the problem's policy; raises ValueError if unknown."""
    for policy in POLICIES:
        if policy.name == problem.policy.fairness:
            return policy(problem)
    known = ", ".join(policy.name for policy in POLICIES)
    raise ValueError(f"no fairness policy is named {problem.policy.fairness!r}; there is {known}")
