"""Scores compare plans as the laws do: who is served first, then harm, then the rest."""

from __future__ import annotations

from placement.model import Cause, DemandId, Grant, NodeId, Plan, Preemption
from placement.score import order_of_service, score
from placement.weights import TERMS
from tests.placement.builders import node, problem, runs, tenant, want


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
    assert [name for name, _ in score(p, Plan(_grants(x="a"))).terms] == [term.name for term in TERMS]
    assert all(term.unit and term.weight > 0 for term in TERMS)
