"""Fragmentation gradient descent: each bundle goes where it adds the least to what the expected mix cannot use.

References
----------
Weng et al., Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent, USENIX ATC
2023, section 4.3. The difference is compared exactly; ties go to the first node.
"""

from __future__ import annotations

import numpy as np

from placement.baselines.choosing import Chooser, Tightest
from placement.baselines.fits import Fits
from placement.baselines.layout import Ask, Bools, Floats, Floor, Taken
from placement.baselines.mix import Mix, expected_mix, options
from placement.baselines.turn import Turn
from placement.model import Demand
from placement.planners.base import Budget


class Fgd(Fits):
    """In the order of arrival, whoever fits, on the node of the steepest descent."""

    name = "fgd"

    def chooser(self, turn: Turn, demand: Demand, budget: Budget) -> Chooser:
        if turn.notes is None:
            turn.notes = Steepest(Mix(turn.layout, expected_mix(turn.problem)))
        assert isinstance(turn.notes, Steepest), "only this baseline takes notes here"
        return turn.notes


class Steepest(Tightest):
    """The rank of a node is the rise of its fragmentation, on the best of its GPUs."""

    refills = False

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        self.device: dict[int, int] = {}

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        nodes, device, free, devices = options(floor, ask, able)
        before = self.mix.unusable(nodes, floor.free[nodes], floor.devices[nodes])
        rise = self.mix.unusable(nodes, free, devices) - before
        out = np.full(len(able), np.inf)
        np.minimum.at(out, nodes, rise)
        best = rise <= out[nodes]
        self.device = dict(zip(nodes[best][::-1].tolist(), device[best][::-1].tolist(), strict=True))
        return out

    def taken(self, floor: Floor, node: int, ask: Ask) -> Taken:
        if ask.gpu and not ask.whole:
            return Taken(node, ask, (self.device[node],))
        return Taken(node, ask, floor.device_for(node, ask))
