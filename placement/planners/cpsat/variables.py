"""The variables of a programme, each with a name that says what it decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ortools.sat.python import cp_model

from placement.model import DemandId, NodeId
from placement.planners.cpsat.batches import Batch, Kind

Bool: TypeAlias = cp_model.IntVar
Linear: TypeAlias = cp_model.LinearExprT


@dataclass(slots=True)
class Variables:
    """What a programme decides.

    Attributes
    ----------
    starts : per gang, whether it runs
    gets : per gang and bundle index beyond its minimum, whether it gets that bundle
    count : per gang, kind and node, how many bundles of that kind stand there
    stops : per victim, whether it stops
    drops : per victim and bundle index, whether it gives that bundle up (all of them where it stops)
    """

    starts: dict[DemandId, Bool]
    gets: dict[tuple[DemandId, int], Bool]
    count: dict[tuple[DemandId, int, NodeId], cp_model.IntVar]
    stops: dict[DemandId, Bool]
    drops: dict[tuple[DemandId, int], Bool]


def variables(model: cp_model.CpModel, batch: Batch) -> Variables:
    """Create a programme's variables."""
    out = Variables({}, {}, {}, {}, {})
    for gang in batch.gangs:
        name = gang.demand.id
        out.starts[name] = model.new_bool_var(f"starts {name}")
        for i in range(gang.least, gang.most):
            out.gets[name, i] = model.new_bool_var(f"{name} gets bundle {i}")
        for k, kind in enumerate(gang.kinds):
            for node in batch.hosts(kind):
                out.count[name, k, node] = model.new_int_var(0, _most(kind), f"{name} kind {k} on {node}")
    for victim in batch.victims:
        name, running = victim.id, victim.running
        out.stops[name] = model.new_bool_var(f"stops {name}")
        for i in range(len(running.nodes)):
            elastic = i >= running.demand.min_bundles
            out.drops[name, i] = model.new_bool_var(f"{name} drops bundle {i}") if elastic else out.stops[name]
    return out


def _most(kind: Kind) -> int:
    return len(kind.must) + len(kind.may)
