"""How good a plan is: terms compared one after the other, the most important first; knows no planner.

Where the policy is strict the first term follows the laws' order of service: guarantees first, then by share, the more
important and the earlier first inside a tenant. A plan that serves whoever comes first is better than one that serves
others in its stead. Where the policy weighs, the first term is the plan's total value and there is no order of service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from placement.inuse import used_shares
from placement.model import Objective, Plan, Problem, TenantId
from placement.qualities import Placed, most_performance
from placement.service import order_of_service
from placement.value import most_value, plan_terms
from placement.weights import (
    ADMITTED,
    ENTITLEMENT,
    FRAGMENTATION,
    HARM,
    HETEROGENEITY,
    INTERFERENCE,
    LOCALITY,
    MOVED,
    NODES,
    PERFORMANCE,
    TERMS,
    VALUE_TERMS,
)

__all__ = ["Score", "most_there_can_be", "near_inputs", "order_of_service", "score"]

Harm = tuple[tuple[float, int], ...]
"""Work displaced, the worst first: minus its priority, and 0 where it stops or 1 where it shrinks."""

NO_MORE: tuple[float, int] = (float("inf"), 0)
"""Ends every ``Harm``, so that of two that begin alike the shorter is better."""


@dataclass(frozen=True, slots=True, order=True)
class Score:
    """Compared field by field, in this order; larger is better.

    Attributes
    ----------
    value : float
        The plan's total value where the policy weighs (``placement.value``); 0 where it is strict.
    service : tuple of (bool, Harm)
        For each pending demand in the order of service: whether it starts, and who yields for it. Empty where the
        policy weighs.
    entitlement : float
        Minus the sum of the tenants' shortfalls from their entitled shares (0..1 each).
    bundles : float
        Bundles of new work, in its first form, and of running work that grows.
    shrunk, moved : int
        Minus the bundles that running elastic work gives up, and minus those that move.
    performance : float
        Throughput of new work, in bundles of its first form at speed 1.
    interference : float
        Minus the bundles' worth of throughput that work loses to neighbours.
    locality : float
        Preferred topologies that hold, and parts of gangs that are near their inputs.
    heterogeneity : float
        Minus the GPUs beside which work without any takes a node's CPUs or memory.
    nodes : int
        Minus the nodes on which new work stands.
    fragmentation : float
        Minus the GPUs that expected work could use before the plan and cannot after it.
    stopped_bundles : int
        Minus the bundles of running work that stop.
    parts : tuple of (name, float)
        What ``value`` is made of.
    admitted : float
        Pending work that starts, as a fraction.
    """

    value: float
    service: tuple[tuple[bool, Harm], ...]
    entitlement: float
    bundles: float
    shrunk: int
    moved: int
    performance: float
    interference: float
    locality: float
    heterogeneity: float
    nodes: int
    fragmentation: float
    stopped_bundles: int
    parts: tuple[tuple[str, float], ...] = ()
    admitted: float = 0.0

    @property
    def terms(self) -> tuple[tuple[str, float], ...]:
        """Return (name, value) of every term, as ``placement.weights`` names them."""
        stated = (
            *self.parts,
            (ADMITTED.name, self.admitted),
            (ENTITLEMENT.name, self.entitlement),
            (PERFORMANCE.name, self.performance),
            (HARM.name, float(self.stopped_bundles + self.shrunk)),
            (MOVED.name, float(self.moved)),
            (INTERFERENCE.name, self.interference),
            (LOCALITY.name, self.locality),
            (HETEROGENEITY.name, self.heterogeneity),
            (NODES.name, float(self.nodes)),
            (FRAGMENTATION.name, self.fragmentation),
        )
        return tuple((name, round(value, 6) + 0.0) for name, value in stated)  # no -0.0, no -3e-08 to wonder at

    @property
    def total(self) -> float:
        """Return what an answer states as its objective: the total value, or the weighted sum of the terms."""
        counted = VALUE_TERMS if self.parts else TERMS
        weights = {term.name: term.weight for term in counted}
        return sum(weights[name] * value for name, value in self.terms if name in weights)


def score(
    problem: Problem,
    plan: Plan,
    entitled: Mapping[TenantId, float] | None = None,
    used: Mapping[TenantId, float] | None = None,
) -> Score:
    """Return the plan's score.

    ``entitled`` are the tenants' entitled shares (nobody is short where left out), ``used`` those that the plan gives
    them (worked out here where left out).
    """
    placed, weighs = Placed(problem, plan), problem.policy.objective is not Objective.STRICT
    stopped = {p.demand for p in plan.preemptions}
    victims = [r for r in problem.running if r.demand.id in stopped] if stopped else []
    changes = [resize.to - resize.before for resize in plan.resizes]
    if used is None:
        used = used_shares(problem, plan) if entitled else {}
    short = sum(max(0.0, entitled[t] - used[t]) for t in used if t in entitled) if entitled else 0.0
    parts = value_parts(problem, plan) if weighs else ()
    return Score(
        value=round(sum(value for _, value in parts), 6),
        service=() if weighs else _service(problem, plan),
        entitlement=round(-short, 9),
        bundles=round(placed.whole_gangs() + sum(n for n in changes if n > 0), 9),
        shrunk=sum(n for n in changes if n < 0),
        moved=-sum(len(move.nodes) for move in plan.moves),
        performance=round(placed.performance(), 9),
        interference=round(placed.interference(), 9),
        locality=round(placed.locality(), 9),
        heterogeneity=round(placed.heterogeneity(), 9),
        nodes=-placed.nodes_used(),
        fragmentation=round(placed.fragmentation(), 9),
        stopped_bundles=-sum(len(r.nodes) for r in victims),
        parts=parts,
        admitted=len(plan.grants) / max(1, len(problem.pending)),
    )


def value_parts(problem: Problem, plan: Plan) -> tuple[tuple[str, float], ...]:
    """Return the parts of the plan's value by the names of ``VALUE_TERMS``."""
    return tuple((term.name, value) for term, (_, value) in zip(VALUE_TERMS, plan_terms(problem, plan), strict=True))


def _service(problem: Problem, plan: Plan) -> tuple[tuple[bool, Harm], ...]:
    """Return each demand's lot, in the order of service; a victim counts against the first for whom it yields."""
    order = order_of_service(problem)
    granted = {grant.demand for grant in plan.grants}
    place = {demand.id: i for i, demand in enumerate(order)}
    gone = {p.demand for p in plan.preemptions} | {r.demand for r in plan.resizes}
    priority = {r.demand.id: float(r.demand.priority) for r in problem.running if r.demand.id in gone} if gone else {}
    harm: dict[int, list[tuple[float, int]]] = {}
    for stop in plan.preemptions:
        first = min((place[name] for name in stop.beneficiaries if name in place), default=-1)
        harm.setdefault(first, []).append((-priority[stop.demand], 0))
    for resize in plan.resizes:
        if resize.to < resize.before:
            first = min((place[name] for name in resize.beneficiaries if name in place), default=-1)
            harm.setdefault(first, []).append((-priority[resize.demand], 1))
    nobody = (NO_MORE,)
    return tuple((d.id in granted, (*sorted(harm[i]), NO_MORE) if i in harm else nobody) for i, d in enumerate(order))


def most_there_can_be(problem: Problem) -> float:
    """Return a bound on any plan's objective: all starts, on its fastest nodes, and nobody yields."""
    if problem.policy.objective is not Objective.STRICT:
        return most_value(problem)
    bundles = sum(most_performance(d) for d in problem.pending)
    preferred = sum(not topology.required for d in problem.pending for topology in d.topologies)
    near = sum(1 for d in problem.pending if d.near)
    return ADMITTED.weight * bool(problem.pending) + PERFORMANCE.weight * bundles + LOCALITY.weight * (preferred + near)


def near_inputs(problem: Problem) -> float:
    """Return the most that places near inputs can add to the objective, which no programme counts."""
    return LOCALITY.weight * sum(1 for d in problem.pending if d.near)
