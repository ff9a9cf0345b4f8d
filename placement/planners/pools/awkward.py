"""Gangs that columns cannot say (slices, balance, several levels, nodes by name): placed one by one on what is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from placement.model import NodeId
from placement.planners import state
from placement.planners.fitting import place
from placement.planners.pools.facts import Facts
from placement.planners.pools.options import Way
from placement.planners.pools.room import Room
from placement.planners.pools.view import View
from placement.planners.tree import Tree
from placement.value import Values

MOST_STEPS = 200_000
"""Gangs times nodes that are looked at in one plan."""


def in_order(facts: Sequence[Facts], values: Values) -> list[int]:
    """Return the gangs that columns cannot say, the most important first, those for named nodes before others."""
    awkward = [g for g, fact in enumerate(facts) if not fact.simple]
    return sorted(awkward, key=lambda g: (-values.weight(facts[g].demand), not facts[g].named, g))


def rooms_of(view: View, room: Room) -> dict[NodeId, state.Room]:
    """Return what is free as the placement of single gangs reads it."""
    out = {}
    for i, node in enumerate(view.problem.nodes):
        free = dict(zip(view.names, room.free[i], strict=True))
        out[node.id] = state.Room(node, free, view.have[i][0], list(room.fractions.get(i, ())), view.open[i])
    return out


def places(view: View, tree: Tree, fact: Facts, room: Room) -> Iterator[tuple[Way, list[int]]]:
    """Return ways and nodes for a gang on what is free, the largest size of each form first."""
    rooms = rooms_of(view, room)
    for form in fact.forms:
        for size in reversed(range(len(form.sizes))):
            nodes = place(rooms, tree.capacity, form.demand, form.sizes[size][0])
            if nodes is not None:
                yield Way(form, size, ()), [view.index[node] for node in nodes]
                break
