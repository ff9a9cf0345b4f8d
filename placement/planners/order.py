"""Whose turn it is: a tournament up the tenant tree, guarantees first, then the lowest share, then who came first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from placement.model import ROOT, Demand, TenantId
from placement.planners.state import State
from placement.planners.tree import Vector, add


@dataclass(frozen=True, slots=True)
class Step:
    """One thing a tenant may ask for next: a demand's start, or one more bundle of an elastic one."""

    demand: Demand
    arrival: tuple[float, int]
    more: tuple[tuple[str, int], ...]
    grows: bool = False
    gain: float = 1.0
    """Throughput that the next bundle brings, relative to that of its first one."""

    @property
    def amounts(self) -> Vector:
        return dict(self.more)

    @property
    def rank(self) -> tuple[int, bool, float, tuple[float, int]]:
        """Return the order inside a tenant: the more important, starts before growth, then where a bundle brings the
        most, first come first served.
        """
        return -self.demand.priority, self.grows, -self.gain, self.arrival


def gain(demand: Demand, n_has: int) -> float:
    """Return what bundle ``n_has`` brings an elastic gang that has those before, in units of its first bundle's.

    Between the points of its scaling throughput is linear; beyond them it rises as before.
    """
    if not demand.scaling:
        return 1.0
    points = sorted({0: 0.0, **dict(demand.scaling)}.items())
    rises = [(n, (high - low) / (n - before)) for (before, low), (n, high) in pairwise(points)]
    here = next((rise for n, rise in rises if n > n_has), rises[-1][1])
    return round(here / rises[0][1], 9) if rises[0][1] > 0 else 0.0


def guaranteed(state: State, tenant: TenantId, more: Vector) -> bool:
    """Return whether the tenant's use stays within its guarantee with these amounts."""
    use = dict(state.use[tenant])
    add(use, more)
    return state.tree.within(tenant, use, more)


def next_step(state: State, heads: Sequence[Step]) -> Step:
    """Return the step whose turn it is among the first ones of each tenant (laws 3, 6 and 8)."""
    own: dict[TenantId, Step] = {head.demand.tenant: head for head in heads}
    winner = _winner(state, ROOT, own)
    assert winner is not None, "next_step wants at least one head"
    return winner


def _winner(state: State, node: TenantId, own: dict[TenantId, Step]) -> Step | None:
    rivals: list[tuple[tuple[object, ...], Step]] = []
    if node in own:
        rivals.append((_key(state, node, own[node]), own[node]))
    for child in state.tree.children[node]:
        winner = _winner(state, child, own)
        if winner is not None:
            rivals.append((_key(state, child, winner), winner))
    return min(rivals, key=lambda pair: pair[0])[1] if rivals else None


def _key(state: State, tenant: TenantId, step: Step) -> tuple[object, ...]:
    borrows = not guaranteed(state, tenant, step.amounts)
    return borrows, step.grows, state.tree.share(tenant, state.use[tenant]), -step.gain, step.arrival
