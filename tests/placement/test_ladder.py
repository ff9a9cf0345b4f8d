"""The ladder gives the best sound answer, says how it was reached, and always answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from placement.check import violations
from placement.model import Bundle, DemandId, Grant, NodeId, Plan, Problem, Resources
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.score import score
from placement.shares import entitlements
from tests.placement.builders import admitted, node, problem, problems, tenant, want

P = problem([node("a", gpu=2)], [tenant("t", {"gpu": 2})], [want("x", gpu=1), want("y", gpu=1)])


class Broken:
    name = "broken"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        raise ZeroDivisionError("no idea")


class Liar:
    """Puts everything on one node, whether it fits or not."""

    name = "liar"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        return Plan(tuple(Grant(d.id, (problem.nodes[0].id,) * 9) for d in problem.pending))


class Lazy:
    """Sound, but starts nothing."""

    name = "lazy"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        plan = Greedy()(replace(problem, nodes=()), budget)
        return replace(plan, stats=replace(plan.stats, planner=self.name))


def test_the_exact_planner_answers_first() -> None:
    plan = ladder.plan(P)
    assert (plan.stats.planner, plan.stats.status, plan.stats.fallbacks) == ("cpsat", "optimal", ())


@pytest.mark.parametrize(
    ("planner", "said"),
    [(Broken(), "broken: ZeroDivisionError: no idea"), (Liar(), "liar: law 2:"), (Lazy(), "lazy: no better than")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_rung_that_fails_is_told_and_the_next_one_answers(planner: ladder.Planner, said: str) -> None:
    plan = ladder.plan(P, planners=(planner, Greedy()))
    assert plan.stats.planner == "greedy"
    assert admitted(plan) == {"x", "y"}
    assert [fallback for fallback in plan.stats.fallbacks if fallback.startswith(said)]


def test_a_sound_plan_is_kept_though_a_broken_one_starts_more() -> None:
    plan = ladder.plan(P, planners=(Lazy(), Liar()))
    assert plan.stats.planner == "lazy"
    assert [fallback for fallback in plan.stats.fallbacks if fallback.startswith("liar: law 2:")]


def test_no_rung_at_all_is_an_error_that_names_them() -> None:
    with pytest.raises(RuntimeError, match="broken: ZeroDivisionError"):
        ladder.plan(P, planners=(Broken(),))


def test_the_answer_states_its_terms_shares_and_time() -> None:
    ticks = iter([10.0, 12.5])
    plan = ladder.plan(P, clock=lambda: next(ticks))
    assert plan.stats.wall_s == 2.5
    assert dict(plan.stats.terms)["admitted"] == 1.0
    assert (plan.shares["t"].entitled, plan.shares["t"].used) == (1.0, 1.0)  # type: ignore[index]  # a TenantId


def test_greedys_bound_is_what_nothing_can_exceed() -> None:
    p = replace(P, pending=(*P.pending, want("z", gpu=2)))
    stats = ladder.plan(p, planners=(Greedy(),)).stats
    assert stats.bound >= ladder.plan(p).stats.objective > 0
    assert stats.gap > 0


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems())
def test_the_answer_is_never_worse_than_greedys(p: Problem) -> None:
    plan, entitled = ladder.plan(p), entitlements(p)
    assert violations(p, plan) == ()
    assert score(p, plan, entitled) >= score(p, Greedy()(p, Budget()), entitled)


def test_a_grant_is_bundle_by_bundle() -> None:
    p = problem(
        [node("a", gpu=2), node("b", cpu=2)],
        [tenant("t", {"gpu": 2, "cpu": 2})],
        [replace(want("x", 2, cpu=1), bundles=(want("i", gpu=1).bundles[0], want("j", cpu=1).bundles[0]))],
    )
    assert ladder.plan(p).grants == (Grant(DemandId("x"), (NodeId("a"), NodeId("b"))),)


def test_what_is_expected_keeps_a_place_that_suits_it() -> None:
    """A CPU job may go to the node with CPUs to spare, or to one whose GPUs it would strand."""
    nodes = [node("b", cpu=8, gpu=8), node("a", cpu=64, gpu=8)]
    wide = Bundle(Resources.parse({"CPU": 1, "GPU": 1}))
    asked = replace(
        problem(nodes, [tenant("t", {"gpu": 16})], [want("c", cpu=4, gpu=1)]),
        expected=((wide, 1.0),),
    )
    answer = ladder.plan(asked)
    assert [grant.nodes for grant in answer.grants] == [("a",)]
    assert answer.stats.objective <= answer.stats.bound
    assert answer.stats.status == "optimal"
