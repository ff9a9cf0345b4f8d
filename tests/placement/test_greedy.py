"""The greedy planner answers fast and leaves room behind it."""

from __future__ import annotations

import time

from placement.check import violations
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from tests.placement.builders import admitted, node, problem, rules, runs, stopped, tenant, want


def test_small_work_goes_where_it_leaves_the_largest_hole() -> None:
    p = problem([node("a", gpu=8), node("b", gpu=2)], [tenant("t", {"gpu": 10})], [want("x", gpu=2), want("y", gpu=8)])
    plan = Greedy()(p, Budget())
    assert {g.demand: g.nodes for g in plan.grants} == {"x": ("b",), "y": ("a",)}


def test_work_without_gpus_keeps_off_nodes_with_gpus() -> None:
    p = problem([node("g", gpu=8, cpu=8), node("c", cpu=8)], [tenant("t", {"gpu": 8, "cpu": 16})], [want("x", cpu=4)])
    assert Greedy()(p, Budget()).grants[0].nodes == ("c",)


def test_the_fastest_node_is_taken_first() -> None:
    nodes = [node("a", {"ray.io/accelerator-type": "A"}, gpu=1), node("h", {"ray.io/accelerator-type": "H"}, gpu=1)]
    p = problem(nodes, [tenant("t", {"gpu": 2})], [want("x", gpu=1, speed={"H": 2.0, "A": 1.0})])
    assert Greedy()(p, Budget()).grants[0].nodes == ("h",)


def test_a_gang_of_nothing_but_labels_is_placed() -> None:
    nodes = [node("a", {"zone": "x"}), node("b", {"zone": "y"})]
    p = problem(nodes, [tenant("t")], [want("w", selector={"zone": "y"})])
    assert Greedy()(p, Budget()).grants[0].nodes == ("b",)


def test_no_nodes_and_no_work_are_answered_too() -> None:
    assert Greedy()(problem([], [tenant("t")]), Budget()).grants == ()
    assert set(Greedy()(problem([], [tenant("t")], [want("x", gpu=1)]), Budget()).waiting) == {"x"}


def test_a_hundred_nodes_and_gangs_take_seconds_at_most() -> None:
    nodes = [node(f"n{i}", {"rack": f"r{i // 16}"}, gpu=8, cpu=64) for i in range(100)]
    tenants = [tenant(f"t{i}", {"gpu": 160, "cpu": 1280}) for i in range(5)]
    running = [runs(want(f"r{i}", tenant=f"t{i % 5}", gpu=6, cpu=24), f"n{i}") for i in range(100)]
    pending = [want(f"w{i}", 1 + i % 4, tenant=f"t{i % 5}", priority=i % 3, gpu=1 + i % 2, cpu=4) for i in range(100)]
    p = problem(nodes, tenants, pending, running)
    began_s = time.process_time()
    plan = Greedy()(p, Budget())
    assert time.process_time() - began_s < 10
    assert len(admitted(plan)) > 40
    assert violations(p, plan) == ()


def test_whoever_was_turned_away_is_asked_again_when_a_victim_leaves_more_than_was_needed() -> None:
    """The first has a quota but reclaims from nobody; the second clears a node of which it needs a half."""
    shy = tenant("shy", {"gpu": 2}, preemption=rules(reclaim="never"))
    tenants = [shy, tenant("bold", {"gpu": 4}), tenant("lent", {"gpu": 0})]
    pending = [want("first", tenant="shy", gpu=2), want("second", tenant="bold", gpu=4)]
    victim = runs(want("victim", tenant="lent", gpu=8), "a")
    plan = Greedy()(problem([node("a", gpu=8)], tenants, pending, [victim]), Budget())
    assert (admitted(plan), stopped(plan)) == ({"first", "second"}, {"victim"})
