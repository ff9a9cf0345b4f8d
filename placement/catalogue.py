"""The catalogue of a capacity question: a YAML list of node types, or the node types of a Ray cluster's own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from placement.capacity import ENDLESS, NodeType, cost_of
from placement.model import Node, Resources
from placement.reading import Value, read

_TYPE = ("name", "resources", "labels", "cost", "most")
_RAY_TYPES = "available_node_types"


def read_catalogue(text: str, file: str = "catalogue", nodes: Sequence[Node] = ()) -> tuple[NodeType, ...]:
    """Return the node types of a list ``- {name, resources, labels, cost, most}``, or of ``available_node_types``.

    Parameters
    ----------
    nodes : sequence of Node
        The cluster's: a Ray cluster's ``max_workers`` counts those that run already.

    Raises
    ------
    ScenarioError
        Names the line, what is wrong there and how to mend it.
    """
    root = read(text, file)
    if root.is_list:
        return _distinct([_node_type(item) for item in root.items()], root)
    entries = root.entries()
    if _RAY_TYPES not in entries:
        root.fail("is no catalogue", f"write a list of node types, or a mapping with `{_RAY_TYPES}`")
    types = [_ray_type(name, item, nodes) for name, item in entries[_RAY_TYPES].entries().items()]
    return tuple(kind for kind in types if kind is not None)


def _distinct(types: Sequence[NodeType], root: Value) -> tuple[NodeType, ...]:
    names = [kind.name for kind in types]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        root.fail(f"two node types are named {twice!r}", "rename one of them")
    if not types:
        root.fail("has no node type", "write at least `- {name: big, resources: {CPU: 64, GPU: 8}}`")
    return tuple(types)


def _node_type(item: Value) -> NodeType:
    fields = item.fields(_TYPE, required=("name", "resources"))
    resources = Resources.of(fields["resources"].amounts())
    return NodeType(
        name=fields["name"].text(),
        resources=resources,
        labels=_labels(fields),
        cost=fields["cost"].number(0.0, 1e9) if "cost" in fields else cost_of(resources),
        most=fields["most"].integer(0, ENDLESS) if "most" in fields else ENDLESS,
    )


def _labels(fields: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    if "labels" not in fields:
        return ()
    return tuple(sorted((key, label.text()) for key, label in fields["labels"].entries().items()))


def _ray_type(name: str, item: Value, nodes: Sequence[Node]) -> NodeType | None:
    """Return a type of a Ray cluster's file; None for one of which there may be no worker, such as the head's."""
    entries = item.entries()
    amounts = entries["resources"].amounts() if "resources" in entries else {}
    most = entries["max_workers"].integer(0, 10**9) if "max_workers" in entries else 0
    resources, labels = Resources.of(amounts), _labels(entries)
    there = sum(node.resources == resources and set(labels) <= set(node.labels) for node in nodes)
    if not most or not resources:
        return None
    cost = entries["cost"].number(0.0, 1e9) if "cost" in entries else cost_of(resources)
    return NodeType(name, resources, labels, cost, min(ENDLESS, max(0, most - there)))
