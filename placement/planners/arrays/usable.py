"""Our choice of a node: what is left stays usable by the expected mix, and ties go to the tightest.

The rank is the rise of the mix's unusable GPUs (fragmentation gradient descent, ATC 2023), plus half the rise of the
GPUs that are stranded without the CPUs and the memory that the mix needs with them; a node without GPUs adds nothing,
so work without GPUs goes there first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from placement.check import violations
from placement.model import Demand, Grant, Plan, Problem
from placement.planners.arrays.choosing import Tightest, place
from placement.planners.arrays.layout import Ask, Bools, Floats, Floor, Ints, Taken, ids, opening
from placement.planners.arrays.mix import Mix, expected_mix, options

STRANDED = 0.5
"""What a stranded GPU counts beside one that no expected bundle can use; 0.1 to 1 do nearly as well."""


class Usable(Tightest):
    """Ranks nodes for one bundle after another, on the best of their GPUs."""

    refills = False

    def __init__(self, mix: Mix, stranded: float = STRANDED, ties_by_fit: bool = True) -> None:
        self.mix, self.stranded, self.ties_by_fit = mix, stranded, ties_by_fit
        self.device: dict[int, int] = {}

    def rank(self, floor: Floor, ask: Ask, able: Bools) -> Floats:
        nodes, device, free, devices = options(floor, ask, able)
        at = np.flatnonzero(able)
        before = np.zeros(len(able))
        before[at] = self._loss(at, floor.free[at], floor.devices[at])
        rise = self._loss(nodes, free, devices) - before[nodes]
        if self.ties_by_fit:
            largest = np.maximum(floor.layout.capacity.max(axis=0), 1)
            rise = np.round(rise, 3) + 1e-4 * (free @ (1.0 / largest)) / len(largest)
        out = np.full(len(able), np.inf)
        np.minimum.at(out, nodes, rise)
        best = rise <= out[nodes]
        self.device = dict(zip(nodes[best][::-1].tolist(), device[best][::-1].tolist(), strict=True))
        return out

    def taken(self, floor: Floor, node: int, ask: Ask) -> Taken:
        if ask.gpu and not ask.whole:
            return Taken(node, ask, (self.device[node],))
        return Taken(node, ask, floor.device_for(node, ask))

    def _loss(self, nodes: Ints, free: Ints, devices: Ints) -> Floats:
        loss = self.mix.unusable(nodes, free, devices)
        return loss + self.stranded * self.mix.stranded(free, devices) if self.stranded else loss


MOST_LOOKED_AT = 100_000
"""Pairs of a bundle and a node that ``gentler`` looks at: about half a second of CPU time."""


def gentler(problem: Problem, plan: Plan, most_looked_at: int = MOST_LOOKED_AT) -> Plan:
    """Return the plan with its new single bundles where they leave the most usable; all else stays as it is.

    Who starts and who yields does not change. Only bundles that may go anywhere are moved: of work with one bundle, no
    topology, no accelerator that it prefers and no input near a node; the largest first, and of many only so many as
    ``most_looked_at`` bundles times nodes allow. Where one finds no place, where running work
    yields (it might have been spared then) and where the judge objects, the plan stays.
    """
    demands = {demand.id: demand for demand in problem.pending}
    free_to_go = sorted(
        (
            grant
            for grant in plan.grants
            if len(grant.nodes) == 1 and grant.form == 0 and _goes_anywhere(demands[grant.demand])
        ),
        key=lambda grant: -demands[grant.demand].bundles[0].resources.get("GPU"),
    )[: most_looked_at // max(1, len(problem.nodes))]
    if not free_to_go or plan.moves or plan.preemptions or any(r.to < r.before for r in plan.resizes):
        return plan
    floor, _ = opening(problem)
    fixed = {grant.demand for grant in free_to_go}
    others = [(demands[g.demand].form(g.form), g.nodes, 0) for g in plan.grants if g.demand not in fixed]
    running = {r.demand.id: r for r in problem.running}
    others += [(running[resize.demand].demand, resize.nodes, resize.before) for resize in plan.resizes]
    for demand, nodes, first in others:
        for bundle, node in list(zip(demand.bundles, nodes, strict=False))[first:]:
            ask = floor.layout.ask(bundle)
            assert ask is not None, "what a plan places fits some node"
            at = floor.layout.index[node]
            floor.take(Taken(at, ask, floor.device_for(at, ask)))
    rule = Usable(Mix(floor.layout, expected_mix(problem)))
    moved: dict[str, Grant] = {}
    for grant in free_to_go:
        placed = place(floor, demands[grant.demand], 1, rule)
        if placed is None:
            return plan
        moved[grant.demand] = replace(grant, nodes=ids(floor.layout, placed))
    better = replace(plan, grants=tuple(moved.get(grant.demand, grant) for grant in plan.grants))
    return plan if violations(problem, better) else better


def _goes_anywhere(demand: Demand) -> bool:
    return not (demand.topologies or demand.speed or demand.near or demand.profile)
