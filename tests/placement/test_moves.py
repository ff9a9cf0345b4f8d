"""Migration: what moves makes room for somebody, at the least cost, and everybody still runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.explain import explain
from placement.model import Demand, DemandId, Move, Node, NodeId, Plan, Policy, Problem, Reservation, Running
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.planners.movable import RECENT_S, RESTART_S, cost_s, movable
from placement.planners.moves import with_moves
from placement.score import score
from tests.placement.builders import admitted, node, problem, problems, runs, stopped, tenant, want

MIGRATION = Policy(migration=True)
NO_TIME = Budget(wall_s=0.0, deterministic_s=0.0)


def _planned(asked: Problem, budget: Budget = Budget()) -> Plan:  # noqa: B008  # frozen
    plan = with_moves(asked, Greedy()(asked, Budget()), budget)
    assert violations(asked, plan) == ()
    return plan


def _asked(
    nodes: Sequence[Node], pending: Sequence[Demand], running: Sequence[Running], now_s: float = 10_000.0
) -> Problem:
    return problem(nodes, [tenant("t")], pending, running, policy=MIGRATION, now_s=now_s)


def moved(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {str(move.demand): tuple(map(str, move.nodes)) for move in plan.moves}


SCATTERED = _asked(
    [node("a", gpu=2), node("b", gpu=2)],
    [want("w", gpu=2)],
    [runs(want("x", gpu=1), "a", started_s=9000), runs(want("y", gpu=1), "b", started_s=5000)],
)


@pytest.mark.parametrize("budget", [Budget(), NO_TIME], ids=["by the programme", "by clearing"])
def test_the_cheapest_to_move_makes_room(budget: Budget) -> None:
    plan = _planned(SCATTERED, budget)
    assert admitted(plan) == {"w"}
    assert plan.moves == (Move(DemandId("x"), ("b",), (DemandId("w"),), 1000 + RESTART_S),)


def test_without_the_policy_nothing_moves() -> None:
    asked = replace(SCATTERED, policy=Policy())
    plan = Greedy()(asked, Budget())
    assert with_moves(asked, plan) is plan


def test_the_ladder_moves_and_the_answer_says_so() -> None:
    plan = ladder.plan(SCATTERED)
    assert (admitted(plan), moved(plan)) == ({"w"}, {"x": ("b",)})
    assert plan.stats.objective <= plan.stats.bound
    told = explain(SCATTERED, plan, DemandId("x"))
    assert (told.state, told.because[0]) == ("moved", "moves to b, so that w fits; it keeps its size")
    assert "x moves elsewhere to make its room" in explain(SCATTERED, plan, DemandId("w")).because


def test_the_first_in_the_order_of_service_has_its_room_first() -> None:
    asked = replace(SCATTERED, pending=(want("late", gpu=2, submitted_s=9.0), want("early", gpu=2, submitted_s=1.0)))
    assert admitted(_planned(asked)) == {"early"}


def test_a_later_gang_does_not_pass_the_claim_of_an_earlier_one() -> None:
    """1: big waits for both nodes of a rack. 2: when long ends it starts. 3: small would keep it waiting for ever."""
    nodes = [node("a", gpu=4), node("b", gpu=4)]
    running = [runs(want("long", gpu=3, runtime_s=20_000.0, preemptible=False), "a"), runs(want("y", gpu=2), "b")]
    big, small = want("big", 2, gpu=3, priority=1), want("small", gpu=2)
    alone = _asked(nodes, [small], running)
    assert admitted(_planned(alone)) == {"small"}
    behind = _planned(_asked(nodes, [big, small], running))
    assert "big" not in admitted(behind)
    assert not behind.moves


@pytest.mark.parametrize("budget", [Budget(), NO_TIME], ids=["by the programme", "by clearing"])
def test_an_elastic_gang_is_let_in_and_grows_into_what_is_left(budget: Budget) -> None:
    asked = _asked(
        [node("a", {"zone": "x"}, gpu=6), node("b", {"zone": "y"}, gpu=4)],
        [want("w", 3, least=1, gpu=3, selector={"zone": "x"})],
        [runs(want("r", gpu=4), "a", started_s=9000)],
    )
    plan = _planned(asked, budget)
    assert [grant.nodes for grant in plan.grants] == [("a", "a")]
    assert moved(plan) == {"r": ("b",)}


def test_work_does_not_move_to_a_slower_accelerator() -> None:
    fast, slow = {"ray.io/accelerator-type": "H100"}, {"ray.io/accelerator-type": "A100"}
    nodes = [node("a", fast, gpu=2), node("b", slow, gpu=2)]
    speed = {"H100": 2.0, "A100": 1.0}
    running = [runs(want("x", gpu=1, speed=speed), "a", started_s=9000)]
    asked = _asked(nodes, [want("w", gpu=2, selector={"ray.io/accelerator-type": "H100"})], running)
    for budget in (Budget(), NO_TIME):
        assert not _planned(asked, budget).moves
    careless = replace(asked, running=(runs(want("x", gpu=1), "a", started_s=9000),))
    assert moved(_planned(careless)) == {"x": ("b",)}


@pytest.mark.parametrize("budget", [Budget(), NO_TIME], ids=["by the programme", "by clearing"])
@pytest.mark.parametrize("starts_s, goes", [(10_500.0, "a"), (12_000.0, "b")])
def test_work_does_not_move_onto_a_node_that_is_reserved_before_it_would_end(
    starts_s: float, goes: str, budget: Budget
) -> None:
    """x would end at 10,900 s where it is, and 1,060 s later where it starts again; y would lose five times as much."""
    x = runs(want("x", gpu=1, runtime_s=1900.0), "a", started_s=9000)
    y = runs(want("y", gpu=1, runtime_s=9000.0), "b", started_s=5000)
    kept = Reservation("service", (NodeId("b"),), starts_s, 20_000.0)
    asked = replace(SCATTERED, running=(x, y), reservations=(kept,), pending=(want("w", gpu=2, runtime_s=300.0),))
    plan = _planned(asked, budget)
    assert moved(plan) == ({"x": ("b",)} if goes == "b" else {"y": ("a",)})


@pytest.mark.parametrize("waits_for_b", [True, False])
def test_work_does_not_move_to_where_it_would_delay_a_gang_that_waits_for_its_place(waits_for_b: bool) -> None:
    """The head starts on b in 100 s, when y ends. The other gang fits on a only if x moves to b, to stay for long."""
    nodes = [node("a", gpu=2), node("b", {"kind": "b"}, gpu=2)]
    running = [
        runs(want("x", gpu=1, runtime_s=50_000.0), "a", started_s=9_000),
        runs(want("y", gpu=1, runtime_s=1_100.0, preemptible=False), "b", started_s=9_000),
    ]
    head = want("head", gpu=2, selector={"kind": "b"}, runtime_s=5_000.0)
    asked = _asked(nodes, [*([head] if waits_for_b else []), want("w", gpu=2, runtime_s=5_000.0)], running)
    plan = _planned(asked)
    assert moved(plan) == ({} if waits_for_b else {"x": ("b",)})


def test_a_victim_is_moved_rather_than_stopped_and_others_may_move_for_it() -> None:
    """The victim fits nowhere as things are, but the small one in its way fits elsewhere."""
    nodes = [node("a", gpu=4), node("b", gpu=3), node("c", gpu=1)]
    running = [
        runs(want("victim", gpu=3), "a", started_s=9000),
        runs(want("small", gpu=1, priority=9), "b", started_s=9000),
    ]
    asked = _asked(nodes, [want("w", gpu=4, priority=5)], running)
    assert stopped(Greedy()(asked, Budget())) == {"victim"}
    plan = _planned(asked)
    assert (admitted(plan), stopped(plan)) == ({"w"}, set())
    assert moved(plan) == {"victim": ("b",), "small": ("c",)}


@pytest.mark.parametrize(
    "started_s, may", [(0.0, True), (9_000.0, True), (10_000.0 - RECENT_S, True), (9_990.0, False), (10_500.0, True)]
)
def test_what_has_just_started_stays(started_s: float, may: bool) -> None:
    assert movable(runs(want("x", gpu=1), "a", started_s=started_s), 10_000.0) is may


def test_a_checkpoint_makes_a_move_cheap_for_the_whole_gang() -> None:
    gang = runs(want("x", 3, gpu=1), "a", started_s=1000)
    assert cost_s(gang, 10_000.0) == 3 * (9000 + RESTART_S)
    assert cost_s(replace(gang, checkpointed_s=9_950.0), 10_000.0) == 3 * (50 + RESTART_S)


def test_a_packed_gang_gets_a_rack_cleared_among_hundreds_of_nodes() -> None:
    nodes = [node(f"n{i}", {"rack": f"r{i // 8}"}, gpu=8) for i in range(320)]
    running = [runs(want(f"j{i}", gpu=4), f"n{i}", started_s=100.0 + i) for i in range(320)]
    pending = [want("packed", 4, gpu=8, pack="rack", required=True), want("apart", 8, gpu=8, spread="node")]
    plan = _planned(_asked(nodes, pending, running))
    assert admitted(plan) == {"packed", "apart"}
    assert len(plan.moves) == 12
    assert plan == _planned(_asked(nodes, pending, running))


@st.composite
def _tiny(draw: st.DrawFn) -> Problem:
    sizes = draw(st.lists(st.integers(2, 4), min_size=2, max_size=3))
    nodes, free = [node(f"n{i}", gpu=size) for i, size in enumerate(sizes)], list(sizes)
    running: list[Running] = []
    for i in range(draw(st.integers(1, 4))):
        at, gpus = draw(st.integers(0, len(sizes) - 1)), draw(st.integers(1, 2))
        if gpus <= free[at]:
            free[at] -= gpus
            demand = want(f"r{i}", gpu=gpus, preemptible=draw(st.sampled_from([True, True, True, False])))
            running.append(runs(demand, f"n{at}", started_s=float(draw(st.integers(1, 99)) * 100)))
    return _asked(nodes, [want("w", draw(st.integers(1, 2)), gpu=draw(st.integers(1, 3)))], running)


def _least_cost(asked: Problem) -> float | None:
    """Try every place of everything; None where the gang cannot start."""
    sizes = [n.resources.get("GPU") for n in asked.nodes]
    names = [n.id for n in asked.nodes]
    (gang,) = asked.pending
    things = [*asked.running, *gang.bundles]
    costs: list[float] = []
    for at in product(range(len(sizes)), repeat=len(things)):
        used, cost = [0] * len(sizes), 0.0
        for thing, where in zip(things, at, strict=True):
            used[where] += thing.resources.get("GPU")
            if isinstance(thing, Running) and names[where] != thing.nodes[0]:
                cost += cost_s(thing, asked.now_s) if thing.demand.preemptible else float("inf")
        if all(amount <= size for amount, size in zip(used, sizes, strict=True)):
            costs.append(cost)
    least = min(costs, default=float("inf"))
    return None if least == float("inf") else least


@settings(max_examples=50, deadline=None)
@given(_tiny())
def test_moves_cost_no_more_than_the_best_of_all_that_could_be_made(asked: Problem) -> None:
    least, plan = _least_cost(asked), _planned(asked)
    assert bool(plan.grants) == (least is not None)
    if least is not None:
        assert sum(move.cost_s for move in plan.moves) == least


@settings(max_examples=60, deadline=None)
@given(problems())
def test_migration_serves_no_less_and_stops_no_more(asked: Problem) -> None:
    still = Greedy()(asked, Budget())
    migrating = replace(asked, policy=replace(asked.policy, migration=True))
    plan = with_moves(migrating, still)
    assert violations(migrating, plan) == ()
    assert admitted(still) <= admitted(plan)
    assert stopped(plan) <= stopped(still)
    assert score(migrating, plan) >= score(migrating, still)
    for move in plan.moves:
        run = next(run for run in asked.running if run.demand.id == move.demand)
        assert len(move.nodes) == len(run.nodes)
        assert run.demand.preemptible
        assert {str(name) for name in move.beneficiaries} <= admitted(plan)
