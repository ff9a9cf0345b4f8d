"""What the planner is shown, and when it is asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aios.kernel.adopt import REASONS
from aios.kernel.events import Outcome
from aios.kernel.ports import ApplyPolicy, StopWork
from aios.kernel.queue import RESIZE_AFTER_S, problem, question
from placement.model import NodeState, Policy, Problem, Reason, Resources
from tests.support.bench import Bench
from tests.support.building import node, submit, want


def shown(bench: Bench) -> Problem:
    return problem(bench.state, bench.now_s, bench.observed())


def test_what_waits_is_shown_in_order_of_its_first_submission() -> None:
    bench = Bench()
    bench.turn(submit(want("z")), submit(want("a")))
    bench.turn(submit(want("m")))
    bench.runs("z", "n1")
    bench.misses("z")
    bench.turn()
    assert [d.id for d in shown(bench).pending] == [bench.id(name) for name in "zam"]
    assert shown(bench).pending[0].submitted_s == bench["z"].submitted_s


def test_what_starts_or_runs_is_shown_where_it_is() -> None:
    bench = Bench()
    bench.turn(submit(want("a", 2)), submit(want("b")))
    bench.runs("a", "n1", "n2")
    bench.turn(plan=bench.plan({"b": ["n2"]}))
    assert [(r.demand.id, r.nodes) for r in shown(bench).running] == [
        (bench.id("a"), ("n1", "n2")),
        (bench.id("b"), ("n2",)),
    ]


def test_what_went_on_from_a_checkpoint_has_lost_nothing_older_to_lose() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    bench.sees("a", checkpoint="c/1", step=1)
    bench.turn()
    assert shown(bench).running[0].checkpointed_s == bench.now_s
    bench.misses("a")
    bench.turn(after_s=100.0)
    bench.runs("a", "n1")
    started_s = bench["a"].attempts[1].started_s
    assert shown(bench).running[0].checkpointed_s == started_s, "what came before it is safe"
    bench.sees("a", checkpoint="c/2", step=2)
    bench.turn(after_s=10.0)
    assert shown(bench).running[0].checkpointed_s == bench.now_s


def test_what_is_being_stopped_holds_its_nodes_and_cannot_be_preempted() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    assert [r.demand.preemptible for r in shown(bench).running] == [True]
    bench.turn(StopWork(bench.id("a")))
    assert [r.demand.preemptible for r in shown(bench).running] == [False]


def test_an_elastic_gang_that_runs_may_shrink_at_once_and_grow_after_a_while() -> None:
    bench = Bench()
    bench.turn(submit(want("a", 4, min_bundles=1)))
    bench.runs("a", "n1", "n2")
    (running,) = shown(bench).running
    assert (len(running.demand.bundles), running.demand.min_bundles) == (2, 1)
    assert bench.turn().ask is None
    assert bench.last.wake_s == bench["a"].attempt.started_s + RESIZE_AFTER_S  # type: ignore[union-attr]  # it runs
    assert bench.turn(after_s=RESIZE_AFTER_S).ask is not None
    (running,) = shown(bench).running
    assert (len(running.demand.bundles), running.demand.min_bundles) == (4, 1)


def test_a_service_without_a_minimum_below_its_size_keeps_its_size() -> None:
    bench = Bench()
    bench.turn(submit(want("a", 2, service=True)))
    bench.runs("a", "n1", "n2")
    bench.turn(after_s=RESIZE_AFTER_S)
    (running,) = shown(bench).running
    assert (len(running.demand.bundles), running.demand.min_bundles) == (2, 2)


def test_nodes_that_are_down_are_left_out_and_draining_ones_are_shown() -> None:
    bench = Bench([node("n1"), node("n2"), node("n3", state=NodeState.DRAINING)])
    bench.turn()
    bench.nodes.pop(0)
    bench.turn()
    assert [(n.id, n.state.value) for n in shown(bench).nodes] == [("n2", "ready"), ("n3", "draining")]


def test_use_by_others_is_shown() -> None:
    bench = Bench()
    bench.foreign["n2"] = Resources.parse({"CPU": 1})
    assert shown(bench).foreign == {"n2": Resources.parse({"CPU": 1})}


def test_nothing_is_asked_where_nothing_waits() -> None:
    bench = Bench()
    assert bench.turn().ask is None
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    assert bench.last.ask is None


def test_the_question_is_the_same_while_only_time_and_progress_go_on() -> None:
    bench = Bench()
    bench.turn(submit(want("a")), submit(want("b", cpu=99)))
    bench.runs("a", "n1")
    before = question(shown(bench))
    bench.sees("a", checkpoint="c/1", step=1)
    bench.turn(after_s=100.0)
    assert question(shown(bench)) == before


def test_the_question_changes_with_all_that_a_plan_depends_on() -> None:
    bench = Bench()
    bench.turn(submit(want("a")), submit(want("b", cpu=99)))
    bench.runs("a", "n1")
    seen = [question(shown(bench))]
    bench.foreign["n1"] = Resources.parse({"CPU": 1})
    seen.append(question(shown(bench)))
    bench.nodes[1] = replace(bench.nodes[1], state=NodeState.DRAINING)
    bench.turn()
    seen.append(question(shown(bench)))
    bench.turn(submit(want("c")))
    seen.append(question(shown(bench)))
    bench.turn(StopWork(bench.id("a")))
    seen.append(question(shown(bench)))
    bench.sees_end("a", Outcome.STOPPED)
    bench.turn()
    seen.append(question(shown(bench)))
    assert len(set(seen)) == len(seen)


def test_every_reason_of_the_planner_has_a_word_for_users() -> None:
    assert set(REASONS) == set(Reason)
    assert len(set(REASONS.values())) == len(REASONS)


def test_what_waits_for_its_inputs_is_expected_by_the_planner() -> None:
    bench = Bench()
    bench.turn(submit(want("first"), want("then", 2, cpu=3, needs=("first",))))
    mix = {bundle.resources.get("CPU"): n for bundle, n in shown(bench).expected}
    assert mix == {1000: 1.0, 3000: 2.0}
    assert [demand.id for demand in shown(bench).pending] == [bench.id("first")]


def test_past_use_is_shown_where_fairness_looks_at_it_and_halves_with_each_half_life() -> None:
    bench = Bench(tenants=("team", "other"))
    bench.policy = Policy(fairness="drf-usage", usage_half_life_s=1000.0)
    bench.turn(submit(want("a", 2, cpu=2)))
    bench.runs("a", "n1", "n2")
    bench.sees_end("a", Outcome.SUCCEEDED)
    bench.turn(ApplyPolicy(bench.policy), after_s=100.0)

    def used() -> float:
        shown_tenants = problem(bench.state, bench.now_s, bench.observed(), bench.policy).tenants
        return {tenant.id: dict(tenant.usage).get("CPU", 0.0) for tenant in shown_tenants}["team"]

    first = used()
    assert 380.0 < first < 420.0, "four CPUs for a hundred seconds"
    before = question(problem(bench.state, bench.now_s, bench.observed(), bench.policy))
    bench.turn(after_s=1000.0)
    assert used() == pytest.approx(first / 2)
    assert question(problem(bench.state, bench.now_s, bench.observed(), bench.policy)) == before
