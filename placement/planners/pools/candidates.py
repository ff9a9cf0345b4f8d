"""Running work that could yield: on one node bundle by bundle, on several nodes as a whole or down to fewer bundles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from placement.model import MILLI, Bundle, Node, NodeId, Running, TenantId
from placement.planners.pools.view import View
from placement.value import Values

MOST_SHRUNK = 3
"""To how many sizes between its minimum and what it has an elastic gang may shrink in the programme."""


Group = tuple[TenantId, int]
"""A tenant and a priority: what decides for whom a victim may yield."""


@dataclass(frozen=True, slots=True)
class Victim:
    """Running work, or bundles of it that an elastic one can spare.

    Attributes
    ----------
    node : int
        Where it is; the first of its nodes where it stands on several.
    bundles : int
        How many bundles go.
    ends : bool
        Whether the work stops: then all of it goes, whatever was spared before.
    units : int
        Whole units of its node that are freed.
    volume : float
        What is given up of the governed resource.
    """

    running: Running
    node: int
    bundles: int
    ends: bool
    units: int
    volume: float
    group: Group
    cost: float
    at: tuple[int, ...] = ()
    """The node of each bundle of work that stands on several; empty where all are on ``node``."""

    def nodes(self, first: int, last: int) -> tuple[int, ...]:
        """Return the nodes of bundles ``first`` to ``last - 1``."""
        return self.at[first:last] if self.at else (self.node,) * (last - first)


def victims_of(view: View, values: Values, may_yield: Mapping[Group, bool], name_of_volume: str) -> list[Victim]:
    """Return running work on open nodes that some newcomer might displace; its volume in the governed resource."""
    nodes = {node.id: node for node in view.problem.nodes}
    out: list[Victim] = []
    for running in view.problem.running:
        demand = running.demand
        if not demand.preemptible or not may_yield.get((demand.tenant, demand.priority)) or not running.nodes:
            continue
        first = running.nodes[0]
        node = view.index.get(first, -1)
        if running.nodes.count(first) != len(running.nodes):
            out += on_several(view, running, name_of_volume, values.cost, nodes)
            continue
        if node < 0 or view.pool_of[node] < 0:
            continue
        name = view.names[view.pools[view.pool_of[node]].unit]
        if all(b.resources.get(name) % MILLI == 0 and not b.resources.get("GPU") % MILLI for b in _distinct(running)):
            out += _parts(running, node, name, name_of_volume, values.cost, nodes)
    return out


def _distinct(running: Running) -> Sequence[Bundle]:
    first = running.demand.bundles[0]
    return (first,) if running.demand.bundles.count(first) == len(running.demand.bundles) else running.demand.bundles


def _parts(
    running: Running,
    node: int,
    name: str,
    name_of_volume: str,
    cost: Callable[[Running, int, Mapping[NodeId, Node]], float],
    nodes: Mapping[NodeId, Node],
) -> list[Victim]:
    """Return the bundles that elastic work can spare, from its last one on, then what is left as one victim."""
    demand, n = running.demand, len(running.nodes)
    group = (demand.tenant, demand.priority)
    least = n if len(_distinct(running)) > 1 else min(n, demand.min_bundles)
    out, spent = [], 0.0
    for keep in range(n - 1, least - 1, -1):
        resources, so_far = demand.bundles[keep].resources, cost(running, keep, nodes)
        units, volume = resources.get(name) // MILLI, resources.get(name_of_volume) / MILLI
        if units:
            out.append(Victim(running, node, 1, False, units, volume, group, so_far - spent))
        spent = so_far
    rest = demand.resources(least)
    units, volume = rest.get(name) // MILLI, rest.get(name_of_volume) / MILLI
    if units:
        out.append(Victim(running, node, least, True, units, volume, group, max(0.0, cost(running, 0, nodes) - spent)))
    return out


def on_several(
    view: View,
    running: Running,
    name_of_volume: str,
    cost: Callable[[Running, int, Mapping[NodeId, Node]], float],
    nodes: Mapping[NodeId, Node],
) -> list[Victim]:
    """Return a gang on several open nodes as victims: that stops, and that keeps its first bundles."""
    at = tuple(view.index.get(name, -1) for name in running.nodes)
    if any(node < 0 or view.pool_of[node] < 0 for node in at):
        return []
    demand, n = running.demand, len(at)
    kinds = _distinct(running)
    units = {view.names[view.pools[view.pool_of[node]].unit] for node in at} | {"GPU"}
    if any(bundle.resources.get(name) % MILLI for bundle in kinds for name in units):
        return []
    least = n if len(kinds) > 1 else min(n, demand.min_bundles)
    keeps = sorted({least, n - 1, (least + n) // 2} - {n})[:MOST_SHRUNK] if least < n else []
    out = []
    for keep in (0, *keeps):
        leaves = (
            kinds[0].resources.get(name_of_volume) * (n - keep)
            if len(kinds) == 1
            else demand.resources(n).get(name_of_volume)
        )
        volume = leaves / MILLI
        group = (demand.tenant, demand.priority)
        out.append(Victim(running, at[0], n - keep, not keep, 0, volume, group, cost(running, keep, nodes), at))
    return out
