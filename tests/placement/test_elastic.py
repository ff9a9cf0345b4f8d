"""Elastic work: shrunk before it is stopped, spared within its quota, and grown where a bundle brings the most."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from placement.check import violations
from placement.model import Cause, Demand, DemandId, Grant, NodeId, Plan, Preemption, Problem, Running
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from placement.planners.order import gain
from tests.placement.builders import admitted, node, problem, rules, runs, stopped, tenant, want

PLANNERS: tuple[Planner, ...] = (Greedy(), CpSat())


@dataclass(frozen=True)
class Case:
    name: str
    problem: Problem
    starts: str = ""
    stops: str = ""
    sizes: dict[str, int] = field(default_factory=dict)


def elastic(name: str, n: int, least: int, tenant: str = "o", *, on: str = "a", **more: object) -> Running:
    return runs(want(name, n, least=least, tenant=tenant, gpu=1, **more), on)  # type: ignore[arg-type]


T = tenant("t", {"gpu": 4})
CASES = [
    Case(
        "two shrink, so that none stops",
        problem(
            [node("a", gpu=4)],
            [T, tenant("o")],
            [want("x", gpu=2)],
            [elastic("e1", 2, 1), elastic("e2", 2, 1)],
        ),
        "x",
        sizes={"e1": 1, "e2": 1},
    ),
    Case(
        "of equals a rigid one is stopped after all have shrunk",
        problem(
            [node("a", gpu=4)],
            [T, tenant("o")],
            [want("x", gpu=1)],
            [elastic("e", 2, 1), runs(want("r", tenant="o", gpu=2), "a", started_s=900)],
        ),
        "x",
        sizes={"e": 1},
    ),
    Case(
        "shrunk to within its quota it is spared",
        problem([node("a", gpu=3)], [T, tenant("o", {"gpu": 2})], [want("x", gpu=2)], [elastic("e", 3, 2)]),
    ),
    Case(
        "still above its quota at its minimum it stops",
        problem([node("a", gpu=3)], [T, tenant("o", {"gpu": 1})], [want("x", gpu=2)], [elastic("e", 3, 2)]),
        "x",
        "e",
    ),
    Case(
        "it gives what is above its quota where that is enough",
        problem([node("a", gpu=3)], [T, tenant("o", {"gpu": 2})], [want("x", gpu=1)], [elastic("e", 3, 2)]),
        "x",
        sizes={"e": 2},
    ),
    Case(
        "a rigid one takes its tenant below its quota",
        problem(
            [node("a", gpu=3)],
            [T, tenant("o", {"gpu": 2})],
            [want("x", gpu=2)],
            [runs(want("r", tenant="o", gpu=3), "a")],
        ),
        "x",
        "r",
    ),
    Case(
        "others of its tenant keep it above",
        problem(
            [node("a", gpu=4), node("b", gpu=1)],
            [T, tenant("o", {"gpu": 2})],
            [want("x", gpu=4)],
            [elastic("e", 4, 2), runs(want("k", tenant="o", gpu=1, preemptible=False), "b")],
        ),
        "x",
        "e",
    ),
    Case(
        "within one tenant quotas do not matter",
        problem([node("a", gpu=3)], [T], [want("x", priority=1, gpu=2)], [elastic("e", 3, 2, "t")]),
        "x",
        "e",
    ),
    Case(
        "a less important one stops before a more important one shrinks",
        problem(
            [node("a", gpu=4)],
            [T, tenant("o")],
            [want("x", gpu=1)],
            [elastic("e", 2, 1, priority=5), runs(want("r", tenant="o", gpu=2), "a")],
        ),
        "x",
        "r",
    ),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planner_shrinks_before_it_stops(case: Case, planner: Planner) -> None:
    plan = planner(case.problem, Budget())
    assert violations(case.problem, plan) == ()
    assert (admitted(plan), stopped(plan)) == (set(case.starts.split()), set(case.stops.split()))
    assert {str(r.demand): r.to for r in plan.resizes} == case.sizes


def scaled(demand: Demand, *points: tuple[int, float]) -> Demand:
    return replace(demand, scaling=points)


GROWTH = [
    Case(
        "where a bundle brings the most",
        problem(
            [node("a", gpu=4)],
            [T],
            [
                scaled(want("x", 4, least=1, gpu=1), (1, 1.0), (2, 1.1), (4, 1.2)),
                scaled(want("y", 4, least=1, gpu=1), (1, 1.0), (4, 4.0)),
            ],
        ),
        "x y",
        sizes={"x": 1, "y": 3},
    ),
    Case(
        "in turns where both fall alike",
        problem(
            [node("a", gpu=6)],
            [T],
            [scaled(want(n, 4, least=1, gpu=1), (1, 1.0), (2, 1.8), (3, 2.4), (4, 2.8)) for n in ("x", "y")],
        ),
        "x y",
        sizes={"x": 3, "y": 3},
    ),
    Case(
        "the more important before it brings more",
        problem(
            [node("a", gpu=4)],
            [T],
            [
                scaled(want("x", 3, least=1, gpu=1, priority=1), (1, 1.0), (3, 1.2)),
                want("y", 3, least=1, gpu=1),
            ],
        ),
        "x y",
        sizes={"x": 3, "y": 1},
    ),
    Case(
        "a bundle that brings nothing is not taken",
        problem([node("a", gpu=4)], [T], [scaled(want("x", 4, least=1, gpu=1), (1, 1.0), (2, 1.5), (4, 1.5))]),
        "x",
        sizes={"x": 2},
    ),
    Case(
        "what runs grows too",
        problem(
            [node("a", gpu=4)],
            [T],
            [want("y", 2, least=1, gpu=1)],
            [Running(scaled(want("r", 4, least=1, gpu=1), (1, 1.0), (4, 1.3)), (NodeId("a"), NodeId("a")))],
        ),
        "y",
        sizes={"y": 2},
    ),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
@pytest.mark.parametrize("case", GROWTH, ids=lambda case: case.name)
def test_idle_room_goes_where_it_brings_the_most(case: Case, planner: Planner) -> None:
    plan = planner(case.problem, Budget())
    assert violations(case.problem, plan) == ()
    assert admitted(plan) == set(case.starts.split())
    assert {str(g.demand): len(g.nodes) for g in plan.grants} == case.sizes


@pytest.mark.parametrize(
    ("points", "n_has", "expected"),
    [
        ((), 3, 1.0),
        (((1, 1.0), (2, 1.8), (4, 3.0)), 0, 1.0),
        (((1, 1.0), (2, 1.8), (4, 3.0)), 1, 0.8),
        (((1, 1.0), (2, 1.8), (4, 3.0)), 3, 0.6),
        (((1, 1.0), (2, 1.8), (4, 3.0)), 9, 0.6),
        (((2, 1.0), (4, 1.5)), 2, 0.5),
    ],
)
def test_the_next_bundle_brings_what_the_scaling_says(
    points: tuple[tuple[int, float], ...], n_has: int, expected: float
) -> None:
    assert gain(scaled(want("x", 12, least=1, gpu=1), *points), n_has) == pytest.approx(expected)


def test_a_fair_borrower_shrinks_its_equals() -> None:
    p = problem(
        [node("a", gpu=4)],
        [tenant("t", preemption=rules(borrow="fair")), tenant("o")],
        [want("x", gpu=1)],
        [elastic("e", 4, 1)],
    )
    for planner in PLANNERS:
        plan = planner(p, Budget())
        assert (admitted(plan), stopped(plan)) == ({"x"}, set())


def test_the_judge_refuses_a_stop_where_the_shrink_brings_the_tenant_within_its_quota() -> None:
    case = next(case for case in CASES if case.name.startswith("shrunk to within"))
    name, x = DemandId("e"), DemandId("x")
    plan = Plan((Grant(x, (NodeId("a"),)),), (Preemption(name, Cause.RECLAIM, (x,)),))
    assert [violation.law for violation in violations(case.problem, plan)] == [10]
