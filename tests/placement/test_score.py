"""Scores compare plans as the laws do: who is served first, then harm, then the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.model import (
    Bundle,
    Cause,
    DemandId,
    Grant,
    Move,
    NodeId,
    Objective,
    Plan,
    Preemption,
    Problem,
    Shape,
)
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.score import most_there_can_be, order_of_service, score
from placement.weights import TERMS, VALUE_TERMS
from tests.placement.builders import amounts, node, problem, problems, runs, tenant, want


def _grants(**at: str) -> tuple[Grant, ...]:
    return tuple(Grant(DemandId(name), (NodeId(n),)) for name, n in at.items())


def test_serving_the_first_beats_serving_two_later_ones() -> None:
    p = problem([node("a", gpu=2)], [tenant("t", {"gpu": 2})], [want("x", gpu=2), want("y", gpu=1), want("z", gpu=1)])
    assert score(p, Plan(_grants(x="a"))) > score(p, Plan(_grants(y="a", z="a")))


def test_the_more_important_comes_first_whenever_it_came() -> None:
    p = problem([node("a", gpu=1)], [tenant("t", {"gpu": 1})], [want("x", gpu=1), want("y", priority=3, gpu=1)])
    assert [d.id for d in order_of_service(p)] == ["y", "x"]


def test_a_guarantee_comes_before_a_borrower() -> None:
    p = problem(
        [node("a", gpu=2)], [tenant("t"), tenant("o", {"gpu": 2})], [want("x", gpu=1), want("y", tenant="o", gpu=1)]
    )
    assert [d.id for d in order_of_service(p)] == ["y", "x"]


def test_borrowers_take_turns() -> None:
    p = problem(
        [node("a", gpu=4)],
        [tenant("t"), tenant("o")],
        [want("x1", gpu=1), want("x2", gpu=1), want("y1", tenant="o", gpu=1), want("y2", tenant="o", gpu=1)],
    )
    assert [d.id for d in order_of_service(p)] == ["x1", "y1", "x2", "y2"]


def test_the_less_important_victim_is_the_lesser_harm() -> None:
    p = problem(
        [node("a", gpu=1), node("b", gpu=1)],
        [tenant("t", {"gpu": 2})],
        [want("x", priority=9, gpu=1)],
        [runs(want("low", priority=1, gpu=1), "a"), runs(want("mid", priority=5, gpu=1), "b")],
    )

    def stopping(victim: str, on: str) -> Plan:
        return Plan(_grants(x=on), (Preemption(DemandId(victim), Cause.PRIORITY, (DemandId("x"),)),))

    assert score(p, stopping("low", "a")) > score(p, stopping("mid", "b"))


def test_the_faster_node_is_better() -> None:
    nodes = [node("a", {"ray.io/accelerator-type": "A"}, gpu=1), node("h", {"ray.io/accelerator-type": "H"}, gpu=1)]
    p = problem(nodes, [tenant("t", {"gpu": 1})], [want("x", gpu=1, speed={"H": 2.0})])
    assert score(p, Plan(_grants(x="h"))) > score(p, Plan(_grants(x="a")))


def test_a_kept_preference_is_better() -> None:
    nodes = [node("a", {"rack": "1"}, gpu=1), node("b", {"rack": "1"}, gpu=1), node("c", {"rack": "2"}, gpu=1)]
    p = problem(nodes, [tenant("t", {"gpu": 2})], [want("x", 2, gpu=1, pack="rack")])
    together, apart = (Plan((Grant(DemandId("x"), (NodeId("a"), NodeId(n))),)) for n in "bc")
    assert score(p, together) > score(p, apart)


def test_every_term_is_stated_once_with_a_unit() -> None:
    p = problem([node("a", gpu=1)], [tenant("t", {"gpu": 1})], [want("x", gpu=1)])
    plan = Plan(_grants(x="a"))
    assert [name for name, _ in score(p, plan).terms] == [term.name for term in TERMS]
    assert [name for name, _ in score(weighing(p), plan).terms] == [term.name for term in (*VALUE_TERMS, *TERMS)]
    assert all(term.unit and term.weight > 0 for term in (*VALUE_TERMS, *TERMS))
    assert len({term.name for term in (*VALUE_TERMS, *TERMS)}) == len(VALUE_TERMS) + len(TERMS)


def weighing(p: Problem) -> Problem:
    return replace(p, policy=replace(p.policy, objective=Objective.WEIGHTED))


def test_where_the_policy_weighs_two_large_ones_beat_an_earlier_small_one() -> None:
    nodes = [node("a", gpu=4)]
    p = problem(nodes, [tenant("t", {"gpu": 4})], [want("x", gpu=1), want("y", gpu=2), want("z", gpu=2)])
    one, two = Plan(_grants(x="a", y="a")), Plan(_grants(y="a", z="a"))
    assert score(p, one) > score(p, two)
    assert score(weighing(p), two) > score(weighing(p), one)
    assert score(weighing(p), two).total == pytest.approx(score(weighing(p), two).value)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), st.sampled_from(list(Objective)))
def test_no_plan_scores_more_than_the_bound(p: Problem, objective: Objective) -> None:
    p = replace(p, policy=replace(p.policy, objective=objective))
    strict = replace(p, policy=replace(p.policy, objective=Objective.STRICT))
    assert score(p, Greedy()(strict, Budget())).total <= most_there_can_be(p) + 1e-6


def test_another_form_counts_by_its_throughput() -> None:
    shape = Shape((Bundle(amounts({"gpu": 2})),) * 2, throughput=0.9)
    p = problem([node("a", gpu=4)], [tenant("t", {"gpu": 4})], [replace(want("x", 4, gpu=1), alternatives=(shape,))])
    first, second = (Grant(DemandId("x"), (NodeId("a"),) * n, form) for form, n in ((0, 4), (1, 2)))
    assert score(p, Plan((first,))) > score(p, Plan((second,)))
    assert score(p, Plan((second,))).performance == pytest.approx(3.6)
    assert score(p, Plan((second,))).bundles == 4


def test_a_gang_is_as_fast_as_its_slowest_place_and_its_size_allows() -> None:
    nodes = [node("a", {"ray.io/accelerator-type": "A"}, gpu=2), node("h", {"ray.io/accelerator-type": "H"}, gpu=2)]
    demand = replace(want("x", 4, least=2, gpu=1, speed={"H": 2.0}), scaling=((2, 0.7), (4, 1.0)))
    p = problem(nodes, [tenant("t", {"gpu": 4})], [demand])

    def fast(*at: str) -> float:
        return score(p, Plan((Grant(DemandId("x"), tuple(NodeId(n) for n in at)),))).performance

    assert fast(*"aahh") == pytest.approx(4.0)
    assert fast(*"hh") == pytest.approx(4 * 0.7 * 2)


def test_near_its_inputs_is_better() -> None:
    p = problem(
        [node(n, gpu=2) for n in "ab"], [tenant("t", {"gpu": 2})], [replace(want("x", gpu=1), near=(NodeId("b"),))]
    )
    assert score(p, Plan(_grants(x="b"))) > score(p, Plan(_grants(x="a")))


def test_apart_from_a_bad_neighbour_is_better() -> None:
    loud = runs(replace(want("l", gpu=1), profile="io"), "a")
    p = problem(
        [node(n, gpu=2) for n in "ab"], [tenant("t", {"gpu": 2})], [replace(want("x", gpu=1), profile="io")], [loud]
    )
    p = replace(p, policy=replace(p.policy, interference=(("io", "io", 0.6),)))
    assert score(p, Plan(_grants(x="b"))) > score(p, Plan(_grants(x="a")))
    assert score(p, Plan(_grants(x="a"))).interference == pytest.approx(-0.8)


def test_work_without_gpus_is_better_off_the_nodes_that_have_them() -> None:
    nodes = [node("a", gpu=4, cpu=8), node("b", cpu=8)]
    p = problem(nodes, [tenant("t", {"cpu": 8})], [want("x", cpu=4)])
    assert score(p, Plan(_grants(x="b"))) > score(p, Plan(_grants(x="a")))
    assert score(p, Plan(_grants(x="a"))).heterogeneity == -2.0


def test_fewer_moves_are_better() -> None:
    p = problem([node(n, gpu=2) for n in "abc"], [tenant("t", {"gpu": 4})], [want("x", gpu=2)])
    p = replace(p, running=(runs(want("m", gpu=1), "a"),))
    still = Plan(_grants(x="b"))
    moved = Plan(_grants(x="a"), moves=(Move(DemandId("m"), (NodeId("b"),), (DemandId("x"),)),))
    assert score(p, still) > score(p, moved)
    assert dict(score(p, moved).terms)["moved"] == -1.0
