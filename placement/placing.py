"""Whether one gang's places keep its own wishes: nodes that take it, its selectors and its required topologies.

Part of the judge (``placement.check``): it knows no planner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from placement import localities
from placement.model import Demand, Node, NodeId, NodeState

Broken = tuple[int, str, str]


def broken_wishes(
    nodes: Mapping[NodeId, Node], demand: Demand, at: Sequence[NodeId], old: Sequence[NodeId] = ()
) -> Iterator[Broken]:
    """Return what a gang's places break, as (law, subject, sentence).

    Bundle i stands on ``at[i]``; where ``old[i]`` is the same node it is not new there, and only topology concerns it.
    """
    seen: set[tuple[int, NodeId]] = set()
    for i, (bundle, name) in enumerate(zip(demand.bundles, at, strict=False)):
        if (id(bundle.selector), name) in seen or (i < len(old) and old[i] == name):
            continue
        seen.add((id(bundle.selector), name))
        node = nodes[name]
        if node.state is not NodeState.READY:
            yield 1, demand.id, f"is placed on {node.state.value} node {name}"
        if bundle.selector.requirements and not bundle.selector.accepts(node):
            yield 2, demand.id, f"is placed on {name} against its selector {bundle.selector}"
    for topology in demand.topologies:
        wrong = localities.broken(nodes, demand, topology, at) if topology.required else None
        if wrong is not None:
            yield 2, demand.id, wrong
