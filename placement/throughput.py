"""How fast a gang works where it is: by its form, its number of bundles and the types of its accelerators."""

from __future__ import annotations

from collections.abc import Sequence

from placement.model import ACCELERATOR_KEY, Demand, Node, Resources


def throughput(demand: Demand, nodes: Sequence[Node], form: int = 0) -> float:
    """Return the rate of a gang with bundle i on ``nodes[i]``, relative to its first form whole at speed 1.

    All bundles of a gang step together, so it is as fast as its slowest.
    """
    slowest = min((speed_on(demand, node) for node in nodes), default=1.0)
    if form:
        shape = demand.alternatives[form - 1]
        return slowest * shape.throughput * len(nodes) / len(shape.bundles)
    return slowest * scaled(demand, len(nodes))


def speed_on(demand: Demand, node: Node) -> float:
    """Return the relative speed on a node's accelerator type; 1 where the demand names none."""
    if not demand.speed:
        return 1.0
    accelerator = node.label(ACCELERATOR_KEY)
    return next((factor for name, factor in demand.speed if name == accelerator), 1.0)


def scaled(demand: Demand, n_bundles: int) -> float:
    """Return the rate with the first ``n_bundles``, relative to all of them; linear where nothing is said."""
    return next((factor for n, factor in demand.scaling if n == n_bundles), n_bundles / len(demand.bundles))


def units(amounts: Resources) -> float:
    """Return the dominant amount: accelerators, or else CPUs."""
    return (amounts.get("GPU") or amounts.get("CPU")) / 1000
