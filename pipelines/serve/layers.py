"""How a plan's replicas per node are put to Ray Serve, which can hold only equal counts per node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """One deployment: the same number of replicas on each of its nodes, which Serve can be held to."""

    nodes: tuple[str, ...]
    per_node: int

    @property
    def n_replicas(self) -> int:
        return len(self.nodes) * self.per_node


def layers(nodes: Sequence[str]) -> list[Layer]:
    """Split a plan with unequal counts per node into layers of equal counts; the first covers every node."""
    left = Counter(nodes)
    out = []
    while left:
        least = min(left.values())
        out.append(Layer(tuple(sorted(left)), least))
        left = Counter({node: n - least for node, n in left.items() if n > least})
    return out
