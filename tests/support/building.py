"""Short builders for clusters and work: ``node("a", cpu=4)``, ``want("x", 2, cpu=1)``."""

from __future__ import annotations

import hashlib
from typing import Any

from aios.kernel.ports import NewWork, Submit
from placement.model import (
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Resources,
    Selector,
    Tenant,
    TenantId,
)


def node(id: str, cpu: float = 4, state: NodeState = NodeState.READY, gpu: float = 0, **labels: str) -> Node:
    return Node(NodeId(id), Resources.parse({"CPU": cpu, "GPU": gpu}), tuple(sorted(labels.items())), state)


def tenant(id: str, **others: Any) -> Tenant:
    return Tenant(TenantId(id), **others)


def want(
    name: str,
    n: int = 1,
    cpu: float = 1,
    *,
    tenant: str = "team",
    priority: int = 0,
    selector: dict[str, str] | None = None,
    min_bundles: int = -1,
    preemptible: bool = True,
    content: str = "",
    estimate_s: float | None = 60.0,
    **others: Any,
) -> NewWork:
    """Return a gang of ``n`` bundles of ``cpu`` CPUs."""
    bundle = Bundle(Resources.parse({"CPU": cpu}), Selector.parse(selector or {}))
    demand = Demand(DemandId(name), TenantId(tenant), (bundle,) * n, min_bundles=min_bundles, preemptible=preemptible)
    return NewWork(
        name=name,
        kind="script",
        tenant=tenant,
        priority=priority,
        demand=demand,
        spec="{}",
        content=content or hashlib.sha256(name.encode()).hexdigest(),
        estimate_s=estimate_s,
        **others,
    )


def submit(*works: NewWork, key: str = "") -> Submit:
    return Submit(works, key)
