"""Rounds of a time slice: who works next, who takes turns, and what no plan of them breaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.baselines import BASELINES
from placement.check import misplaced, violations
from placement.model import (
    ACCELERATOR_KEY,
    Cause,
    Demand,
    Node,
    NodeId,
    Objective,
    Policy,
    Problem,
    Reservation,
    Running,
    Shape,
    Tenant,
)
from placement.planners.base import Budget
from placement.planners.goodput import Goodput
from placement.planners.goodput.fractions import equal_finish, largest_least
from placement.planners.goodput.options import Pools, jobs_of
from placement.planners.goodput.programme import Round, shortest_batch_s, solve
from placement.planners.goodput.worth import worths
from placement.planners.ladder import plan as ladder
from placement.planners.tree import Tree
from tests.placement.builders import admitted, node, problems, runs, stopped, tenant, want

ROUNDS = Policy(objective=Objective.GOODPUT, time_slice_s=100.0)
ALL = tenant("t")


def ask(
    nodes: list[Node],
    pending: list[Demand],
    running: list[Running] | None = None,
    tenants: list[Tenant] | None = None,
    now_s: float = 1000.0,
    policy: Policy = ROUNDS,
) -> Problem:
    return Problem(tuple(nodes), tuple(tenants or [ALL]), tuple(running or []), tuple(pending), now_s, policy)


def job(name: str, count: int = 1, left_s: float | None = 1000.0, **more: object) -> Demand:
    """Return a gang of GPU bundles."""
    options: dict[str, object] = {"tenant": "t", "gpu": 1, "submitted_s": 900.0, **more}
    return want(name, count, runtime_s=left_s, **options)  # type: ignore[arg-type]


def answer(problem: Problem):  # type: ignore[no-untyped-def]
    plan = Goodput()(problem, Budget())
    assert violations(problem, plan) == ()
    return plan


def typed(name: str, kind: str, gpu: int) -> Node:
    return node(name, {ACCELERATOR_KEY: kind}, gpu=gpu)


# Who works


def test_the_shortest_goes_first() -> None:
    plan = answer(ask([node("a", gpu=1)], [job("long", left_s=9000.0), job("short", left_s=500.0)]))
    assert admitted(plan) == {"short"}


def test_work_of_higher_priority_goes_before_shorter_work() -> None:
    plan = answer(ask([node("a", gpu=1)], [job("urgent", left_s=9000.0, priority=1), job("short", left_s=500.0)]))
    assert admitted(plan) == {"urgent"}


def test_nothing_idle_stays_unused() -> None:
    pending = [job("gang", 3, left_s=100.0), job("one", left_s=5000.0), job("two", left_s=9000.0)]
    plan = answer(ask([node("a", gpu=4)], pending))
    assert "gang" in admitted(plan)
    assert len(plan.grants) == 2


def test_a_gang_starts_whole_or_not_at_all() -> None:
    plan = answer(ask([node("a", gpu=2), node("b", gpu=1)], [job("gang", 4), job("small", 2)]))
    assert admitted(plan) == {"small"}


def test_a_gang_stays_on_one_type_of_accelerator() -> None:
    nodes = [typed("a", "v100", 2), typed("b", "k80", 3)]
    plan = answer(ask(nodes, [job("gang", 3, speed={"v100": 4.0, "k80": 1.0})]))
    assert {str(n) for n in plan.grants[0].nodes} == {"b"}


def test_each_goes_where_the_sum_loses_least() -> None:
    nodes = [typed("a", "v100", 1), typed("b", "k80", 1)]
    choosy = job("choosy", speed={"v100": 4.0, "k80": 1.0})
    easy = job("easy", left_s=200.0, speed={"v100": 1.1, "k80": 1.0})
    plan = answer(ask(nodes, [easy, choosy]))
    assert {str(g.demand): str(g.nodes[0]) for g in plan.grants} == {"choosy": "a", "easy": "b"}


def test_the_critical_job_of_a_batch_is_not_put_off_by_short_ones() -> None:
    """Ten short jobs and one that is as long as all of it: on two GPUs the long one works from the beginning."""
    shorts = [job(f"s{i}", left_s=1000.0) for i in range(10)]
    plan = answer(ask([node("a", gpu=2)], [*shorts, job("long", left_s=10_000.0)]))
    assert "long" in admitted(plan)


def test_elastic_work_shares_by_what_more_bundles_bring() -> None:
    """Going from two to four bundles brings little, so both run."""
    flat = {"scaling": ((2, 0.9), (4, 1.0))}
    first, second = (replace(job(name, 4, least=2), **flat) for name in ("x", "y"))
    plan = answer(ask([node("a", gpu=4)], [first, second]))
    assert sorted(len(g.nodes) for g in plan.grants) == [2, 2]


def test_elastic_work_takes_all_that_is_idle() -> None:
    plan = answer(ask([node("a", gpu=4)], [job("x", 4, least=1)]))
    assert len(plan.grants[0].nodes) == 4


def test_another_form_is_taken_where_the_first_does_not_fit() -> None:
    other = Shape(job("y", 2).bundles, throughput=0.5)
    plan = answer(ask([node("a", gpu=2)], [replace(job("x", 4), alternatives=(other,))]))
    assert [(g.form, len(g.nodes)) for g in plan.grants] == [(1, 2)]


# Turns


def holder(started_s: float, left_s: float = 50_000.0, **more: object) -> Running:
    return runs(job("holder", left_s=left_s, submitted_s=0.0, **more), "a", started_s=started_s)


def test_work_yields_when_its_time_slice_is_over() -> None:
    plan = answer(ask([node("a", gpu=1)], [job("short", left_s=200.0)], [holder(900.0)]))
    assert [(str(p.demand), p.cause) for p in plan.preemptions] == [("holder", Cause.TIME_SLICE)]
    assert admitted(plan) == {"short"}


def test_work_keeps_its_nodes_within_its_time_slice() -> None:
    plan = answer(ask([node("a", gpu=1)], [job("short", left_s=200.0)], [holder(901.0)]))
    assert not plan.preemptions
    assert admitted(plan) == set()


@pytest.mark.parametrize("change", [{"preemptible": False}, {"priority": 1}], ids=["not preemptible", "more important"])
def test_who_may_not_be_displaced_stays(change: dict[str, object]) -> None:
    plan = answer(ask([node("a", gpu=1)], [job("short", left_s=200.0)], [holder(0.0, **change)]))
    assert not plan.preemptions


def test_without_a_time_slice_work_runs_to_its_end() -> None:
    policy = replace(ROUNDS, time_slice_s=None)
    plan = answer(ask([node("a", gpu=1)], [job("short", left_s=200.0)], [holder(0.0)], policy=policy))
    assert not plan.preemptions


def test_an_equal_does_not_yield_to_an_equal_for_nothing() -> None:
    """Taking turns costs restarts: with as much left and as long a wait, who runs goes on."""
    mine = runs(job("holder", left_s=1100.0), "a", started_s=900.0)
    plan = answer(ask([node("a", gpu=1)], [job("same", left_s=1000.0)], [mine]))
    assert not plan.preemptions


def test_no_more_yield_than_needed() -> None:
    running = [runs(job(f"r{i}", left_s=50_000.0, submitted_s=0.0), "a", started_s=0.0) for i in range(4)]
    plan = answer(ask([node("a", gpu=4)], [job("short", 2, left_s=200.0)], running))
    assert len(plan.preemptions) == 2


def test_nobody_waits_forever() -> None:
    """Short work keeps coming: the long job's fairness grows until it gets its turn."""
    waited_s, now_s = 0.0, 1000.0
    for _ in range(600):
        pending = [job("long", left_s=4000.0, submitted_s=1000.0), job("short", left_s=800.0, submitted_s=now_s)]
        if "long" in admitted(answer(ask([node("a", gpu=1)], pending, now_s=now_s))):
            break
        now_s, waited_s = now_s + 100.0, waited_s + 100.0
    assert 0 < waited_s < 50_000.0


# Tenants


def test_a_limit_holds() -> None:
    capped = tenant("t", limit={"gpu": 2})
    plan = answer(ask([node("a", gpu=4)], [job(f"j{i}") for i in range(4)], tenants=[capped]))
    assert len(plan.grants) == 2


def test_a_guarantee_holds_against_shorter_work() -> None:
    tenants = [tenant("t", quota={"gpu": 2}), tenant("u", quota={"gpu": 2})]
    mine = [job(f"long{i}", left_s=20_000.0) for i in range(4)]
    theirs = [job(f"short{i}", left_s=100.0, tenant="u") for i in range(4)]
    plan = answer(ask([node("a", gpu=4)], [*theirs, *mine], tenants=tenants))
    assert sum(name.startswith("long") for name in admitted(plan)) == 2


# All plans


def rounds_of(problem: Problem) -> Problem:
    return replace(problem, policy=replace(problem.policy, objective=Objective.GOODPUT, time_slice_s=300.0))


@settings(max_examples=120, deadline=None)
@given(problems())
def test_every_plan_passes_the_judge_and_is_the_same_again(drawn: Problem) -> None:
    problem = rounds_of(drawn)
    plan = Goodput()(problem, Budget())
    assert violations(problem, plan) == ()
    assert Goodput()(problem, Budget()) == plan


@settings(max_examples=60, deadline=None)
@given(problems())
def test_what_is_left_waiting_does_not_fit_on_what_is_idle(drawn: Problem) -> None:
    """Asked again with its own answer carried out, it finds nobody to start without a turn."""
    problem = replace(rounds_of(drawn), running=())
    plan = Goodput()(problem, Budget())
    granted = {g.demand: g for g in plan.grants}
    running = tuple(
        Running(replace(d, preemptible=False), granted[d.id].nodes, problem.now_s)
        for d in problem.pending
        if d.id in granted
    )
    left = tuple(d for d in problem.pending if d.id not in granted)
    again = Goodput()(replace(problem, running=running, pending=left), Budget())
    assert not again.grants


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_programme_bounds_what_any_round_is_worth(data: st.DataObject) -> None:
    lefts = data.draw(st.lists(st.floats(100.0, 10_000.0), min_size=1, max_size=6))
    pending = [job(f"j{i}", data.draw(st.integers(1, 3)), left_s=left) for i, left in enumerate(lefts)]
    problem = ask([typed("a", "v100", 2), typed("b", "k80", 3)], pending)
    pools = Pools(problem, Tree(problem))
    jobs = jobs_of(problem, pools)
    question = Round(jobs, worths(problem, jobs, pools.capacity(), 100.0), pools.capacity(), 100.0)
    found = solve(question)
    used: dict[tuple[str, str], int] = {}
    for idx, at in found.chosen.items():
        for row, amount in jobs[idx].options[at].use:
            used[row] = used.get(row, 0) + amount
    assert all(amount <= pools.capacity()[row] for row, amount in used.items())
    longest = max(left for left in lefts)
    assert shortest_batch_s(question) >= longest - 1e-6


def test_the_ladder_answers_with_it_where_goodput_is_the_aim() -> None:
    problem = ask([node("a", gpu=1)], [job("long", left_s=9000.0), job("short", left_s=500.0)])
    assert ladder(problem).stats.planner == "goodput"
    strict = replace(problem, policy=Policy())
    assert ladder(strict).stats.planner != "goodput"


def test_a_planner_that_fails_leaves_the_answer_to_the_next_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Goodput, problem: Problem, budget: Budget) -> object:
        raise ArithmeticError("no")

    monkeypatch.setattr(Goodput, "__call__", broken)
    plan = ladder(ask([node("a", gpu=1)], [job("x")]))
    assert admitted(plan) == {"x"}
    assert plan.stats.fallbacks == ("goodput: ArithmeticError: no",)


# Others' time fractions


def test_max_min_gives_each_the_same_normalised_rate() -> None:
    x = largest_least([(4.0, 1.0), (1.0, 1.0)], [1, 1], [1, 1], [1 / 2.5, 1.0])
    rates = [(4 * x[0][0] + x[0][1]) / 2.5, x[1][0] + x[1][1]]
    assert rates[0] >= rates[1] - 1e-6
    assert rates[1] == pytest.approx(1.0)


def test_finish_time_fairness_gives_more_to_whoever_has_waited() -> None:
    x = equal_finish([(1.0,), (1.0,)], [1, 1], [1], ages_s=[900.0, 0.0], lefts=[100.0, 100.0], alone_s=[200.0, 200.0])
    assert x[0][0] > 0.8
    assert x[1][0] > 0.0


def test_names_of_nodes_change_nothing() -> None:
    pending = [job("a", 2, left_s=300.0), job("b", 2, left_s=200.0), job("c", 1, left_s=100.0)]
    one = answer(ask([node("x", gpu=2), node("y", gpu=1)], pending))
    other = answer(ask([node("p", gpu=2), node("q", gpu=1)], pending))
    assert admitted(one) == admitted(other)
    assert stopped(one) == stopped(other)


def test_nodes_that_are_kept_for_later_take_only_what_ends_before() -> None:
    kept = Reservation("r", (NodeId("a"),), starts_s=1500.0, ends_s=9000.0)
    pending = [job("long", left_s=1000.0), job("short", left_s=400.0)]
    plan = answer(replace(ask([node("a", gpu=2)], pending), reservations=(kept,)))
    assert admitted(plan) == {"short"}


# Others' policies in rounds


@pytest.mark.parametrize("name", ["gavel-max-min", "gavel-ftf", "gavel-makespan"])
@settings(max_examples=25, deadline=None)
@given(problems())
def test_a_policy_in_rounds_places_whole_gangs_where_there_is_room(name: str, drawn: Problem) -> None:
    problem = rounds_of(drawn)
    assert misplaced(problem, BASELINES[name](problem, Budget())) == ()


def test_max_min_lets_equals_take_turns() -> None:
    """Who has had all of the time so far yields to who has had none; within its slice it does not."""
    had = runs(job("had", left_s=900.0, submitted_s=0.0), "a", started_s=0.0)
    waits = job("waits", left_s=900.0, submitted_s=0.0)
    plan = BASELINES["gavel-max-min"](ask([node("a", gpu=1)], [waits], [had]), Budget())
    assert stopped(plan) == {"had"}
    fresh = replace(had, started_s=950.0)
    assert not stopped(BASELINES["gavel-max-min"](ask([node("a", gpu=1)], [waits], [fresh]), Budget()))


# Running work that changes its place


def test_what_has_had_its_turn_moves_to_where_it_is_faster() -> None:
    slow = runs(job("x", speed={"v100": 4.0, "k80": 1.0}), "b", started_s=500.0)
    plan = answer(ask([typed("a", "v100", 1), typed("b", "k80", 1)], [], [slow]))
    assert [(str(move.demand), move.nodes) for move in plan.moves] == [("x", ("a",))]


def test_two_change_places_where_the_sum_gains() -> None:
    choosy = runs(job("choosy", speed={"v100": 4.0, "k80": 1.0}), "b", started_s=500.0)
    easy = runs(job("easy", speed={"v100": 1.1, "k80": 1.0}), "a", started_s=500.0)
    plan = answer(ask([typed("a", "v100", 1), typed("b", "k80", 1)], [], [choosy, easy]))
    assert {str(move.demand): move.nodes for move in plan.moves} == {"choosy": ("a",), "easy": ("b",)}


def test_what_moves_takes_the_place_of_who_stops_for_it() -> None:
    short = runs(job("short", left_s=700.0, speed={"v100": 4.0, "k80": 1.0}), "b", started_s=500.0)
    long = runs(job("long", left_s=90_000.0, speed={"v100": 1.0, "k80": 0.0}, submitted_s=0.0), "a", started_s=500.0)
    plan = answer(ask([typed("a", "v100", 1), typed("b", "k80", 1)], [], [short, long]))
    assert [str(move.demand) for move in plan.moves] == ["short"]
    assert [(str(p.demand), p.cause, p.beneficiaries) for p in plan.preemptions] == [
        ("long", Cause.TIME_SLICE, ("short",))
    ]


def test_within_its_turn_nothing_moves() -> None:
    slow = runs(job("x", speed={"v100": 4.0, "k80": 1.0}), "b", started_s=950.0)
    assert answer(ask([typed("a", "v100", 1), typed("b", "k80", 1)], [], [slow])).moves == ()
