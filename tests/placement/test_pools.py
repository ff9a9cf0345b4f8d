"""The planner for large clusters: optimal where blocks are exact, sound everywhere, bounded, and no surprise twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from ortools.sat.python import cp_model

from placement.check import violations
from placement.model import Demand, NodeId, Objective, Policy, Problem, Running, Shape, Topology
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.planners.pools import ByValue, Pools
from placement.planners.pools import lp as lp_module
from placement.planners.pools.lp import NoAnswer
from placement.planners.pools.view import blocks
from placement.value import Values, plan_value
from tests.placement.builders import admitted, node, problem, problems, runs, tenant, want
from tests.placement.crowds import crowds

WEIGHTED = Policy(objective=Objective.WEIGHTED)
EXACT = Budget(deterministic_s=5.0)


def weighted(p: Problem) -> Problem:
    return replace(p, policy=replace(p.policy, objective=Objective.WEIGHTED))


def cluster(n: int, *pending: Demand, running: tuple[Running, ...] = (), quota: int = 64, **labels: str) -> Problem:
    """Return ``n`` nodes of 8 GPUs in racks of two, and one tenant."""
    nodes = [node(f"n{i}", {"rack": f"r{i // 2}", **labels}, gpu=8, cpu=64) for i in range(n)]
    return problem(nodes, [tenant("t", {"gpu": quota})], pending, running, policy=WEIGHTED)


# What it decides


def test_a_gang_for_one_rack_gets_one_that_is_free_enough() -> None:
    busy = runs(want("r", gpu=8, preemptible=False), "n0")
    p = cluster(4, want("x", 2, gpu=8, pack="rack", required=True), running=(busy,))
    assert Pools()(p, EXACT).grants[0].nodes == (NodeId("n2"), NodeId("n3"))


def test_two_small_gangs_are_turned_away_for_a_larger_one_of_the_same_class() -> None:
    p = cluster(1, want("a", gpu=4), want("b", gpu=1), want("whole", gpu=8))
    assert admitted(Pools()(p, EXACT)) == {"whole"}


def test_the_cheapest_victims_make_room_for_what_is_worth_more() -> None:
    fresh = runs(want("fresh", gpu=8), "n0", started_s=999.0)
    old = runs(want("old", gpu=8), "n1", started_s=0.0)
    plan = Pools()(cluster(2, want("x", gpu=8, priority=2), running=(fresh, old)), EXACT)
    assert [p.demand for p in plan.preemptions] == ["fresh"]
    assert plan.preemptions[0].beneficiaries == ("x",)


def test_elastic_victims_shrink_as_little_as_will_do() -> None:
    elastic = runs(want("e", 8, gpu=1, least=1), "n0")
    plan = Pools()(cluster(1, want("x", gpu=2, priority=2), running=(elastic,)), EXACT)
    assert [(r.demand, r.before, r.to) for r in plan.resizes] == [("e", 8, 6)]


def test_nobody_yields_where_it_costs_more_than_it_brings() -> None:
    old = runs(want("old", gpu=8, priority=1), "n0")
    plan = Pools()(cluster(1, want("x", gpu=1, priority=2), running=(old,)), EXACT)
    assert plan.preemptions == ()


def test_a_gang_takes_the_form_that_fits() -> None:
    halves = [runs(want(f"r{i}", gpu=4, preemptible=False), f"n{i}") for i in range(2)]
    wide = want("x", gpu=8)
    narrow = replace(wide, alternatives=(Shape(want("y", 2, gpu=4).bundles),))
    plan = Pools()(cluster(2, narrow, running=tuple(halves)), EXACT)
    assert (plan.grants[0].form, plan.grants[0].nodes) == (1, (NodeId("n0"), NodeId("n1")))


def test_elastic_gangs_share_by_their_throughput() -> None:
    steep = tuple((k, min(1.0, 0.4 * k)) for k in range(1, 9))
    gangs = [replace(want(name, 8, gpu=1, least=1), scaling=steep) for name in ("a", "b", "c")]
    plan = Pools()(cluster(1, *gangs), EXACT)
    assert admitted(plan) == {"a", "b", "c"}


def test_a_head_without_gpus_stands_where_there_are_none() -> None:
    p = cluster(1, quota=8)
    cpu_node = node("c", {"rack": "r9", "kind": "cpu"}, cpu=8)
    head = want("h", cpu=8, selector={"kind": "cpu"}).bundles
    gang = replace(want("x", 1, gpu=8), bundles=(*head, *want("y", gpu=8).bundles), min_bundles=2)
    plan = Pools()(replace(p, nodes=(*p.nodes, cpu_node), pending=(gang,)), EXACT)
    assert plan.grants[0].nodes == (NodeId("c"), NodeId("n0"))


def test_three_gpus_and_five_fill_a_node() -> None:
    plan = Pools()(cluster(1, want("a", gpu=3), want("b", gpu=5)), EXACT)
    assert admitted(plan) == {"a", "b"}


def test_gangs_short_of_cpus_go_where_cpus_are_left() -> None:
    eager = [runs(want(f"r{i}", gpu=1, cpu=60, preemptible=False), f"n{i}") for i in range(2)]
    gangs = [want(f"x{i}", gpu=1, cpu=30) for i in range(3)]
    plan = Pools()(cluster(3, *gangs, running=tuple(eager)), EXACT)
    assert {n for g in plan.grants for n in g.nodes} == {"n2"}
    assert len(plan.grants) == 2


def test_slices_and_names_of_nodes_are_left_to_what_places_bundle_by_bundle() -> None:
    sliced = replace(want("s", 4, gpu=4), topologies=(Topology("pack", "rack", required=True, slice=2),), min_bundles=4)
    named = want("n", gpu=2, selector={"node": "n1"})
    plan = Pools()(cluster(4, sliced, named), EXACT)
    assert admitted(plan) == {"s", "n"}
    assert next(g for g in plan.grants if g.demand == "n").nodes == (NodeId("n1"),)


# What it promises


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(crowds())
def test_every_plan_passes_the_judge_within_its_bound(p: Problem) -> None:
    plan = Pools()(p, Budget())
    assert violations(p, plan) == ()
    assert plan.stats.bound >= plan.stats.objective - 1e-6
    assert plan.stats.objective == pytest.approx(plan_value(p, plan))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems())
def test_laws_hold_on_clusters_with_parts_of_gpus_and_rules_of_all_kinds(p: Problem) -> None:
    assert violations(weighted(p), Pools()(weighted(p), Budget())) == ()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(crowds())
def test_the_same_question_has_the_same_answer_also_the_second_time(p: Problem) -> None:
    planner = Pools()
    assert planner(p, Budget()) == planner(p, Budget()) == Pools()(p, Budget())


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(crowds())
def test_it_is_never_worse_than_greed_by_value(p: Problem) -> None:
    assert Pools()(p, Budget()).stats.objective >= ByValue()(p, Budget()).stats.objective - 1e-6


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(crowds(odd=False))
def test_for_sizes_that_divide_one_another_it_is_as_good_as_a_programme_of_every_node(p: Problem) -> None:
    plan = Pools()(p, EXACT)
    best = node_by_node(p)
    assert plan.stats.bound >= best - 1e-3
    assert plan.stats.objective >= best * (1 - 2e-3) - 1e-3


def node_by_node(p: Problem) -> float:
    """Return the largest value, by a programme with every bundle on every node and every victim by itself."""
    values, model, scale = Values(p), cp_model.CpModel(), 10**6
    used = {n.id: [] for n in p.nodes}
    worth, got, gone = [], {}, {}
    for d in p.pending:
        gpus, sizes = d.bundles[0].resources.get("GPU") // 1000, range(d.min_bundles, len(d.bundles) + 1)
        size = {n: model.new_bool_var("") for n in sizes}
        model.add_at_most_one(size.values())
        on = {n.id: model.new_int_var(0, len(d.bundles), "") for n in p.nodes}
        model.add(sum(on.values()) == sum(n * var for n, var in size.items()))
        for name, var in on.items():
            used[name].append(var * gpus)
        worth += [var * round(scale * values.of(d, n / len(d.bundles))) for n, var in size.items()]
        got.setdefault((d.tenant, d.priority), []).append(sum(n * gpus * var for n, var in size.items()))
    for r in p.running:
        stays, gpus = model.new_bool_var(""), r.resources.get("GPU") // 1000
        if not r.demand.preemptible:
            model.add(stays == 1)
        used[r.nodes[0]].append(stays * gpus)
        worth.append((1 - stays) * -round(scale * values.cost(r)))
        gone.setdefault((r.demand.tenant, r.demand.priority), []).append((1 - stays) * gpus)
    for n in p.nodes:
        model.add(sum(used[n.id]) <= n.resources.get("GPU") // 1000)
    for t in p.tenants:
        for priority in {key[1] for key in gone if key[0] == t.id}:
            yields = sum(sum(v) for key, v in gone.items() if key[0] == t.id and key[1] >= priority)
            model.add(yields <= sum(sum(v) for key, v in got.items() if key[0] == t.id and key[1] > priority))
        if t.id in values.entitled:
            facts, before = (
                values.entitled[t.id],
                sum(r.resources.get("GPU") for r in p.running if r.demand.tenant == t.id),
            )
            within = model.new_int_var(0, facts.quota // 1000, "")
            after = sum(sum(v) for key, v in got.items() if key[0] == t.id)
            model.add(within <= before // 1000 + after - sum(sum(v) for key, v in gone.items() if key[0] == t.id))
            worth.append((within - min(facts.quota, before) // 1000) * round(scale * facts.worth * 1000))
    model.maximize(sum(worth))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    return solver.objective_value / scale


# What happens when it fails


def test_a_linear_programme_without_an_answer_leaves_it_to_the_next_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """The solver itself is cut short: with no time at all GLOP has no optimum."""
    monkeypatch.setattr(lp_module, "LEAST_S", 0.0)
    p = cluster(1, want("x", gpu=8), want("y", gpu=8))
    with pytest.raises(NoAnswer, match="rows and"):
        Pools()(p, Budget(wall_s=0.0))
    plan = ladder.plan(p, Budget(wall_s=0.0))
    assert plan.stats.planner in ("cpsat", "greedy")
    assert any(said.startswith("pools: NoAnswer") for said in plan.stats.fallbacks)


def test_no_deterministic_time_still_gives_a_sound_plan_within_its_bound() -> None:
    gangs = [want(f"x{i}", n, gpu=g) for i, (n, g) in enumerate([(2, 8), (3, 4), (1, 8), (5, 1), (3, 2)])]
    p = cluster(3, *gangs)
    plan = Pools()(p, Budget(deterministic_s=0.0))
    assert violations(p, plan) == ()
    assert plan.stats.gap <= 1


def test_nothing_to_decide_is_decided() -> None:
    for p in (cluster(1), cluster(0, want("x", gpu=1)), cluster(2, want("x", gpu=9)), cluster(1, want("x"))):
        assert violations(p, Pools()(p, Budget())) == ()


def test_the_ladder_asks_it_where_the_policy_weighs() -> None:
    p = cluster(2, want("x", gpu=8), want("y", gpu=4))
    assert ladder.plan(p).stats.planner == "pools"
    assert dict(ladder.plan(p).stats.terms)["started_value"] > 0


def test_the_ladder_is_never_worse_than_the_greedy_of_the_laws_where_the_policy_weighs() -> None:
    p = cluster(2, *[want(f"x{i}", 2, gpu=3) for i in range(4)])
    assert plan_value(p, ladder.plan(p)) >= plan_value(p, Greedy()(p, Budget()))


@pytest.mark.parametrize("top", [1, 4, 8])
def test_blocks_are_the_digits_of_what_is_free(top: int) -> None:
    counts = np.arange(20)
    sizes = 2 ** np.arange(top.bit_length())
    assert (sizes @ blocks(counts, top) == counts).all()
