"""Work that may run in other forms: tried in order, granted as one, and explained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.answer import answer_json
from placement.check import violations
from placement.explain import explain, explain_plan
from placement.model import Bundle, Demand, DemandId, Policy, Problem, Reason, Running, Selector, Shape
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from placement.score import score
from tests.placement.builders import admitted, amounts, node, problem, problems, runs, stopped, tenant, want

PLANNERS: tuple[Planner, ...] = (Greedy(), CpSat())
T = tenant("t", {"gpu": 16})


def or_else(demand: Demand, *shapes: tuple[int, float]) -> Demand:
    """Let a demand also run as so many bundles of so many GPUs."""
    forms = tuple(Shape((Bundle(amounts({"gpu": gpu})),) * n) for n, gpu in shapes)
    return replace(demand, alternatives=forms)


@dataclass(frozen=True)
class Case:
    name: str
    problem: Problem
    form: int | None
    stops: str = ""
    starts: str = "x"


EIGHT = or_else(want("x", 1, gpu=8), (2, 4), (4, 2))
FOURS = [node("a", gpu=4), node("b", gpu=4)]
TYPED = replace(
    want("x", gpu=4, selector={"type": "h100"}),
    alternatives=(Shape((Bundle(amounts({"gpu": 4}), Selector.parse({"type": "a100"})),), throughput=0.5),),
)

CASES = [
    Case("the most wanted form where it fits", problem([node("a", gpu=8)], [T], [EIGHT]), 0),
    Case("the next one where it does not", problem(FOURS, [T], [EIGHT]), 1),
    Case("and the last one", problem([node(n, gpu=2) for n in "abcd"], [T], [EIGHT]), 2),
    Case("none fits", problem([node("a", gpu=6)], [T], [EIGHT]), None, starts=""),
    Case(
        "another type of accelerator",
        problem([node("a", {"type": "a100"}, gpu=4)], [T], [TYPED]),
        1,
    ),
    Case(
        "idle room in another form before anybody yields",
        problem(
            [node("h", {"type": "h100"}, gpu=4), node("a", {"type": "a100"}, gpu=4)],
            [T],
            [replace(TYPED, priority=1)],
            [runs(want("r", gpu=4), "h")],
        ),
        1,
    ),
    Case(
        "who yields, yields for the form that it helps",
        problem([node("a", {"type": "a100"}, gpu=4)], [T], [replace(TYPED, priority=1)], [runs(want("r", gpu=4), "a")]),
        1,
        "r",
    ),
    Case(
        "limits hold for each form",
        problem([node("a", gpu=8)], [tenant("t", limit={"gpu": 4})], [or_else(want("x", gpu=8), (1, 6), (2, 2))]),
        2,
    ),
    Case(
        "a blocked one keeps the claim of the form that starts first",
        problem(
            [node("a", gpu=4), node("b", gpu=4)],
            [T],
            [or_else(want("x", 2, gpu=4, runtime_s=100), (1, 3)), want("y", gpu=1, runtime_s=400)],
            [
                runs(want("r", gpu=4, runtime_s=1200), "a", started_s=0),
                runs(want("s", gpu=2, runtime_s=1300), "b", started_s=0),
            ],
            now_s=1000,
        ),
        None,
        starts="y",
    ),
]


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: planner.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_planner_grants_the_first_form_that_can_start(case: Case, planner: Planner) -> None:
    plan = planner(case.problem, Budget())
    assert violations(case.problem, plan) == ()
    assert (admitted(plan), stopped(plan)) == (set(case.starts.split()), set(case.stops.split()))
    if case.form is not None:
        assert [grant.form for grant in plan.grants if grant.demand == "x"] == [case.form]


def test_an_elastic_form_grows() -> None:
    elastic = replace(want("x", gpu=8), alternatives=(Shape((Bundle(amounts({"gpu": 1})),) * 6, min_bundles=2),))
    for planner in PLANNERS:
        p = problem([node("a", gpu=4)], [T], [elastic])
        plan = planner(p, Budget())
        assert violations(p, plan) == ()
        assert [(grant.form, len(grant.nodes)) for grant in plan.grants] == [(1, 4)]


def test_the_answer_names_the_form_and_explains_it() -> None:
    p = problem(FOURS, [T], [EIGHT])
    plan = Greedy()(p, Budget())
    assert answer_json(plan)["admitted"] == {"x": {"nodes": ["a", "b"], "form": 1}}
    assert any("in form 1 of 3" in line for line in explain(p, plan, DemandId("x")).because)


def test_a_wait_is_explained_by_the_form_that_is_nearest_to_running() -> None:
    p = problem([node("a", gpu=4)], [T], [or_else(want("x", gpu=8), (1, 4))], [runs(want("r", gpu=1), "a")])
    why = explain_plan(p, Greedy()(p, Budget())).waiting[DemandId("x")]
    assert why.reason is Reason.CAPACITY
    assert why.detail.startswith("none of its 2 forms can start; form 1 needs 4 GPU")
    assert any("r ended" in hint for hint in why.would_run_if)


@st.composite
def with_forms(draw: st.DrawFn) -> Problem:
    p = draw(problems(most_pending=4))
    shapes = st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.5, 1, 2])), max_size=2)
    return replace(p, pending=tuple(or_else(d, *draw(shapes)) for d in p.pending))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(with_forms())
def test_no_mix_of_forms_breaks_a_law(p: Problem) -> None:
    assert violations(p, Greedy()(p, Budget())) == ()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(with_forms())
def test_the_exact_planner_serves_no_worse_in_forms(p: Problem) -> None:
    exact = CpSat()(p, Budget())
    assert violations(p, exact) == ()
    assert score(p, exact).service >= score(p, Greedy()(p, Budget())).service
    assert exact.stats.objective <= exact.stats.bound + 1e-6


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 8), st.integers(1, 8), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 8)), max_size=3))
def test_a_form_starts_only_where_no_earlier_one_can(a: int, b: int, shapes: list[tuple[int, int]]) -> None:
    nodes = [node("a", gpu=a), node("b", gpu=b)]
    demand = or_else(want("x", gpu=8), *shapes)
    each = [
        bool(CpSat()(problem(nodes, [T], [replace(demand.form(i), alternatives=())]), Budget()).grants)
        for i in range(1 + len(demand.alternatives))
    ]
    for planner in PLANNERS:
        got = [grant.form for grant in planner(problem(nodes, [T], [demand]), Budget()).grants]
        assert got == ([each.index(True)] if any(each) else [])


def test_running_work_is_what_its_form_says() -> None:
    form = EIGHT.form(1)
    p = problem(FOURS, [T], [], [Running(form, ("a", "b"))], policy=Policy())  # type: ignore[arg-type]
    assert violations(p, Greedy()(p, Budget())) == ()
