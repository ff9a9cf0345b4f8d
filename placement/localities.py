"""Whether a gang's nodes keep what it asks of label levels: together, apart, in slices, in balance.

Part of the judge (``placement.check``) and of the score; knows no planner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from placement.model import Demand, Node, NodeId, NodeState, Topology


def broken(nodes: Mapping[NodeId, Node], demand: Demand, topology: Topology, at: Sequence[NodeId]) -> str | None:
    """Return what is wrong with bundles 0, 1, .. on the nodes ``at`` by one level, or None where it holds."""
    values = [nodes[name].label(topology.key) if name in nodes else None for name in at]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"has a bundle on a node without label {topology.key}"
    if topology.kind == "pack":
        return _apart(topology, known)
    if topology.skew is None:
        return f"has two bundles on one {topology.key}" if len(set(known)) < len(known) else None
    counts = Counter(known)
    least = min((counts[value] for value in values_open_to(nodes.values(), demand, topology.key)), default=0)
    if max(counts.values(), default=0) - least > topology.skew:
        return f"has {max(counts.values())} bundles on one {topology.key} and {least} on another"
    return None


def _apart(topology: Topology, values: Sequence[str]) -> str | None:
    size = topology.slice or max(1, len(values))
    for first in range(0, len(values), size):
        found = len(set(values[first : first + size]))
        if found > 1:
            which = f" with bundles {first} to {min(first + size, len(values)) - 1}" if topology.slice else ""
            return f"must be on one {topology.key}{which}, is on {found}"
    return None


def values_open_to(nodes: Iterable[Node], demand: Demand, key: str) -> set[str]:
    """Return the values of a label among ready nodes that a bundle's selector accepts: those that balance counts."""
    selectors = dict.fromkeys(bundle.selector for bundle in demand.bundles)
    out: set[str] = set()
    for node in nodes:
        value = node.label(key)
        if value is not None and node.state is NodeState.READY and any(s.accepts(node) for s in selectors):
            out.add(value)
    return out
