"""One planning question: a cluster at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from placement.model.cluster import Node, NodeId
from placement.model.demand import Bundle, Demand, DemandId, Running, TenantId
from placement.model.resources import Resources
from placement.model.tenant import ROOT, Policy, Tenant


@dataclass(frozen=True, slots=True)
class Reservation:
    """Nodes that are kept from ``starts_s`` to ``ends_s``: for some tenants, or for nobody (maintenance).

    Other work may use them before where it is known to end in time; what runs there at the start is not displaced by
    the planner on its account.
    """

    id: str
    nodes: tuple[NodeId, ...]
    starts_s: float
    ends_s: float
    tenants: tuple[TenantId, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Nodes, tenants, what runs and what waits.

    Attributes
    ----------
    now_s : float
        The caller's clock, in seconds.
    nodes : tuple of Node
    tenants : tuple of Tenant
        Every tenant that a demand names, and their ancestors but ``root``.
    running, pending : tuple
        ``pending`` in order of arrival (ties of ``submitted_s`` go by this order).
    foreign : mapping of NodeId to Resources
        What others than AIOS use on a node: taken off its free capacity, never fought.
    reservations : tuple of Reservation
    expected : tuple of (Bundle, weight)
        Bundles that are likely to come, with their relative frequency: what is left should suit them. Empty: the mix
        of what is pending and running.
    """

    nodes: tuple[Node, ...]
    tenants: tuple[Tenant, ...]
    running: tuple[Running, ...] = ()
    pending: tuple[Demand, ...] = ()
    now_s: float = 0.0
    policy: Policy = field(default_factory=Policy)
    foreign: Mapping[NodeId, Resources] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()
    expected: tuple[tuple[Bundle, float], ...] = ()

    def __post_init__(self) -> None:
        node_ids = [node.id for node in self.nodes]
        if len(set(node_ids)) != len(node_ids):
            raise ValueError("two nodes have the same id")
        names: list[DemandId] = [r.demand.id for r in self.running] + [d.id for d in self.pending]
        if len(set(names)) != len(names):
            raise ValueError("two workloads have the same id")
        known = _known_tenants(self.tenants)
        for demand in [r.demand for r in self.running] + list(self.pending):
            if demand.tenant not in known:
                raise ValueError(f"{demand.id}: unknown tenant {demand.tenant!r}")


def _known_tenants(tenants: tuple[Tenant, ...]) -> set[TenantId]:
    """Return the tenants' names; raises ValueError where they are no tree."""
    parents = {tenant.id: tenant.parent for tenant in tenants}
    if len(parents) != len(tenants):
        raise ValueError("two tenants have the same id")
    if ROOT in parents:
        raise ValueError("'root' is the top of the tree and no tenant")
    sound: set[TenantId] = set()
    for tenant in parents:
        way: list[TenantId] = []
        up: TenantId | None = tenant
        while up is not None and up in parents and up not in sound:
            if up in way:
                raise ValueError(f"the tree of tenants goes in a circle: {' -> '.join([*way[way.index(up) :], up])}")
            way.append(up)
            up = parents[up]
        sound.update(way)
    return set(parents)
