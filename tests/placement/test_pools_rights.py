"""Who yields for whom in the planner of pools: rights, limits, and gangs that stand on several nodes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from placement.check import violations
from placement.model import Cause, Objective, Policy, Problem, TenantId
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.planners.pools import Pools
from placement.planners.pools.accounts import accounts_of
from placement.planners.pools.decode import Decoder
from placement.planners.pools.facts import Memory
from placement.planners.pools.planner import question, written
from placement.planners.pools.rights import Gone, Got, Ledger, judge
from placement.planners.tree import Tree
from placement.value import plan_value
from tests.placement.builders import admitted, amounts, node, problem, rules, runs, stopped, tenant, want

WEIGHTED = Policy(objective=Objective.WEIGHTED)
EXACT = Budget(deterministic_s=5.0)
GPU = amounts({"gpu": 1})


def racks(n: int, *pending: object, running: tuple[object, ...] = (), quota: int = 256, limit: int = 256) -> Problem:
    """Return ``n`` nodes of 8 GPUs in racks of two, and one tenant."""
    nodes = [node(f"n{i}", {"rack": f"r{i // 2}"}, gpu=8) for i in range(n)]
    owner = tenant("t", {"gpu": quota}, limit={"gpu": limit})
    return problem(nodes, [owner], pending, running, policy=WEIGHTED)  # type: ignore[arg-type]  # demands and work


# Rights


@pytest.mark.parametrize(("within", "yields"), [("never", False), ("lower_priority", True)])
def test_only_a_tenant_that_says_so_displaces_its_own_less_important_work(within: str, yields: bool) -> None:
    low, high = runs(want("low", gpu=1), "a"), want("high", gpu=1, priority=1)
    p = problem([node("a", gpu=1)], [tenant("t", {"gpu": 1}, preemption=rules(within))], [high], [low])
    got, gone = Got(high, GPU, GPU, frozenset((0,))), Gone(low, GPU, GPU, False, frozenset((0,)))
    tree = Tree(p)
    verdict = judge(tree, accounts_of(p, tree).use, [got], [gone])
    assert [(victim.running.demand.id, cause, names) for victim, cause, names in verdict.order] == (
        [("low", Cause.PRIORITY, ("high",))] if yields else []
    )
    assert len(verdict.refused) == (not yields)


def test_the_ledger_refuses_what_is_beyond_a_limit() -> None:
    p = problem([node("a", gpu=8)], [tenant("t", {"gpu": 8}, limit={"gpu": 4})], [], [runs(want("r", gpu=3), "a")])
    ledger = Ledger(accounts_of(p, Tree(p)))
    assert ledger.allows(TenantId("t"), {"GPU": 1000})
    assert not ledger.allows(TenantId("t"), {"GPU": 2000})


def test_a_limit_is_part_of_the_bound() -> None:
    plan = Pools()(racks(2, *(want(f"x{i}", gpu=1) for i in range(8)), limit=4), EXACT)
    assert len(plan.grants) == 4
    assert plan.stats.gap == pytest.approx(0.0, abs=1e-3)


def test_like_newcomers_reclaim_only_what_is_left_of_the_quota_after_those_on_idle_nodes() -> None:
    owner, other = tenant("a", {"gpu": 2}), tenant("b", {"gpu": 0})
    pending = [want(f"w{i}", tenant="a", gpu=1) for i in range(2)]
    running = [runs(want("mine", tenant="a", gpu=1), "n0"), runs(want("theirs", tenant="b", gpu=1), "n1")]
    p = problem([node("n0", gpu=1), node("n1", gpu=2)], [owner, other], pending, running, policy=WEIGHTED)
    plan = Pools()(p, EXACT)
    assert violations(p, plan) == ()
    assert (len(plan.grants), stopped(plan)) == (1, set())


# Gangs on several nodes


def test_a_gang_on_several_nodes_yields_as_a_whole_for_what_is_worth_more() -> None:
    wide = runs(want("wide", 2, gpu=8), "n0", "n1", started_s=999.0)
    plan = Pools()(racks(2, want("x", 2, gpu=8, priority=2), running=(wide,)), EXACT)
    assert (admitted(plan), stopped(plan)) == ({"x"}, {"wide"})
    assert plan.preemptions[0].beneficiaries == ("x",)


def test_an_elastic_gang_on_several_nodes_gives_up_its_last_ones() -> None:
    wide = runs(want("wide", 4, gpu=8, least=1), "n0", "n1", "n2", "n3", started_s=999.0)
    plan = Pools()(racks(4, want("x", gpu=8, priority=2), running=(wide,)), EXACT)
    assert [(r.demand, r.before, r.to) for r in plan.resizes] == [("wide", 4, 3)]
    assert plan.grants[0].nodes == ("n3",)


def test_a_gang_that_leaves_a_rack_makes_room_for_one_that_needs_a_rack() -> None:
    torn = runs(want("torn", 2, gpu=8), "n0", "n2", started_s=999.0)
    whole = runs(want("whole", 2, gpu=8), "n4", "n5", started_s=999.0)
    held = [runs(want(f"h{i}", gpu=8, preemptible=False), f"n{i}") for i in (1, 3)]
    p = racks(6, want("x", 2, gpu=8, priority=2, pack="rack", required=True), running=(torn, whole, *held))
    plan = Pools()(p, EXACT)
    assert (stopped(plan), sorted(plan.grants[0].nodes)) == ({"whole"}, ["n4", "n5"])


def test_a_gang_on_several_nodes_stays_where_less_is_lost_elsewhere() -> None:
    wide = runs(want("wide", 2, gpu=8), "n0", "n1", started_s=999.0)
    small = runs(want("small", gpu=8), "n2", started_s=999.0)
    plan = Pools()(racks(3, want("x", gpu=8, priority=2), running=(wide, small)), EXACT)
    assert stopped(plan) == {"small"}


@pytest.mark.parametrize("n", [2, 3, 4])
def test_it_is_worth_no_less_than_the_laws_greedy_where_all_work_is_wide(n: int) -> None:
    running = tuple(runs(want(f"w{i}", n, gpu=8), *(f"n{n * i + k}" for k in range(n))) for i in range(3))
    pending = [want(f"x{i}", 1 + i, gpu=8, priority=1 + i % 3) for i in range(5)]
    p = replace(racks(3 * n, *pending, running=running), now_s=1000.0)
    plan, greedy = Pools()(p, EXACT), Greedy()(p, EXACT)
    assert violations(p, plan) == ()
    assert plan_value(p, plan) >= plan_value(p, greedy) - 1e-6
    assert plan.stats.bound >= plan_value(p, greedy) - 1e-6


def test_the_fewest_gpus_go_also_where_the_last_of_them_takes_its_tenant_below_its_quota() -> None:
    tenants = [tenant("a", {"gpu": 4}), tenant("b", {"gpu": 3}), tenant("c", {"gpu": 0})]
    small, large = runs(want("small", tenant="b", gpu=4), "n"), runs(want("large", tenant="c", gpu=8), "n")
    p = problem([node("n", gpu=12)], tenants, [want("x", tenant="a", gpu=4)], [small, large], policy=WEIGHTED)
    for plan in (Pools()(p, EXACT), ladder.plan(p)):
        assert (admitted(plan), stopped(plan)) == ({"x"}, {"small"})


def test_what_a_tenant_gives_up_for_its_own_newcomer_is_no_gain_of_its_quota() -> None:
    own = problem(
        [node("n", gpu=8)],
        [tenant("t", {"gpu": 8})],
        [want("x", gpu=4, priority=1)],
        [runs(want("old", gpu=4), "n"), runs(want("held", gpu=4, preemptible=False), "n")],
        policy=WEIGHTED,
    )
    assert dict(Pools()(own, EXACT).stats.terms)["entitled"] == 0


def test_a_newcomer_reclaims_only_what_its_quota_leaves_beside_a_like_one_on_an_idle_node() -> None:
    like = [want(f"w{i}", tenant="a", gpu=1) for i in range(2)]
    theirs = runs(want("theirs", tenant="b", gpu=1), "n1")
    for quota, n_refused in ((2, 1), (3, 0)):
        tenants = [tenant("a", {"gpu": quota}), tenant("b", {"gpu": 0})]
        running = [runs(want("mine", tenant="a", gpu=1), "n0"), theirs]
        p = problem([node("n0", gpu=1), node("n1", gpu=2)], tenants, like, running)
        tree = Tree(p)
        got = [Got(demand, GPU, GPU, frozenset((1,))) for demand in like]
        verdict = judge(tree, accounts_of(p, tree).use, got, [Gone(theirs, GPU, GPU, False, frozenset((1,)))])
        assert len(verdict.refused) == n_refused


def test_a_victim_for_whom_nobody_comes_stays() -> None:
    asked = question(racks(1, want("x", gpu=8, priority=2), running=(runs(want("r", gpu=8), "n0"),)), Memory(), 8.0)
    programme = written(asked)
    decoder = Decoder(
        asked.view, asked.facts, asked.accounts, programme.columns, asked.victims, np.zeros(0, dtype=np.int64)
    )
    decoder.run((), (0,))
    assert decoder.kept == {}


@pytest.mark.parametrize(("size", "n_running"), [(1, 10), (1, 9), (2, 6), (3, 4)])
def test_a_tenant_above_its_limit_gets_something_once_enough_of_its_own_has_gone(size: int, n_running: int) -> None:
    owner = tenant("a", {"gpu": 4}, limit={"gpu": 8}, preemption=rules("lower_priority"))
    nodes = [node(f"n{i}", gpu=12) for i in range(3)]
    running = [runs(want(f"r{i}", tenant="a", gpu=size), "n0" if i < 12 // size else "n1") for i in range(n_running)]
    p = problem(nodes, [owner], [want("high", tenant="a", gpu=1, priority=2)], running, policy=WEIGHTED)
    plan = Pools()(p, EXACT)
    assert violations(p, plan) == ()
    assert admitted(plan) == {"high"}
    fewest = -(-(size * n_running + 1 - 8) // size)
    assert len(stopped(plan)) == fewest
    assert plan.stats.bound >= plan.stats.objective > 0
