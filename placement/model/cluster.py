"""The nodes of a cluster and the label selectors that choose among them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NewType

from placement.model.resources import MILLI, MOST_DEVICES, UNIT_RESOURCES, Resources, refuse_amounts

NodeId = NewType("NodeId", str)

NODE_KEY = "node"
"""Selector and topology key that stands for the node's own id."""
RAY_NODE_KEY = "ray.io/node-id"
ACCELERATOR_KEY = "ray.io/accelerator-type"


class NodeState(Enum):
    """Whether a node takes new work."""

    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Node:
    """One node: what it has in all, its labels and its state."""

    id: NodeId
    resources: Resources
    labels: tuple[tuple[str, str], ...] = ()
    state: NodeState = NodeState.READY

    def __post_init__(self) -> None:
        refuse_amounts(f"node {self.id}", self.resources.entries)
        for name in UNIT_RESOURCES:
            if self.resources.get(name) > MOST_DEVICES * MILLI:
                raise ValueError(f"node {self.id}: a node has at most {MOST_DEVICES} {name}s")

    def label(self, key: str) -> str | None:
        """Return the value of a label; the keys ``node`` and ``ray.io/node-id`` name the node itself."""
        if key == NODE_KEY:
            return self.id
        for name, value in self.labels:
            if name == key:
                return value
        return self.id if key == RAY_NODE_KEY else None


_LIST = re.compile(r"in\((.*)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label, in Ray's grammar: ``v``, ``!v``, ``in(a,b)``, ``!in(a,b)``."""

    key: str
    values: tuple[str, ...]
    negated: bool = False

    @classmethod
    def parse(cls, key: str, text: str) -> Requirement:
        """Parse a selector's value; raises ValueError where it is malformed."""
        rest = text.strip()
        negated = rest.startswith("!")
        rest = rest[1:].strip() if negated else rest
        match = _LIST.fullmatch(rest)
        if match is not None:
            values = tuple(sorted({value.strip() for value in match[1].split(",")}))
        else:
            values = (rest,)
        if any(re.search(r"[!(),]", value) for value in values) or (values == ("",) and match is not None):
            raise ValueError(f"{key}: {text!r} is no selector; write v, !v, in(a,b) or !in(a,b)")
        return cls(key, values, negated)

    def accepts(self, node: Node) -> bool:
        have = node.label(self.key)
        return (have is not None and have in self.values) != self.negated

    def __str__(self) -> str:
        body = self.values[0] if len(self.values) == 1 else f"in({','.join(self.values)})"
        return f"{self.key}={'!' if self.negated else ''}{body}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of these must hold for a node."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def parse(cls, wanted: Mapping[str, object]) -> Selector:
        return cls(tuple(Requirement.parse(key, str(wanted[key])) for key in sorted(wanted)))

    def accepts(self, node: Node) -> bool:
        return all(requirement.accepts(node) for requirement in self.requirements)

    def __str__(self) -> str:
        return ", ".join(map(str, self.requirements)) or "any node"
