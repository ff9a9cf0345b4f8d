"""Nodes that are kept: for tenants, or for nobody; before, while and after."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.explain import explain_plan
from placement.model import DemandId, NodeId, Problem, Reason, Reservation, Running, TenantId
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from placement.score import score
from tests.placement.builders import admitted, node, problem, problems, runs, stopped, tenant, want

PLANNERS: tuple[Planner, ...] = (Greedy(), CpSat())
T, OTHER = tenant("t", {"gpu": 4}), tenant("o", {"gpu": 4})
PAIR = [node("a", gpu=4), node("b", gpu=4)]


def kept(nodes: str, starts_s: float, ends_s: float, tenants: str = "", name: str = "m") -> Reservation:
    return Reservation(
        name,
        tuple(NodeId(n) for n in nodes.split()),
        starts_s,
        ends_s,
        tuple(TenantId(t) for t in tenants.split()),
    )


def beside(p: Problem, *reservations: Reservation) -> Problem:
    return replace(p, reservations=reservations)


@dataclass(frozen=True)
class Case:
    name: str
    problem: Problem
    starts: str = ""
    stops: str = ""
    on: str = ""
    reason: Reason | None = None


def _x(runtime_s: float | None = None, gpu: int = 4, **more: object) -> Problem:
    return problem([node("a", gpu=4)], [T, OTHER], [want("x", gpu=gpu, runtime_s=runtime_s, **more)])  # type: ignore[arg-type]


CASES = [
    Case("nothing starts in maintenance", beside(_x(), kept("a", 500, 2000)), reason=Reason.DRAINED),
    Case("nor what may still run when it begins", beside(_x(600), kept("a", 1500, 2000)), reason=Reason.DRAINED),
    Case("nor what nobody knows the end of", beside(_x(), kept("a", 9000, 9500)), reason=Reason.DRAINED),
    Case("what ends in time starts", beside(_x(500), kept("a", 1500, 2000)), "x"),
    Case("what is over is over", beside(_x(), kept("a", 0, 1000)), "x"),
    Case("its own tenant starts", beside(_x(), kept("a", 500, 2000, "t")), "x"),
    Case("others do not", beside(_x(), kept("a", 500, 2000, "o")), reason=Reason.CAPACITY),
    Case(
        "a tenant below the named one starts",
        beside(
            problem([node("a", gpu=4)], [tenant("p", {"gpu": 4}), tenant("t", {}, "p")], [want("x", gpu=4)]),
            kept("a", 500, 2000, "p"),
        ),
        "x",
    ),
    Case("another node is taken", beside(problem(PAIR, [T], [want("x", gpu=4)]), kept("a", 500, 2000)), "x", on="b"),
    Case(
        "what runs there runs on",
        beside(problem(PAIR, [T], [want("x", gpu=1)], [runs(want("r", gpu=1), "a")]), kept("a", 500, 2000)),
        "x",
        on="b",
    ),
    Case(
        "nobody yields on nodes that are kept",
        beside(
            problem([node("a", gpu=4)], [T], [want("x", priority=1, gpu=4)], [runs(want("r", gpu=4), "a")]),
            kept("a", 500, 2000),
        ),
    ),
    Case(
        "who may use them displaces there",
        beside(
            problem([node("a", gpu=4)], [T], [want("x", priority=1, gpu=4)], [runs(want("r", gpu=4), "a")]),
            kept("a", 500, 2000, "t"),
        ),
        "x",
        "r",
    ),
    Case(
        "a claim waits for the end of maintenance, and shorter work passes it",
        beside(
            problem(PAIR, [tenant("t", {"gpu": 8})], [want("x", 2, gpu=4), want("y", gpu=4, runtime_s=900)]),
            kept("a", 500, 2000),
        ),
        "y",
    ),
    Case(
        "longer work would delay it",
        beside(
            problem(PAIR, [tenant("t", {"gpu": 8})], [want("x", 2, gpu=4), want("y", gpu=4, runtime_s=1100)]),
            kept("a", 500, 2000),
        ),
    ),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planner_keeps_reservations(case: Case, planner: Planner) -> None:
    plan = planner(case.problem, Budget())
    assert violations(case.problem, plan) == ()
    assert (admitted(plan), stopped(plan)) == (set(case.starts.split()), set(case.stops.split()))
    if case.on:
        assert [set(grant.nodes) for grant in plan.grants] == [{case.on}]
    if case.reason is not None:
        assert explain_plan(case.problem, plan).waiting[DemandId("x")].reason is case.reason


def test_elastic_work_grows_onto_kept_nodes_only_in_time() -> None:
    for runtime_s, to in ((600.0, 4), (900.0, 2)):
        demand = want("e", 4, least=1, gpu=2, runtime_s=runtime_s)
        p = problem(PAIR, [tenant("t", {"gpu": 8})], [], [Running(demand, (NodeId("a"), NodeId("a")), 1000.0)])
        p = beside(p, kept("b", 1700, 2000))
        for planner in PLANNERS:
            plan = planner(p, Budget())
            assert violations(p, plan) == ()
            assert [r.to for r in plan.resizes] == ([to] if to > 2 else [])


def test_the_wait_says_when_the_nodes_open_and_what_would_help() -> None:
    p = beside(_x(600), kept("a", 1500, 2000))
    why = explain_plan(p, Greedy()(p, Budget())).waiting[DemandId("x")]
    assert "m (maintenance) from 1500 s" in why.detail
    assert "opens at 2000 s" in why.detail
    assert why.would_run_if[:2] == ("the reservation m (until 2000 s) was over", "it were known to end within 8 min")


@st.composite
def with_reservations(draw: st.DrawFn) -> Problem:
    p = draw(problems(most_pending=4))
    out = [
        Reservation(
            f"m{i}",
            tuple(draw(st.lists(st.sampled_from([n.id for n in p.nodes]), min_size=1, max_size=2, unique=True))),
            starts_s := draw(st.sampled_from([0.0, 1000.0, 1100.0, 1400.0])),
            starts_s + draw(st.sampled_from([200.0, 1000.0])),
            tuple(draw(st.lists(st.sampled_from([t.id for t in p.tenants]), max_size=1))),
        )
        for i in range(draw(st.integers(1, 3)))
    ]
    return replace(p, reservations=tuple(out))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(with_reservations())
def test_no_reservation_is_broken_by_greedy(p: Problem) -> None:
    assert violations(p, Greedy()(p, Budget())) == ()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(with_reservations())
def test_no_reservation_is_broken_by_the_exact_planner(p: Problem) -> None:
    exact = CpSat()(p, Budget())
    assert violations(p, exact) == ()
    assert score(p, exact).service >= score(p, Greedy()(p, Budget())).service
