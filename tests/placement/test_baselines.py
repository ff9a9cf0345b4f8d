"""What each baseline starts in small situations, and why its paper or manual says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.packing import CHOOSERS, allocated
from placement.baselines import ALL, BASELINES, SENTENCES
from placement.baselines.multifactor import fair_tree
from placement.check import violations
from placement.model import Bundle, Demand, DemandId, Plan, Problem, Resources, Running, TenantId, Topology
from placement.planners.arrays.usable import gentler
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from tests.placement.builders import admitted, node, problem, problems, rules, runs, stopped, tenant, want

BUDGET = Budget()
T = tenant("t")


def answer(name: str, asked: Problem) -> Plan:
    return BASELINES[name](asked, BUDGET)


def nodes_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {grant.demand: grant.nodes for grant in plan.grants}


def blocked_head() -> Problem:
    """Node a is full until 100, b is free; the head needs both, a short and a long one would fit on b."""
    return problem(
        [node("a", gpu=4), node("b", gpu=4)],
        [T],
        [
            want("big", 2, gpu=4, submitted_s=0, runtime_s=50),
            want("short", 1, gpu=2, submitted_s=1, runtime_s=80),
            want("long", 1, gpu=2, submitted_s=2, runtime_s=500),
        ],
        [runs(want("old", 1, gpu=4, submitted_s=-10, runtime_s=100), "a")],
        now_s=0.0,
    )


@pytest.mark.parametrize(
    ("name", "starts", "stops", "why"),
    [
        ("fifo", set(), set(), "the head blocks all who came later"),
        ("easy", {"short"}, set(), "it ends before the head can start, the long one does not"),
        ("conservative", {"short"}, set(), "only it delays no reservation"),
        ("multifactor", {"short"}, set(), "the largest has the highest priority of equals, then as backfill"),
        ("ray", {"short", "long"}, set(), "nobody has a claim"),
        ("drf-reclaim", {"short", "long"}, set(), "a head that does not fit is passed"),
        ("las", {"short", "long"}, set(), "the running one came first in the same queue"),
        ("srtf", {"big"}, {"old"}, "50 s are less than the 100 s that are left"),
        ("sjf", {"short", "long"}, set(), "the shortest does not fit and nobody yields"),
        ("best-fit", {"short", "long"}, set(), "whoever fits"),
        ("dot-product", {"short", "long"}, set(), "whoever fits"),
        ("fgd", {"short", "long"}, set(), "whoever fits"),
        ("random-fit", {"short", "long"}, set(), "whoever fits"),
    ],
)
def test_who_passes_a_blocked_head(name: str, starts: set[str], stops: set[str], why: str) -> None:
    plan = answer(name, blocked_head())
    assert (admitted(plan), stopped(plan)) == (starts, stops), why


def test_every_baseline_says_in_a_sentence_what_it_does() -> None:
    assert set(SENTENCES) == set(BASELINES)
    assert len(BASELINES) == len(ALL)
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


@pytest.mark.parametrize("name", ["fifo", "easy", "conservative"])
def test_who_can_never_run_blocks_nobody(name: str) -> None:
    asked = problem([node("a", gpu=4)], [T], [want("huge", 1, gpu=8, priority=9), want("x", gpu=1)])
    assert admitted(answer(name, asked)) == {"x"}


def test_easy_lets_long_work_use_what_the_head_will_leave() -> None:
    nodes = [node("a", gpu=4), node("b", gpu=4), node("c", gpu=4)]
    running = [
        runs(want("r1", gpu=4, runtime_s=100), "a"),
        runs(want("r2", gpu=2, runtime_s=9000), "b"),
    ]
    pending = [want("head", 2, gpu=4, runtime_s=50), want("long", gpu=2, submitted_s=1, runtime_s=5000)]
    plan = answer("easy", problem(nodes, [T], pending, running, now_s=0.0))
    assert nodes_of(plan) == {"long": ("b",)}, "c is where the head goes, b it cannot use"


def two_reservations() -> Problem:
    """The head gets b at 60, the second c at 120; the third would hold c until 240."""
    nodes = [node("a", gpu=4), node("b", gpu=4), node("c", gpu=4)]
    running = [
        runs(want("r1", gpu=4, runtime_s=6000), "a"),
        runs(want("r2", gpu=4, runtime_s=60), "b"),
        runs(want("r3", gpu=2, runtime_s=120), "c"),
    ]
    pending = [
        want("head", gpu=4, runtime_s=9000),
        want("second", gpu=4, submitted_s=1, runtime_s=600),
        want("third", gpu=2, submitted_s=2, runtime_s=240),
    ]
    return problem(nodes, [T], pending, running, now_s=0.0)


@pytest.mark.parametrize(("name", "starts"), [("easy", {"third"}), ("conservative", set())])
def test_only_conservative_backfill_keeps_the_second_reservation(name: str, starts: set[str]) -> None:
    assert admitted(answer(name, two_reservations())) == starts


@pytest.mark.parametrize("name", ["easy", "conservative"])
def test_backfill_goes_by_priority_before_age(name: str) -> None:
    asked = problem(
        [node("a", gpu=4)], [T], [want("first", gpu=4), want("urgent", gpu=4, submitted_s=5, priority=1)], now_s=9.0
    )
    assert admitted(answer(name, asked)) == {"urgent"}


def test_work_without_an_estimate_counts_as_a_year() -> None:
    asked = blocked_head()
    unknown = tuple(replace(d, runtime_s=None) for d in asked.pending)
    assert admitted(answer("easy", replace(asked, pending=unknown))) == set()


def test_fair_tree_ranks_tenants_by_use_over_weight_from_the_top_down() -> None:
    tenants = [
        replace(tenant("a"), usage=(("GPU", 100.0),)),
        replace(tenant("b", weight=4.0), usage=()),
        replace(tenant("b1", parent="b"), usage=(("GPU", 300.0),)),
        replace(tenant("b2", parent="b"), usage=(("GPU", 20.0),)),
    ]
    factors = fair_tree(problem([node("n", gpu=4)], tenants))
    assert sorted(factors, key=lambda t: -factors[t]) == ["b", "b2", "b1", "a"]
    assert factors[TenantId("b")] == 1.0


@pytest.mark.parametrize(
    ("priorities", "starts"), [((0, 0), "light"), ((1, 0), "heavy")], ids=["fair share", "class first"]
)
def test_multifactor_serves_the_lighter_tenant_within_a_class(priorities: tuple[int, int], starts: str) -> None:
    heavy, light = replace(tenant("heavy"), usage=(("GPU", 1e6),)), tenant("light")
    pending = [
        want("heavy", gpu=4, tenant="heavy", priority=priorities[0]),
        want("light", gpu=4, tenant="light", priority=priorities[1], submitted_s=5),
    ]
    assert admitted(answer("multifactor", problem([node("a", gpu=4)], [heavy, light], pending))) == {starts}


@pytest.mark.parametrize(
    ("name", "at", "why"),
    [
        ("ray", "empty", "LeastResourceScorer takes the node with the most left"),
        ("best-fit", "tight", "it is left with the least"),
        ("dot-product", "tight", "its free amounts have the smallest product with what is asked"),
        ("fgd", "tight", "no GPU becomes useless to the mix"),
    ],
)
def test_which_node_a_single_gpu_gets(name: str, at: str, why: str) -> None:
    nodes = [node("empty", gpu=8, cpu=8), node("tight", gpu=8, cpu=8)]
    running = [runs(want("r", 1, gpu=7, cpu=7), "tight")]
    asked = problem(nodes, [T], [want("x", gpu=1, cpu=1)], running)
    assert nodes_of(answer(name, asked)) == {"x": (at,)}, why


def test_fgd_puts_a_part_of_a_gpu_where_the_rest_is_too_small_for_the_others_anyway() -> None:
    nodes = [node("a", gpu=1, cpu=8), node("b", gpu=1, cpu=8)]
    running = [runs(want("r", gpu=0.5), "b")]
    mix = ((Bundle(Resources.parse({"GPU": 1})), 0.9), (Bundle(Resources.parse({"GPU": 0.4})), 0.1))
    asked = replace(problem(nodes, [T], [want("x", gpu=0.4)], running), expected=mix)
    assert nodes_of(answer("fgd", asked)) == {"x": ("b",)}


def test_random_fit_is_chance_by_seed_and_name_alone() -> None:
    nodes = [node(f"n{i}", gpu=4) for i in range(16)]
    pending = [want(f"x{i}", gpu=1) for i in range(12)]
    asked = problem(nodes, [T], pending)
    first = BASELINES["random-fit"](asked, Budget(seed=1))
    assert BASELINES["random-fit"](asked, Budget(seed=1)) == first
    assert BASELINES["random-fit"](asked, Budget(seed=2)) != first
    assert len(set(nodes_of(first).values())) > 3


def borrowed(borrow: str = "never", quota: object = 4) -> Problem:
    """Tenant y has all 8 GPUs, 4 of them borrowed: r-old since 0, r-new since 50."""
    tenants = [
        tenant("x", {"gpu": quota}, preemption=rules(borrow=borrow)),
        tenant("y", {"gpu": quota}),
    ]
    running = [
        runs(want("r-old", gpu=4, tenant="y"), "a", started_s=0),
        runs(want("r-new", gpu=4, tenant="y"), "b", started_s=50),
    ]
    return problem([node("a", gpu=4), node("b", gpu=4)], tenants, [want("n", gpu=4, tenant="x")], running)


def test_reclaim_takes_what_was_borrowed_last() -> None:
    plan = answer("drf-reclaim", borrowed())
    assert (admitted(plan), stopped(plan)) == ({"n"}, {"r-new"})


def test_who_would_borrow_reclaims_nothing() -> None:
    plan = answer("drf-reclaim", borrowed(quota=2))
    assert (admitted(plan), stopped(plan)) == (set(), set())


def test_with_fair_borrowing_the_lower_share_displaces_the_higher() -> None:
    plan = answer("drf-reclaim", borrowed(borrow="fair", quota=0))
    assert (admitted(plan), stopped(plan)) == ({"n"}, {"r-new"}), "x has 1/2 after, y has 1 before and 1/2 after"


def test_the_tenant_with_the_lowest_share_is_served_first() -> None:
    tenants = [tenant("x"), tenant("y")]
    running = [runs(want("r", gpu=4, tenant="y"), "a")]
    pending = [want("of-y", gpu=4, tenant="y"), want("of-x", gpu=4, tenant="x", submitted_s=5)]
    asked = problem([node("a", gpu=4), node("b", gpu=4)], tenants, pending, running)
    assert admitted(answer("drf-reclaim", asked)) == {"of-x"}


def test_drf_keeps_hard_limits() -> None:
    asked = problem([node("a", gpu=4)], [tenant("x", limit={"gpu": 2})], [want("n", gpu=4, tenant="x")])
    assert admitted(answer("drf-reclaim", asked)) == set()


@pytest.mark.parametrize(("attained", "stops"), [(100.0, set()), (20_000.0, {"old"})])
def test_las_displaces_work_that_has_gone_down_a_queue(attained: float, stops: set[str]) -> None:
    old = replace(want("old", gpu=4, submitted_s=1), attained=attained)
    asked = problem([node("a", gpu=4)], [T], [want("new", gpu=4, submitted_s=900)], [runs(old, "a", started_s=1000)])
    assert stopped(answer("las", asked)) == stops


def test_las_counts_the_service_of_the_present_run() -> None:
    old = want("old", gpu=4, submitted_s=1)
    asked = problem([node("a", gpu=4)], [T], [want("new", gpu=4, submitted_s=900)], [runs(old, "a", started_s=100)])
    assert stopped(answer("las", asked)) == {"old"}, "900 s of 4 GPUs are 3,600 GPU-seconds, above 3,250"


@pytest.mark.parametrize("name", ["las", "srtf"])
def test_work_that_may_not_be_preempted_is_not(name: str) -> None:
    old = replace(want("old", gpu=4, runtime_s=9e9, preemptible=False), attained=1e9)
    asked = problem([node("a", gpu=4)], [T], [want("new", gpu=4, runtime_s=1)], [runs(old, "a")])
    assert (admitted(answer(name, asked)), stopped(answer(name, asked))) == (set(), set())


def test_srtf_stops_the_longest_and_spares_whom_it_does_not_need() -> None:
    running = [
        runs(want("hour", gpu=2, runtime_s=5000), "a", started_s=1000),
        runs(want("day", gpu=1, runtime_s=90_000), "b", started_s=1000),
        runs(want("week", gpu=1, runtime_s=600_000), "a", started_s=1000),
    ]
    asked = problem([node("a", gpu=3), node("b", gpu=2)], [T], [want("new", gpu=2, runtime_s=10)], running)
    plan = answer("srtf", asked)
    assert (admitted(plan), stopped(plan)) == ({"new"}, {"day"}), "the week on a would not make room for two"


def test_elastic_work_starts_with_what_fits() -> None:
    asked = problem([node("a", gpu=5)], [T], [want("e", 8, gpu=1, least=2)])
    assert len(answer("ray", asked).grants[0].nodes) == 5


@pytest.mark.parametrize(
    ("topology", "racks"),
    [
        (Topology("pack", "rack", True), {"r2": 4}),
        (Topology("spread", "rack", True, skew=1), {"r1": 2, "r2": 2}),
        (Topology("pack", "rack", True, slice=2), None),
    ],
    ids=["pack", "balanced", "slices"],
)
def test_required_topology_holds(topology: Topology, racks: dict[str, int] | None) -> None:
    nodes = [node("a", {"rack": "r1"}, gpu=2), node("b", {"rack": "r2"}, gpu=2), node("c", {"rack": "r2"}, gpu=2)]
    asked = problem(nodes, [T], [want("x", 4, gpu=1, levels=[topology])])
    plan = answer("best-fit", asked)
    labels = {n.id: n.label("rack") for n in nodes}
    found = [labels[at] for at in plan.grants[0].nodes]
    assert not violations(asked, plan)
    assert racks is None or Counter(found) == racks
    assert racks is not None or (found[0] == found[1] and found[2] == found[3])


def test_a_gang_of_one_type_where_it_can_be() -> None:
    kind = "ray.io/accelerator-type"
    nodes = [node("a", {kind: "A"}, gpu=3), node("b", {kind: "B"}, gpu=2), node("c", {kind: "B"}, gpu=2)]
    assert set(answer("fifo", problem(nodes, [T], [want("x", 4, gpu=1)])).grants[0].nodes) == {"b", "c"}


LAWS_OF_ALL = {1, 2, 9, 12}


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(sorted(BASELINES)))
def test_every_baseline_keeps_capacity_gangs_and_places(asked: Problem, name: str) -> None:
    plan = answer(name, asked)
    broken = [found for found in violations(asked, plan) if found.law in LAWS_OF_ALL]
    assert not broken
    assert answer(name, asked) == plan


@settings(max_examples=40, deadline=None)
@given(problems())
def test_a_gentler_plan_is_as_sound_and_starts_the_same(asked: Problem) -> None:
    plan = Greedy()(asked, BUDGET)
    better = gentler(asked, plan)
    assert [g.demand for g in better.grants] == [g.demand for g in plan.grants]
    assert violations(asked, better) == violations(asked, plan)


def test_gentler_puts_single_work_where_it_spoils_the_least() -> None:
    nodes = [node("a", gpu=8, cpu=64), node("b", gpu=4, cpu=16)]
    cpu_work = Demand(DemandId("c"), T.id, (Bundle(Resources.parse({"CPU": 12})),))
    mix = ((Bundle(Resources.parse({"GPU": 1, "CPU": 4})), 1.0),)
    asked = replace(problem(nodes, [T], [cpu_work]), expected=mix)
    plan = Greedy()(asked, BUDGET)
    assert nodes_of(gentler(asked, plan)) == {"c": ("a",)}, "a has CPUs to spare, b needs all of its own"


@pytest.mark.parametrize("policy", CHOOSERS)
def test_packing_gives_out_what_it_counts_and_repeats(policy: str) -> None:
    nodes = [node(f"n{i}", gpu=2, cpu=8) for i in range(6)]
    pods = [Bundle(Resources.parse({"GPU": gpu, "CPU": 2})) for gpu in (0.5, 0.5, 1, 2)]
    part = allocated(nodes, pods, policy, seed=3)
    assert 0.7 <= part <= 1.0
    assert part == allocated(nodes, pods, policy, seed=3)


def test_running_work_on_unknown_nodes_disturbs_nobody() -> None:
    gone = Running(want("gone", gpu=4), ("lost",))  # type: ignore[arg-type]  # a plain string stands for a node's id
    plan = answer("fifo", problem([node("a", gpu=4)], [T], [want("x", gpu=4)], [gone]))
    assert admitted(plan) == {"x"}
