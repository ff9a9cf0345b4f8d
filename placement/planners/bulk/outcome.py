"""What the bulk admission has decided."""

from __future__ import annotations

from dataclasses import dataclass, field

from placement.model import Cause, Demand, DemandId
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.rooms import Rooms


@dataclass(slots=True)
class Got:
    """What a newcomer has: its form, that form as a demand, and its nodes."""

    form: int
    demand: Demand
    at: list[int]


@dataclass(slots=True)
class Outcome:
    """What was decided; ``displaced`` in the order of going."""

    rooms: Rooms
    gangs: Gangs
    got: dict[DemandId, Got] = field(default_factory=dict)
    displaced: list[tuple[Gang, Cause, DemandId]] = field(default_factory=list)
    grown: dict[DemandId, Gang] = field(default_factory=dict)
