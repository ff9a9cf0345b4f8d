"""Where new work stands among equals: near its inputs, off the nodes with GPUs, away from bad neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from placement.check import violations
from placement.model import NodeId, Policy, Problem
from placement.planners import ladder
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from tests.placement.builders import admitted, node, problem, runs, tenant, want

T = tenant("t", {"gpu": 16, "cpu": 64})
EXACT, BOTH = (CpSat(),), (Greedy(), CpSat())
LOUD = Policy(interference=(("train", "train", 0.5), ("serve", "train", 0.9)))
MIXED = [node("g", gpu=4, cpu=4), node("c", cpu=16)]


@dataclass(frozen=True)
class Case:
    name: str
    problem: Problem
    on: str
    planners: tuple[Planner, ...] = BOTH


def near(name: str, at: str) -> Problem:
    demand = replace(want(name, gpu=1), near=(NodeId(at),))
    return problem([node("a", gpu=1), node("b", gpu=2), node("c", gpu=3)], [T], [demand])


CASES = [
    Case("near its inputs", near("x", "c"), "c"),
    Case("work without GPUs spares the node with GPUs", problem(MIXED, [T], [want("x", cpu=2)]), "c"),
    Case("but takes it where there is no other", problem(MIXED[:1], [T], [want("x", cpu=2)]), "g"),
    Case("work with GPUs goes where they are", problem(MIXED, [T], [want("x", gpu=1, cpu=1)]), "g"),
    Case(
        "away from a neighbour that slows it down",
        problem(
            [node("a", gpu=2), node("b", gpu=4)],
            [T],
            [replace(want("x", gpu=1), profile="train")],
            [runs(replace(want("r", gpu=1), profile="train"), "a")],
            policy=LOUD,
        ),
        "b",
        EXACT,
    ),
    Case(
        "away from a neighbour that it slows down",
        problem(
            [node("a", gpu=2), node("b", gpu=4)],
            [T],
            [replace(want("x", gpu=1), profile="train")],
            [runs(replace(want("r", gpu=1), profile="serve"), "a")],
            policy=LOUD,
        ),
        "b",
        EXACT,
    ),
    Case(
        "beside one that nobody knows of, best fit",
        problem(
            [node("a", gpu=2), node("b", gpu=4)],
            [T],
            [replace(want("x", gpu=1), profile="train")],
            [runs(want("r", gpu=1), "a")],
            policy=LOUD,
        ),
        "a",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_new_work_stands_where_it_should(case: Case) -> None:
    for planner in case.planners:
        plan = planner(case.problem, Budget())
        assert violations(case.problem, plan) == ()
        assert [set(grant.nodes) for grant in plan.grants] == [{case.on}]


def test_no_surroundings_cost_an_admission() -> None:
    pending = [replace(want("x", cpu=4), near=(NodeId("g"),)), want("y", gpu=1, cpu=4)]
    p = problem([node("g", gpu=4, cpu=4), node("c", cpu=4)], [T], pending)
    assert admitted(ladder.plan(p)) == {"x", "y"}
