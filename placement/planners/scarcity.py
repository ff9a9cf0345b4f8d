"""How sought-after each node's accelerators are: what can go elsewhere leaves them to what cannot.

The price of a node's GPU is the expected demand for it: each kind of bundle that is expected spreads its GPUs evenly
over all GPUs that it accepts. Work that accepts any accelerator then takes the least sought-after one.
"""

from __future__ import annotations

from collections.abc import Mapping

from placement.fragmentation import GPU, expected_mix
from placement.model import Node, NodeId, NodeState, Problem

DIGITS = 6
"""Prices are compared rounded to so many digits, so that the order of summing never decides."""


def prices(problem: Problem) -> Mapping[NodeId, float]:
    """Return the price of one GPU on each node; empty where no expected bundle is choosy, for then all are alike."""
    kinds = [kind for kind in expected_mix(problem).kinds if kind.gpu]
    if not any(kind.selector.requirements for kind in kinds):
        return {}
    nodes = [node for node in problem.nodes if node.resources.get(GPU) and node.state is not NodeState.DOWN]
    out = dict.fromkeys((node.id for node in nodes), 0.0)
    accepted: dict[object, list[Node]] = {}
    for kind in kinds:
        if kind.selector not in accepted:
            accepted[kind.selector] = [node for node in nodes if kind.selector.accepts(node)]
        able = [node for node in accepted[kind.selector] if kind.gpu <= node.resources.get(GPU)]
        supply = sum(node.resources.get(GPU) for node in able)
        for node in able:
            out[node.id] += kind.part * kind.gpu / supply
    return {id: round(price, DIGITS) for id, price in out.items()}
