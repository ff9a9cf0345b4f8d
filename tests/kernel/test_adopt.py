"""A plan is a proposal: what is valid now is adopted, and nobody sneaks into a place that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from aios.kernel.actions import Kill, Launch, Stop
from aios.kernel.events import Granted, Outcome, PlanAdopted, PreemptionOrdered, Waits
from aios.kernel.ports import ApplyTenants, Phase, StopWork
from aios.kernel.queue import kept
from aios.kernel.state import Status
from placement.model import NodeState, Reason, Resources
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, tenant, want


def queue(*works: object, **others: object) -> Bench:
    bench = Bench(**others)  # type: ignore[arg-type]  # fields of Bench
    bench.turn(*(submit(work) for work in works))  # type: ignore[arg-type]  # works
    return bench


def test_a_grant_is_recorded_with_a_new_fence_and_launched() -> None:
    bench = queue(want("a", 2, cpu=2), want("b"))
    turn = bench.turn(plan=bench.plan({"a": ["n1", "n2"], "b": ["n1"]}))
    granted = of_type(turn.events, Granted)
    assert [(e.workload, e.attempt, e.nodes) for e in granted] == [
        (bench.id("a"), 1, ("n1", "n2")),
        (bench.id("b"), 1, ("n1",)),
    ]
    assert granted[0].fence < granted[1].fence
    assert [(a.work.name, a.nodes) for a in turn.actions if isinstance(a, Launch)] == [
        ("a", ("n1", "n2")),
        ("b", ("n1",)),
    ]
    assert bench["a"].status is Status.STARTING


def test_a_plan_is_recorded_with_its_proof_and_numbered() -> None:
    bench = queue(want("a"))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.turn(submit(want("b")))
    (second,) = of_type(bench.turn(plan=bench.plan({"b": ["n1"]})).events, PlanAdopted)
    assert (second.plan_id, second.planner, second.status, second.refused) == (2, "hand", "optimal", ())
    assert bench["b"].attempt.plan_id == 2  # type: ignore[union-attr]  # it has one


def leave(bench: Bench) -> None:
    bench.nodes.pop(0)


def drain(bench: Bench) -> None:
    bench.nodes[0] = node("n1", state=NodeState.DRAINING)


def fill(bench: Bench) -> None:
    bench.foreign["n1"] = Resources.parse({"CPU": 3.5})


def stop(bench: Bench) -> None:
    bench.turn(StopWork(bench.id("a")))


CHANGES: dict[str, tuple[Callable[[Bench], None], str]] = {
    "its node has left": (leave, "not ready"),
    "its node drains": (drain, "not ready"),
    "others use the node": (fill, "taken"),
    "it was stopped": (stop, "does not wait"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_grant_is_refused_where_meanwhile(name: str) -> None:
    change, why = CHANGES[name]
    bench = queue(want("a"), want("b"))
    plan = bench.plan({"a": ["n1"], "b": ["n2"]})
    change(bench)
    bench.turn()
    (adopted,) = of_type(bench.turn(plan=plan).events, PlanAdopted)
    assert len(adopted.refused) == 1
    assert why in adopted.refused[0]
    assert bench["b"].status is Status.STARTING, "the rest of the plan is kept"
    assert bench["a"].current is None
    assert not bench.last.settled


@pytest.mark.parametrize(
    "nodes, why",
    [(["n1"], "1 bundles"), (["n1"] * 3, "3 bundles"), (["n1", "n9"], "n9")],
    ids=["a part of a gang", "more than it has", "an unknown node"],
)
def test_a_grant_that_is_no_gang_is_refused(nodes: list[str], why: str) -> None:
    bench = queue(want("a", 2))
    (adopted,) = of_type(bench.turn(plan=bench.plan({"a": nodes})).events, PlanAdopted)
    assert why in adopted.refused[0]
    assert bench["a"].current is None


def test_a_grant_against_its_selector_is_refused() -> None:
    bench = Bench([node("n1", zone="a"), node("n2", zone="b")])
    bench.turn(submit(want("a", selector={"zone": "b"})))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    assert bench["a"].current is None


def test_grants_that_together_overfill_a_node_are_kept_as_far_as_they_fit() -> None:
    bench = queue(want("a", cpu=3), want("b", cpu=3), want("c", cpu=1))
    bench.turn(plan=bench.plan({"a": ["n1"], "b": ["n1"], "c": ["n1"]}))
    assert [bench[name].status for name in "abc"] == [Status.STARTING, Status.QUEUED, Status.STARTING]
    assert not bench.last.settled, "another plan may find a place for b"


def test_the_same_plan_twice_grants_once() -> None:
    bench = queue(want("a"))
    plan = bench.plan({"a": ["n1"]})
    bench.turn(plan=plan)
    assert not of_type(bench.turn(plan=plan).events, Granted)
    assert len(bench["a"].attempts) == 1


def test_what_waits_says_why_once() -> None:
    bench = queue(want("a", cpu=99))
    (waits,) = of_type(bench.turn(plan=bench.plan(waiting={"a": Reason.QUOTA})).events, Waits)
    assert (waits.reason, bench["a"].reason) == ("WaitingForQuota", "WaitingForQuota")
    assert not of_type(bench.turn(plan=bench.plan(waiting={"a": Reason.QUOTA})).events, Waits)
    assert of_type(bench.turn(plan=bench.plan(waiting={"a": Reason.CAPACITY})).events, Waits)


# Preemption


def crowded() -> Bench:
    """Return a bench where ``low`` fills n1, ``urgent`` was given its place, and ``low`` was told to yield."""
    bench = queue(want("low", cpu=4, grace_s=10.0))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=3, priority=9)))
    bench.turn(plan=bench.plan({"urgent": ["n1"]}, preempt={"low": ["urgent"]}))
    return bench


def test_a_victim_is_asked_first_and_its_place_is_kept() -> None:
    bench = crowded()
    (order,) = of_type(bench.last.events, PreemptionOrdered)
    assert (order.cause, order.beneficiaries, order.deadline_s) == ("priority", (bench.id("urgent"),), bench.now_s + 10)
    assert bench.last.actions == (Stop(bench.id("low"), 1, "preempt", 10.0),)
    assert (bench["low"].status, bench["low"].reason) == (Status.STOPPING, "PreemptedByPriority")
    assert (bench["urgent"].status, bench["urgent"].reason) == (Status.QUEUED, "WaitingForPreemption")
    assert kept(bench.state, bench.id("urgent")) == ("n1",)
    assert bench.last.ask is None, "there is nothing left to plan"


def test_the_beneficiary_starts_only_when_the_victim_is_gone_and_the_victim_keeps_its_progress() -> None:
    bench = crowded()
    bench.sees("low", Phase.STOPPING, checkpoint="c/7", step=7)
    assert not of_type(bench.turn().events, Granted)
    bench.sees_end("low", Outcome.PREEMPTED, checkpoint="c/8", step=8)
    turn = bench.turn()
    assert [e.workload for e in of_type(turn.events, Granted)] == [bench.id("urgent")]
    assert (bench["low"].status, bench["low"].step) == (Status.PREEMPTED, 8)
    bench.misses("low")
    bench.runs("low", "n2")
    assert bench["low"].attempts[1].resumed_step == 8


def test_a_resumed_attempt_is_launched_from_its_checkpoint() -> None:
    bench = crowded()
    bench.sees_end("low", Outcome.PREEMPTED, checkpoint="c/8", step=8)
    bench.turn()
    bench.misses("low")
    turn = bench.turn(plan=bench.plan({"low": ["n2"]}))
    (launch,) = [a for a in turn.actions if isinstance(a, Launch) and a.work.name == "low"]
    assert (launch.attempt, launch.checkpoint, launch.step) == (2, "c/8", 8)


def test_a_third_one_cannot_take_the_place_that_is_kept() -> None:
    bench = crowded()
    bench.turn(submit(want("thief", cpu=2)), submit(want("honest", cpu=2)))
    bench.turn(plan=bench.plan({"thief": ["n1"], "honest": ["n2"]}))
    assert bench["thief"].status is Status.QUEUED
    assert bench["honest"].status is Status.STARTING
    bench.sees_end("low", Outcome.PREEMPTED)
    bench.turn(plan=bench.plan({"thief": ["n1"]}))
    assert bench["thief"].status is Status.QUEUED
    assert bench["urgent"].status is Status.STARTING


def test_the_planner_sees_the_kept_place_as_taken_and_the_leaving_one_as_gone() -> None:
    bench = crowded()
    turn = bench.turn(submit(want("next")))
    assert turn.ask is not None
    seen = turn.ask.problem
    assert [(r.demand.id, r.nodes, r.demand.preemptible) for r in seen.running] == [
        (bench.id("urgent"), ("n1",), False)
    ]
    assert seen.foreign == {"n1": Resources.parse({"CPU": 1})}, "what the leaving one holds beyond that"


def test_room_beside_a_kept_place_goes_to_others_at_once() -> None:
    bench = crowded()
    bench.turn(submit(want("next")))
    bench.turn(plan=bench.plan({"next": ["n2"]}))
    assert bench["next"].status is Status.STARTING


def test_room_beside_the_leaving_and_the_kept_on_one_node_goes_to_others_at_once() -> None:
    bench = queue(want("low", cpu=4), nodes=[node("n1", cpu=8)])
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=7, priority=9)))
    bench.turn(plan=bench.plan({"urgent": ["n1"]}, preempt={"low": ["urgent"]}))
    bench.turn(submit(want("next", cpu=1)))
    bench.turn(plan=bench.plan({"next": ["n1"]}))
    assert bench["next"].status is Status.STARTING
    bench.sees_end("low", Outcome.PREEMPTED)
    bench.turn()
    assert bench["urgent"].status is Status.STARTING, "and there is room for all of what was kept"


def test_a_victim_that_does_not_listen_is_killed_when_its_grace_ends() -> None:
    bench = crowded()
    bench.sees("low", Phase.STOPPING)
    assert bench.turn(after_s=9.0).actions == ()
    assert bench.last.wake_s == bench.now_s + 1.0
    assert bench.turn().actions == (Kill(bench.id("low"), 1),)
    bench.sees_end("low", Outcome.LOST, error="killed")
    bench.turn()
    assert bench["low"].status is Status.PREEMPTED
    assert bench["low"].failures == 0
    assert bench["urgent"].status is Status.STARTING


def test_a_victim_that_finishes_instead_has_succeeded() -> None:
    bench = crowded()
    bench.sees_end("low")
    bench.turn()
    assert bench["low"].status is Status.SUCCEEDED
    assert bench["urgent"].status is Status.STARTING


def test_a_kept_place_on_a_node_that_leaves_is_given_up_and_planned_anew() -> None:
    bench = crowded()
    bench.nodes.pop(0)
    turn = bench.turn()
    assert kept(bench.state, bench.id("urgent")) == ()
    assert turn.ask is not None
    assert [d.id for d in turn.ask.problem.pending] == [bench.id("low"), bench.id("urgent")]


def test_a_kept_place_that_others_fill_is_given_up() -> None:
    bench = crowded()
    bench.foreign["n1"] = Resources.parse({"CPU": 2})
    bench.sees_end("low", Outcome.PREEMPTED)
    bench.turn()
    assert kept(bench.state, bench.id("urgent")) == ("n1",), "it may be the victim's own, not yet cleared away"
    assert bench.last.wake_s is not None
    bench.turn(after_s=bench.last.wake_s - bench.now_s)
    assert kept(bench.state, bench.id("urgent")) == ()
    assert bench["urgent"].current is None


def test_of_two_kept_places_that_others_have_narrowed_only_one_is_given() -> None:
    bench = queue(want("low", cpu=4))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=2, priority=9)), submit(want("other", cpu=2, priority=9)))
    bench.turn(plan=bench.plan({"urgent": ["n1"], "other": ["n1"]}, preempt={"low": ["urgent", "other"]}))
    bench.sees_end("low", Outcome.PREEMPTED)
    bench.foreign["n1"] = Resources.parse({"CPU": 1})
    bench.turn()
    assert [bench[name].status for name in ("urgent", "other")] == [Status.STARTING, Status.QUEUED]


def test_use_by_others_that_passes_only_delays_the_beneficiary() -> None:
    bench = crowded()
    bench.foreign["n1"] = Resources.parse({"CPU": 2})
    bench.sees_end("low", Outcome.PREEMPTED)
    bench.turn()
    del bench.foreign["n1"]
    bench.turn()
    assert bench["urgent"].status is Status.STARTING


def test_a_beneficiary_that_is_stopped_leaves_its_place_to_others() -> None:
    bench = crowded()
    bench.turn(StopWork(bench.id("urgent")))
    bench.sees_end("low", Outcome.PREEMPTED)
    turn = bench.turn()
    assert bench["urgent"].status is Status.STOPPED
    assert turn.ask is not None
    assert [d.id for d in turn.ask.problem.pending] == [bench.id("low")]
    assert not turn.ask.problem.running


def test_a_victim_still_yields_for_those_that_are_left() -> None:
    bench = queue(want("low", cpu=4))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=2, priority=9)), submit(want("other", cpu=2, priority=9)))
    plan = bench.plan({"urgent": ["n1"], "other": ["n1"]}, preempt={"low": ["other", "urgent"]})
    bench.turn(StopWork(bench.id("other")))
    (order,) = of_type(bench.turn(plan=plan).events, PreemptionOrdered)
    assert order.beneficiaries == (bench.id("urgent"),)


def test_a_beneficiary_waits_for_its_victim_though_its_own_node_is_free() -> None:
    bench = queue(want("low", cpu=4))
    bench.turn(ApplyTenants((tenant("team", limit=(("CPU", 4000),)),)))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=3, priority=9)))
    bench.turn(plan=bench.plan({"urgent": ["n2"]}, preempt={"low": ["urgent"]}))
    assert bench["low"].status is Status.STOPPING
    bench.turn()
    assert bench["urgent"].status is Status.QUEUED, "both at once would be above the tenant's limit"
    bench.sees_end("low", Outcome.PREEMPTED)
    bench.turn()
    assert bench["urgent"].status is Status.STARTING


def test_nobody_yields_for_one_that_gets_nothing() -> None:
    bench = queue(want("low", cpu=4))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=3, priority=9)))
    plan = bench.plan({"urgent": ["n1"]}, preempt={"low": ["urgent"]})
    bench.turn(StopWork(bench.id("urgent")))
    bench.turn(plan=plan)
    assert bench["low"].status is Status.RUNNING


def end(bench: Bench) -> None:
    bench.sees_end("low")
    bench.turn()


def stop_low(bench: Bench) -> None:
    bench.turn(StopWork(bench.id("low")))


VICTIMS: dict[str, Callable[[Bench], None]] = {"has ended": end, "is being stopped": stop_low}


@pytest.mark.parametrize("name", VICTIMS)
def test_no_second_order_for_a_victim_that(name: str) -> None:
    bench = queue(want("low", cpu=4))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=3, priority=9)))
    plan = bench.plan({"urgent": ["n1"]}, preempt={"low": ["urgent"]})
    VICTIMS[name](bench)
    assert not of_type(bench.turn(plan=plan).events, PreemptionOrdered)


def test_what_may_not_be_preempted_is_not() -> None:
    bench = queue(want("low", cpu=4, preemptible=False))
    bench.runs("low", "n1")
    bench.turn(submit(want("urgent", cpu=3, priority=9)))
    bench.turn(plan=bench.plan({"urgent": ["n1"]}, preempt={"low": ["urgent"]}))
    assert bench["low"].status is Status.RUNNING
    assert bench["urgent"].status is Status.QUEUED


def test_a_plan_that_the_judge_objects_to_displaces_nobody() -> None:
    bench = queue(want("high", cpu=4, priority=9))
    bench.runs("high", "n1")
    bench.turn(submit(want("low", cpu=3)))
    bench.turn(plan=bench.plan({"low": ["n1"]}, preempt={"high": ["low"]}))
    assert bench["high"].status is Status.RUNNING
    assert "law" in bench.state.plan.refused[0]  # type: ignore[union-attr]  # there is a plan


# Asking


def test_a_plan_that_was_adopted_whole_settles_its_question() -> None:
    bench = queue(want("a"), want("b", cpu=99))
    turn = bench.turn(plan=bench.plan({"a": ["n1"]}, waiting={"b": Reason.CAPACITY}))
    assert turn.settled


def test_a_planner_that_failed_settles_nothing() -> None:
    bench = queue(want("a"))
    turn = bench.turn(plan=replace(bench.plan(), failed=True))
    assert not turn.settled
    assert turn.ask is not None


def test_a_plan_for_an_older_question_does_not_settle_the_new_one() -> None:
    bench = queue(want("a"))
    plan = bench.plan({"a": ["n1"]})
    bench.turn(submit(want("b")))
    turn = bench.turn(plan=plan)
    assert bench["a"].status is Status.STARTING
    assert not turn.settled
    assert turn.ask is not None
