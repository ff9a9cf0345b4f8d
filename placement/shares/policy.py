"""What a fairness policy is: a function from a problem to each tenant's entitled share of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from placement.model import Problem, TenantId


class FairnessPolicy(Protocol):
    """Entitled dominant shares, 0..1, for every tenant of the tree; no tenant is entitled to more than it asks for."""

    @property
    def name(self) -> str: ...

    def __call__(self, problem: Problem) -> Mapping[TenantId, float]: ...
