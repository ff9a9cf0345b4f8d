"""The policies that can be simulated, by name: our own, and those of others to compare with.

Our own are judged by the laws. Those of others bring rules of their own about who runs, so they are judged for
capacity and gangs alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aios.control.planning import PlannerFunction
from aios.errors import InvalidSpec
from aios.kernel.adopt import Judge
from placement.baselines import BASELINES, SENTENCES
from placement.check import misplaced, violations
from placement.model import Objective, Plan, Policy, Problem
from placement.planners import ladder
from placement.planners.base import Budget, Planner
from placement.planners.goodput import Goodput
from placement.planners.greedy import Greedy

SLICE_S = 360.0
"""The time slice of policies that work in rounds: Gavel's (OSDI 2020, section 5)."""
BUDGET = Budget(wall_s=10.0, deterministic_s=0.2)

OURS = {
    "aios": "The ladder of production: exact within its budget, never worse than greedy.",
    "aios-greedy": "The last rung of the ladder alone.",
    "aios-weighted": "The ladder for the largest total value; priority and entitlement weigh and are not absolute.",
    "aios-goodput": "Rounds of a time slice, by throughput, remaining work and finish-time fairness.",
}
_IN_ROUNDS = ("las", "max-min", "finish-time", "gavel", "themis")
"""Beginnings of the names of others' policies in which equals take turns."""
_MOVES = "gavel"
"""Beginning of the names of those who give out all places anew in each round, so that work moves between types."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A planner with the rules under which it is run and judged."""

    name: str
    sentence: str
    planner: PlannerFunction
    policy: Policy
    judge: Judge
    budget: Budget = BUDGET


def contender(name: str, policy: Policy, slice_s: float | None = None) -> Contender:
    """Return a policy by its name, under the rules of a cluster; raises InvalidSpec."""
    if name in BASELINES:
        planner = BASELINES[name]
        return Contender(name, SENTENCES[name], planner, _with_slice(policy, planner, slice_s), misplaced)
    if name not in OURS:
        near = difflib.get_close_matches(name, names(), 1)
        raise InvalidSpec(
            f"there is no policy {name!r}{f'; do you mean {near[0]!r}?' if near else ''}",
            hint=f"one of: {', '.join(names())}",
        )
    objective, planners = {
        "aios": (policy.objective, ladder.PLANNERS),
        "aios-greedy": (policy.objective, (Greedy(),)),
        "aios-weighted": (Objective.WEIGHTED, ladder.PLANNERS),
        "aios-goodput": (Objective.GOODPUT, (Goodput(),)),
    }[name]
    time_slice_s = slice_s or policy.time_slice_s
    if name == "aios-goodput":
        time_slice_s = time_slice_s or SLICE_S
    ruled = replace(policy, objective=objective, time_slice_s=time_slice_s)
    return Contender(name, OURS[name], _climb(planners), ruled, violations)


def names() -> tuple[str, ...]:
    return (*OURS, *BASELINES)


def _climb(planners: Sequence[Planner]) -> PlannerFunction:
    return lambda problem, budget: ladder.plan(problem, budget, planners=planners)


def _with_slice(policy: Policy, planner: Planner, slice_s: float | None) -> Policy:
    own_s = getattr(planner, "time_slice_s", SLICE_S if planner.name.startswith(_IN_ROUNDS) else None)
    objective = Objective.GOODPUT if planner.name.startswith(_MOVES) else policy.objective
    return replace(policy, objective=objective, time_slice_s=(slice_s or own_s) if own_s else None, ageing_s=None)


class Timed:
    """A planner that notes how long each plan took."""

    def __init__(self, planner: PlannerFunction, clock: Callable[[], float]) -> None:
        self._planner, self._clock = planner, clock
        self.took_s: list[float] = []

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        began_s = self._clock()
        try:
            return self._planner(problem, budget)
        finally:
            self.took_s.append(self._clock() - began_s)
