"""The nodes of a Ray cluster as the planner sees them, with what others than AIOS use there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aios.adapters.folder import Held
from aios.adapters.ray_private import Private
from aios.kernel.ports import ObservedNode
from placement.model import Node, NodeId, NodeState, Resources
from placement.model.resources import BYTE_RESOURCES, MILLI, total

NODE_NAME_LABEL = "aios.io/node-name"


def observed_nodes(
    table: Sequence[Mapping[str, Any]], private: Private, held: Iterable[Held]
) -> tuple[ObservedNode, ...]:
    """Return the living nodes that can hold work.

    Parameters
    ----------
    table : sequence of mapping
        As ``ray.nodes()`` gives it.
    private : Private
        Tells what is free and what drains.
    held : iterable of Held
        What the attempts of AIOS hold, which is not use by others.
    """
    free, draining = private.available(), private.draining()
    ours: dict[NodeId, list[Resources]] = {}
    for one in held:
        for where, bundle in zip(one.nodes, one.bundles, strict=False):
            ours.setdefault(where, []).append(bundle)
    found = []
    for row in table:
        capacity = resources_from_ray(row["Resources"])
        if not row["Alive"] or not _can_hold_work(capacity):
            continue
        node_id = NodeId(row["NodeID"])
        foreign = Resources()
        if free is not None and node_id in free:
            used = capacity - resources_from_ray(free[node_id])
            foreign = (used - total(ours.get(node_id, ()))).positive()
        state = NodeState.DRAINING if node_id in draining else NodeState.READY
        labels = tuple(sorted((str(key), str(value)) for key, value in row["Labels"].items()))
        leaves_in_s = max(0.0, draining[node_id] / 1000 - time.time()) if draining.get(node_id) else None
        found.append(ObservedNode(Node(node_id, capacity, labels, state), _name(row), foreign, leaves_in_s))
    return tuple(sorted(found, key=lambda node: (node.name, node.node.id)))


def _can_hold_work(capacity: Resources) -> bool:
    """Return whether there is anything besides memory, which every node has, a head without CPUs too."""
    return any(amount and name != "memory" for name, amount in capacity.items())


def resources_from_ray(amounts: Mapping[str, float]) -> Resources:
    """Return Ray's floats as exact amounts, without what no one asks for by name."""
    return Resources.of(
        {
            name: int(amount) if name in BYTE_RESOURCES else round(amount * MILLI)
            for name, amount in amounts.items()
            if not _internal(name)
        }
    )


def _internal(name: str) -> bool:
    return name == "object_store_memory" or name.startswith(("node:", "accelerator_type:")) or "_group_" in name


def _name(row: Mapping[str, Any]) -> str:
    labels: Mapping[str, str] = row["Labels"]
    host = str(row.get("NodeName") or row.get("NodeManagerHostname") or "")
    return labels.get(NODE_NAME_LABEL) or f"{host or 'node'}-{str(row['NodeID'])[:6]}"
