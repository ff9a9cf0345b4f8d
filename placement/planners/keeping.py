"""Which nodes a demand may not use because they are kept for others, or for nobody, before it would end."""

from __future__ import annotations

from placement.model import Demand, NodeId, Problem, Reservation, TenantId
from placement.planners.tree import Tree

UNKNOWN_S = float("inf")


def closed_to(
    problem: Problem, tree: Tree, demand: Demand, from_s: float, until_s: float | None = None
) -> frozenset[NodeId]:
    """Return the nodes that reservations close to a demand that would hold them from ``from_s`` to ``until_s``.

    ``until_s`` is its end by its estimate where it is left out; work of unknown runtime never ends. What a tenant is
    named for is open to all below it.
    """
    if not problem.reservations:
        return frozenset()
    return frozenset(n for r in in_the_way(problem, tree, demand, from_s, until_s) for n in r.nodes)


def in_the_way(
    problem: Problem, tree: Tree, demand: Demand, from_s: float, until_s: float | None = None
) -> tuple[Reservation, ...]:
    """Return the reservations that close their nodes to the demand."""
    runtime_s = UNKNOWN_S if demand.runtime_s is None else demand.runtime_s
    end_s = from_s + runtime_s if until_s is None else until_s
    line: set[TenantId] = set(tree.paths[demand.tenant])
    return tuple(
        r
        for r in problem.reservations
        if r.ends_s > from_s and not line.intersection(r.tenants) and not from_s < r.starts_s >= end_s
    )
