"""Ray's own placement-group scheduler: time order, no priorities, no claims; who fits, starts.

References
----------
Ray, ``src/ray/gcs/gcs_placement_group_manager.cc`` (pending groups by time; one that fails is tried again later and
does not block those behind it) and ``src/ray/raylet/scheduling/policy/bundle_scheduling_policy.cc`` with ``scorer.cc``
(LeastResourceScorer: the node with the largest sum of (available - requested) / available).
"""

from __future__ import annotations

import numpy as np

from placement.baselines.turn import Turn, by_arrival
from placement.model import Plan, Problem
from placement.planners.arrays.choosing import Tightest
from placement.planners.arrays.layout import Ask, Bools, Floats, Floor
from placement.planners.base import Budget


class Ray:
    """PACK fills the node with the most room, then the next one; SPREAD takes another node for each bundle."""

    name = "ray"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn, rule = Turn(problem), MostLeft()
        for demand in by_arrival(problem.pending):
            turn.start(demand, chooser=rule)
        return turn.plan(self.name)


class MostLeft(Tightest):
    """Ray's LeastResourceScorer."""

    refills = True

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        asked = np.flatnonzero(ask.amounts)
        free = floor.free[:, asked]
        left: Floats = ((free - ask.amounts[asked]) / np.maximum(free, 1)).sum(axis=1)
        return -left
