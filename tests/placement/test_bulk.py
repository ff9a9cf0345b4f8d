"""Large questions are answered in bulk: by the same laws, in a fraction of the time."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.reclaim import least_harm, nothing_helps
from placement.check import violations
from placement.explain import explain_plan
from placement.model import (
    Bundle,
    Demand,
    Node,
    NodeId,
    Objective,
    Policy,
    Problem,
    Reservation,
    Running,
    Selector,
    Shape,
    Topology,
)
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.bulk import answer
from placement.planners.bulk.plan import LARGE, is_large, plan
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy, GreedyFitter, decided
from placement.score import score
from tests.placement.builders import admitted, amounts, node, problem, problems, rules, runs, stopped, tenant, want

PROPERTY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@PROPERTY
@given(problems(most_pending=8, most_nodes=6))
def test_every_answer_passes_the_judge(p: Problem) -> None:
    assert violations(p, answer(p)) == ()


def test_nearly_always_the_same_are_admitted_as_law_by_law() -> None:
    seen: list[tuple[bool, bool]] = []

    @settings(PROPERTY, derandomize=True)
    @given(problems(most_pending=8, most_nodes=6))
    def compare(p: Problem) -> None:
        quick, slow = answer(p), decided(p, GreedyFitter())[0]
        seen.append((admitted(quick) == admitted(slow), score(p, quick).service >= score(p, slow).service))

    compare()
    assert sum(same for same, _ in seen) >= 0.95 * len(seen)
    assert sum(as_good for _, as_good in seen) >= 0.95 * len(seen)


@PROPERTY
@given(problems(most_pending=8, most_nodes=6))
def test_names_of_nodes_and_a_second_run_change_nothing(p: Problem) -> None:
    def renamed(name: str) -> NodeId:
        return NodeId("".join(reversed(name)) + "-node")

    other = replace(
        p,
        nodes=tuple(Node(renamed(n.id), n.resources, n.labels, n.state) for n in p.nodes),
        running=tuple(Running(r.demand, tuple(map(renamed, r.nodes)), r.started_s) for r in p.running),
    )
    before, after = answer(p), answer(other)
    assert answer(p) == before
    assert admitted(before) == admitted(after)
    assert stopped(before) == stopped(after)


def large(n_nodes: int, n_pending: int) -> Problem:
    """Full racks of three kinds of work, tenants on both sides of their quotas, and gangs of 1 to 64 GPUs."""
    nodes = [
        node(f"n{i}", {"rack": f"r{i // 16}", "ray.io/accelerator-type": "AB"[i % 2]}, gpu=8, cpu=64)
        for i in range(n_nodes)
    ]
    tenants = [tenant(f"t{i}", {"gpu": (i % 4) * n_nodes // 10}, borrow_limit={"gpu": n_nodes}) for i in range(20)]
    running = [
        runs(
            want(f"r{i}", tenant=f"t{i * 7 % 20}", priority=i % 3, gpu=4 + 3 * (i % 4 > 0), cpu=8),
            f"n{i}",
            started_s=float(i % 90),
        )
        for i in range(n_nodes)
    ]
    running += [
        runs(want(f"s{i}", tenant=f"t{i * 3 % 20}", gpu=1, cpu=4, runtime_s=2000.0), f"n{i}") for i in range(n_nodes)
    ]
    pending = [
        want(
            f"w{i}",
            (1, 1, 2, 4, 8, 16)[i % 6],
            tenant=f"t{i * 11 % 20}",
            priority=i % 4,
            least=1 if i % 3 == 0 else None,
            selector={"ray.io/accelerator-type": "A"} if i % 3 == 1 else None,
            pack="rack" if i % 5 == 0 else None,
            required=i % 10 == 0,
            runtime_s=500.0 if i % 2 else None,
            gpu=(1, 2, 4, 1)[i % 4],
            cpu=4,
        )
        for i in range(n_pending)
    ]
    return problem(nodes, tenants, pending, running)


def test_a_large_question_is_answered_fast_and_lawfully() -> None:
    p = large(400, 400)
    assert is_large(p)
    began_s = time.process_time()
    quick = plan(p)
    assert time.process_time() - began_s < 3
    assert violations(p, quick) == ()
    assert len(admitted(quick)) > 60
    assert quick.preemptions
    assert Greedy()(p, Budget()) == quick


def test_small_questions_are_answered_law_by_law() -> None:
    assert not is_large(large(100, 100))
    assert LARGE > 10_000


def test_the_most_important_of_a_tenant_gets_the_last_room() -> None:
    p = problem([node("a", gpu=2)], [tenant("t", {"gpu": 2})], [want("low", gpu=2), want("high", gpu=2, priority=5)])
    assert admitted(plan(p)) == {"high"}


def test_idle_room_goes_to_the_lower_share_above_quota() -> None:
    tenants = [tenant("rich", {"gpu": 0}), tenant("poor", {"gpu": 0})]
    running = [runs(want("r", tenant="rich", gpu=2), "a")]
    p = problem(
        [node("a", gpu=4)], tenants, [want("x", tenant="rich", gpu=2), want("y", tenant="poor", gpu=2)], running
    )
    assert admitted(plan(p)) == {"y"}


def test_the_cheapest_nodes_are_cleared() -> None:
    """Two nodes of small work and one of a single large gang: one victim is enough."""
    tenants = [tenant("owner", {"gpu": 4}), tenant("guest", {"gpu": 0})]
    running = [runs(want(f"a{i}", tenant="guest", gpu=1, priority=1), "a") for i in range(4)]
    running += [runs(want("b", tenant="guest", gpu=4), "b")]
    p = problem([node("a", gpu=4), node("b", gpu=4)], tenants, [want("x", tenant="owner", gpu=4)], running)
    assert (admitted(plan(p)), stopped(plan(p))) == ({"x"}, {"b"})


def test_nobody_goes_below_its_quota_for_another_tenant() -> None:
    tenants = [tenant("owner", {"gpu": 4}), tenant("guest", {"gpu": 3})]
    running = [runs(want(f"g{i}", tenant="guest", gpu=1), "a") for i in range(4)]
    p = problem([node("a", gpu=4)], tenants, [want("x", 2, tenant="owner", gpu=1)], running)
    assert admitted(plan(p)) == set()


def test_elastic_work_is_shrunk_before_it_is_stopped() -> None:
    tenants = [tenant("owner", {"gpu": 2}), tenant("guest", {"gpu": 0})]
    running = [runs(want("g", 4, tenant="guest", least=1, gpu=1), "a")]
    changed = plan(problem([node("a", gpu=4)], tenants, [want("x", tenant="owner", gpu=2)], running))
    assert (stopped(changed), [(r.demand, r.to) for r in changed.resizes]) == (set(), [("g", 2)])


def test_elastic_work_grows_into_what_is_left() -> None:
    p = problem([node("a", gpu=4)], [tenant("t", {"gpu": 4})], [want("x", 6, least=2, gpu=1)])
    assert [len(grant.nodes) for grant in plan(p).grants] == [4]


@pytest.mark.parametrize(("runtime_s", "passes"), [(500.0, True), (5000.0, False), (None, False)])
def test_smaller_work_passes_a_blocked_gang_only_where_it_ends_in_time(runtime_s: float | None, passes: bool) -> None:
    running = [runs(want("r", gpu=2, runtime_s=2000.0), "a")]
    pending = [want("head", gpu=4, priority=1), want("small", gpu=1, priority=1, runtime_s=runtime_s, submitted_s=1.0)]
    p = problem([node("a", gpu=4)], [tenant("t", {"gpu": 4}, preemption=rules(within="never"))], pending, running)
    assert ("small" in admitted(plan(p))) is passes


def test_a_passer_may_stand_beside_the_kept_place() -> None:
    running = [runs(want("r", gpu=3, runtime_s=2000.0), "a")]
    pending = [want("head", gpu=4, priority=1), want("small", gpu=1, priority=1, submitted_s=1.0)]
    nodes = [node("a", gpu=4), node("b", gpu=2)]
    p = problem(nodes, [tenant("t", {"gpu": 9}, preemption=rules(within="never"))], pending, running)
    assert {g.demand: g.nodes for g in plan(p).grants} == {"small": ("b",)}


@pytest.mark.parametrize(
    ("kind", "at"), [("pack", [("b", "c"), ("c", "b"), ("b", "b"), ("c", "c")]), ("spread", [("a", "b"), ("b", "a")])]
)
def test_required_topology_holds(kind: str, at: list[tuple[str, str]]) -> None:
    nodes = [node("a", {"rack": "1"}, gpu=1), node("b", {"rack": "2"}, gpu=1), node("c", {"rack": "2"}, gpu=1)]
    gang = want("x", 2, gpu=1, pack="rack" if kind == "pack" else None, spread="rack" if kind == "spread" else None)
    gang = replace(gang, topologies=(replace(gang.topologies[0], required=True),))
    p = problem(nodes, [tenant("t", {"gpu": 3})], [gang])
    assert plan(p).grants[0].nodes in at


def test_slices_and_balance_are_left_to_the_general_search() -> None:
    nodes = [node(f"n{i}", {"rack": str(i // 2)}, gpu=1) for i in range(4)]
    gang = replace(want("x", 4, gpu=1), topologies=(Topology("pack", "rack", True, slice=2),))
    p = problem(nodes, [tenant("t", {"gpu": 4})], [gang])
    assert admitted(plan(p)) == {"x"}
    assert violations(p, plan(p)) == ()


def test_another_form_is_taken_where_the_first_does_not_fit() -> None:
    small = Shape((Bundle(amounts({"gpu": 1}), Selector()),) * 4)
    gang = replace(want("x", 2, gpu=2), alternatives=(small,))
    p = problem([node(f"n{i}", gpu=1) for i in range(4)], [tenant("t", {"gpu": 4})], [gang])
    grant = plan(p).grants[0]
    assert (grant.form, len(grant.nodes)) == (1, 4)


def test_shared_gpus_are_not_cut() -> None:
    p = problem([node("a", gpu=2)], [tenant("t", {"gpu": 9})], [want(f"w{i}", gpu=0.6) for i in range(3)])
    assert len(admitted(plan(p))) == 2


def test_unlike_bundles_are_placed_together_or_not_at_all() -> None:
    head, worker = Bundle(amounts({"cpu": 4}), Selector()), Bundle(amounts({"gpu": 2, "cpu": 1}), Selector())
    gang = Demand(want("x").id, want("x").tenant, (head, worker, worker))
    room = [node("a", gpu=2, cpu=2), node("b", gpu=2, cpu=2), node("c", cpu=4)]
    quota = [tenant("t", {"gpu": 4, "cpu": 8})]
    assert plan(problem(room, quota, [gang])).grants[0].nodes == ("c", "a", "b")
    assert admitted(plan(problem(room[:2], quota, [gang]))) == set()


def test_reserved_nodes_get_nothing_new() -> None:
    p = problem([node("a", gpu=1), node("b", gpu=4)], [tenant("t", {"gpu": 4})], [want("x", gpu=1)])
    kept = replace(p, reservations=(Reservation("m", (NodeId("a"),), 2000.0, 3000.0),))
    assert plan(p).grants[0].nodes == ("a",)
    assert plan(kept).grants[0].nodes == ("b",)


@pytest.mark.parametrize(
    ("owner", "starts_s", "runtime_s", "at"),
    [
        ("t", 0.0, None, "a"),
        ("up", 0.0, None, "a"),
        ("other", 0.0, 10.0, "b"),
        ("other", 50.0, 40.0, "a"),
        ("other", 50.0, 60.0, "b"),
        ("other", 50.0, None, "b"),
    ],
)
def test_reserved_nodes_take_their_own_tenants_and_what_ends_in_time(
    owner: str, starts_s: float, runtime_s: float | None, at: str
) -> None:
    tenants = [tenant("up", {"gpu": 4}), tenant("t", {"gpu": 4}, parent="up"), tenant("other", {})]
    kept = Reservation("m", (NodeId("a"),), starts_s, 1000.0, (tenant(owner).id,))
    p = problem([node("a", gpu=1), node("b", gpu=4)], tenants, [want("x", gpu=1, runtime_s=runtime_s)], now_s=0.0)
    p = replace(p, reservations=(kept,))
    assert plan(p).grants[0].nodes == (at,)
    assert violations(p, plan(p)) == ()


def test_where_value_is_the_aim_the_fewest_gpus_go() -> None:
    """One of 8 GPUs or two of 2: by the laws the fewest workloads go, by value what costs the least."""
    tenants = [tenant("owner", {"gpu": 4}), tenant("guest", {"gpu": 0})]
    running = [Running(want(n, tenant="guest", gpu=g), (NodeId("a"),), 0.0, 1000.0) for n, g in GUESTS]
    p = problem([node("a", gpu=12)], tenants, [want("x", tenant="owner", gpu=4)], running)
    assert stopped(ladder.plan(p)) == {"large"}
    assert stopped(ladder.plan(replace(p, policy=Policy(objective=Objective.WEIGHTED)))) == {"s1", "s2"}


GUESTS = (("large", 8.0), ("s1", 2.0), ("s2", 2.0))


@pytest.mark.parametrize("seed", range(3))
def test_no_more_go_than_have_to(seed: int) -> None:
    exact = CpSat()
    by_size = least_harm(8, seed, lambda p: exact(p, Budget()), Objective.WEIGHTED)
    by_laws = least_harm(8, seed, ladder.plan, Objective.STRICT)
    assert (by_size.more_gpus, by_size.not_worth, by_laws.more_victims, by_laws.not_worth) == (0, 0, 0, 0)
    assert by_laws.n > 4


def test_the_reason_says_how_much_may_be_reclaimed() -> None:
    p = nothing_helps(n_nodes=40)
    waits = explain_plan(p, plan(p)).waiting[p.pending[0].id]
    assert "others use only 79 GPU above their quotas" in waits.detail


def test_who_is_above_its_quota_gives_up_its_own_less_important_work_before_it_reclaims() -> None:
    nodes = [node("mine", {"zone": "x"}, gpu=4), node("theirs", {"zone": "y"}, gpu=4)]
    running = [runs(want("low", tenant="a", gpu=4), "mine"), runs(want("guest", tenant="b", gpu=4), "theirs")]
    high = want("high", tenant="a", priority=1, selector={"zone": "y"}, gpu=4)
    p = problem(nodes, [tenant("a", {"gpu": 4}), tenant("b", {"gpu": 0})], [high], running)
    found = answer(p)
    assert violations(p, found) == ()
    assert admitted(found) == {"high"}
    assert stopped(found) == {"low", "guest"}
