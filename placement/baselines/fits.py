"""Packers: in the order of arrival, whoever fits, and only the choice of the node differs.

References
----------
Best fit: as in Weng et al., Beware of Fragmentation, USENIX ATC 2023, section 6.1 (the least weighted sum of what
is left). Dot product: Grandl et al., Multi-resource Packing for Cluster Schedulers (Tetris), SIGCOMM 2014; here, as in
ATC 2023, the node with the smallest product of what is free and what is asked. Random fit: any node that fits.
"""

from __future__ import annotations

import zlib

import numpy as np

from placement.baselines.turn import Turn, by_arrival
from placement.model import Demand, Plan, Problem
from placement.planners.arrays.choosing import Chooser, Tightest
from placement.planners.arrays.layout import Ask, Bools, Floats, Floor
from placement.planners.base import Budget


class Fits:
    """Best fit; the base of those that choose the node otherwise."""

    name = "best-fit"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        turn = Turn(problem)
        for demand in by_arrival(problem.pending):
            turn.start(demand, chooser=self.chooser(turn, demand, budget))
        return turn.plan(self.name)

    def chooser(self, turn: Turn, demand: Demand, budget: Budget) -> Chooser:
        return Tightest()


class DotProduct(Fits):
    name = "dot-product"

    def chooser(self, turn: Turn, demand: Demand, budget: Budget) -> Chooser:
        return SmallestProduct()


class RandomFit(Fits):
    name = "random-fit"

    def chooser(self, turn: Turn, demand: Demand, budget: Budget) -> Chooser:
        return _Chance(np.random.default_rng([budget.seed, zlib.crc32(demand.id.encode())]))


class SmallestProduct(Tightest):
    refills = False

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        largest = np.maximum(floor.layout.capacity.max(axis=0), 1).astype(np.float64)
        products: Floats = floor.free @ (ask.amounts / largest / largest)
        return products


class _Chance(Tightest):
    refills = False

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        return self.rng.random(len(able))
