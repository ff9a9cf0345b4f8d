"""Fragmentation gradient descent: each bundle goes where it adds the least to what the expected mix cannot use.

References
----------
Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent, USENIX ATC
2023, section 4.3. The difference is compared exactly; ties go to the tightest node.
"""

from __future__ import annotations

from placement.baselines.fits import Fits
from placement.baselines.turn import Turn
from placement.model import Demand
from placement.planners.arrays.choosing import Chooser
from placement.planners.arrays.mix import Mix, expected_mix
from placement.planners.arrays.usable import Usable
from placement.planners.base import Budget


class Fgd(Fits):
    """In the order of arrival, whoever fits, on the node of the steepest descent."""

    name = "fgd"

    def chooser(self, turn: Turn, demand: Demand, budget: Budget) -> Chooser:
        if turn.notes is None:
            turn.notes = Usable(Mix(turn.layout, expected_mix(turn.problem)), stranded=0.0)
        assert isinstance(turn.notes, Usable), "only this baseline takes notes here"
        return turn.notes
