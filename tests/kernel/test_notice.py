"""What is observed becomes facts: once, of the attempt that is open, and absence only where it proves something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aios.kernel.actions import Forget, Kill, Launch
from aios.kernel.events import (
    Artefact,
    AttemptEnded,
    AttemptReady,
    AttemptStarted,
    CheckpointSaved,
    Finished,
    NodeChanged,
    Outcome,
    PlacementDiffered,
    Published,
)
from aios.kernel.limits import START_S
from aios.kernel.notice import differs
from aios.kernel.ports import Accepted, Phase, StopWork
from aios.kernel.state import Status
from placement.model import NodeState
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, want


def running(*nodes: str, **others: object) -> Bench:
    """Return a bench where ``a`` runs on the nodes."""
    bench = Bench()
    bench.turn(submit(want("a", len(nodes) or 1, **others)))  # type: ignore[arg-type]  # fields of NewWork
    bench.runs("a", *(nodes or ("n1",)))
    return bench


def test_nodes_join_change_leave_and_come_back() -> None:
    bench = Bench()
    bench.nodes.append(node("n3"))
    assert [e.node.id for e in of_type(bench.turn().events, NodeChanged)] == ["n3"]
    bench.nodes[2] = node("n3", state=NodeState.DRAINING)
    assert [e.node.state for e in of_type(bench.turn().events, NodeChanged)] == [NodeState.DRAINING]
    bench.nodes.pop()
    assert [e.node.state for e in of_type(bench.turn().events, NodeChanged)] == [NodeState.DOWN]
    assert not bench.turn().events, "a node that is gone is gone once"
    bench.nodes.append(node("n3"))
    bench.turn()
    assert bench.state.nodes[bench.nodes[2].id].state is NodeState.READY


def test_a_node_that_an_incomplete_answer_leaves_out_is_not_gone() -> None:
    bench = running("n1")
    bench.nodes, bench.complete = [], False
    assert not bench.turn().events


def test_an_attempt_runs_where_it_is_seen_to_run() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    assert bench["a"].status is Status.STARTING
    bench.sees("a", Phase.LAUNCHING, nodes=())
    assert not bench.turn().events
    bench.sees("a", Phase.RUNNING, nodes=())
    assert [e.nodes for e in of_type(bench.turn().events, AttemptStarted)] == [()]
    started_s = bench.now_s
    bench.sees("a", Phase.RUNNING)
    assert [e.nodes for e in of_type(bench.turn().events, AttemptStarted)] == [("n1",)]
    assert not bench.turn().events, "a level that stays is no news"
    attempt = bench["a"].attempt
    assert attempt is not None
    assert (bench["a"].status, attempt.started_s, attempt.actual) == (Status.RUNNING, started_s, ("n1",))


def test_a_worker_elsewhere_than_planned_is_said_once() -> None:
    bench = running("n1")
    bench.sees("a", nodes=("n2",))
    assert [(e.planned, e.actual) for e in of_type(bench.turn().events, PlacementDiffered)] == [(("n1",), ("n2",))]
    assert not of_type(bench.turn().events, PlacementDiffered)


@pytest.mark.parametrize(
    "planned, actual, expected",
    [
        ("ab", "ab", False),
        ("ab", "ba", False),
        ("aab", "abb", True),
        ("ab", "a", False),
        ("ab", "", False),
        ("ab", "c", True),
        ("ab", "aabb", False),
        ("ab", "abc", True),
    ],
)
def test_differs_where_a_worker_has_no_bundle(planned: str, actual: str, expected: bool) -> None:
    assert differs(tuple(planned), tuple(actual)) is expected  # type: ignore[arg-type]  # node ids


def test_a_worker_on_a_node_that_holds_no_work_is_said_and_costs_nothing() -> None:
    bench = running("n1", "n2")
    bench.sees("a", nodes=("n1", "head"))
    (differed,) = of_type(bench.turn().events, PlacementDiffered)
    assert differed.actual == ("n1", "head")
    assert not bench.turn().events
    assert bench["a"].status is Status.RUNNING


def test_a_node_under_a_stray_worker_that_goes_down_ends_the_attempt() -> None:
    bench = running("n1")
    bench.sees("a", nodes=("n2",))
    bench.turn()
    bench.nodes.pop()
    assert of_type(bench.turn().events, AttemptEnded)[0].outcome is Outcome.LOST


@pytest.mark.parametrize("seen", [None, Phase.LAUNCHING])
def test_an_attempt_that_does_not_start_gives_up_its_place_in_the_end(seen: Phase | None) -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    if seen is not None:
        bench.sees("a", seen, nodes=())
    assert not bench.turn(after_s=START_S - 1.0).events
    assert bench.last.wake_s == bench.now_s + 1.0
    bench.complete = False
    assert not bench.turn().events, "the cluster does not answer: it may run"
    bench.complete = True
    (end,) = of_type(bench.turn().events, AttemptEnded)
    assert (end.outcome, end.error) == (Outcome.LOST, "it did not start within 600 s")
    assert bench["a"].status is Status.QUEUED
    assert bench.last.actions == (() if seen is None else (Kill(bench.id("a"), 1), Forget(bench.id("a"), 1)))


def test_an_attempt_that_started_late_but_started_is_left_alone() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.sees("a")
    bench.turn(after_s=START_S + 1.0)
    assert bench["a"].status is Status.RUNNING
    assert bench.last.wake_s is None


def test_progress_is_kept_and_never_falls() -> None:
    bench = running("n1")
    bench.sees("a", checkpoint="c/5", step=5)
    assert [(e.uri, e.step) for e in of_type(bench.turn().events, CheckpointSaved)] == [("c/5", 5)]
    bench.sees("a", checkpoint="c/3", step=3)
    assert not bench.turn().events
    assert (bench["a"].checkpoint, bench["a"].step) == ("c/5", 5)


def test_the_word_of_an_old_attempt_counts_for_nothing() -> None:
    bench = running("n1", max_retries=3)
    old = bench.attempts["a"]
    bench.misses("a")
    bench.turn()
    assert bench["a"].status is Status.QUEUED
    bench.turn(plan=bench.plan({"a": ["n2"]}))
    bench.sees("a")
    bench.attempts["old"] = replace(old, phase=Phase.ENDED, outcome=Outcome.SUCCEEDED, checkpoint="evil", step=99)
    turn = bench.turn()
    assert not of_type(turn.events, (AttemptEnded, CheckpointSaved, Finished))  # type: ignore[arg-type]  # a tuple
    assert Forget(bench.id("a"), 1) in turn.actions
    assert bench["a"].status is Status.RUNNING


def test_a_name_of_ours_under_a_wrong_fence_is_killed_and_started_again() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.sees("a", fence=77)
    turn = bench.turn()
    kinds = [type(action) for action in turn.actions]
    assert kinds == [Kill, Forget, Launch]
    assert bench["a"].status is Status.STARTING


def test_an_attempt_that_nobody_knows_is_swept() -> None:
    bench = running("n1")
    bench.attempts["ghost"] = replace(bench.attempts["a"], workload="ghost-1234")  # type: ignore[arg-type]  # an id
    turn = bench.turn()
    assert turn.actions == (Kill("ghost-1234", 1), Forget("ghost-1234", 1))  # type: ignore[arg-type]  # an id
    assert not turn.events


def test_a_running_attempt_that_is_absent_is_lost_and_waits_again() -> None:
    bench = running("n1")
    bench.misses("a")
    (end,) = of_type(bench.turn().events, AttemptEnded)
    assert end.outcome is Outcome.LOST
    assert (bench["a"].status, bench["a"].reason) == (Status.QUEUED, "NodeLost")


def test_absence_in_an_incomplete_answer_proves_nothing() -> None:
    bench = running("n1")
    bench.misses("a")
    bench.complete = False
    turn = bench.turn()
    assert not turn.events
    assert not turn.actions


def test_absence_in_an_incomplete_answer_does_not_end_what_was_told_to_stop() -> None:
    bench = running("n1")
    bench.turn(StopWork(bench.id("a")))
    bench.misses("a")
    bench.complete = False
    assert not bench.turn().events
    bench.complete = True
    bench.turn()
    assert bench["a"].status is Status.STOPPED


def test_a_granted_attempt_that_is_absent_is_launched_again() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    first = bench.turn(plan=bench.plan({"a": ["n1"]})).actions
    second = bench.turn().actions
    assert first == second
    assert [type(action) for action in first] == [Launch]
    bench.sees("a", Phase.LAUNCHING)
    assert not bench.turn().actions


def test_a_lost_node_ends_the_whole_gang() -> None:
    bench = running("n1", "n2")
    bench.nodes.pop()
    turn = bench.turn()
    (end,) = of_type(turn.events, AttemptEnded)
    assert end.outcome is Outcome.LOST
    assert "n2" in end.error
    assert turn.actions == (Kill(bench.id("a"), 1), Forget(bench.id("a"), 1)), "the surviving worker goes too"


def test_a_lost_node_ends_an_attempt_that_was_still_starting() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n2"]}))
    bench.nodes.pop()
    assert of_type(bench.turn().events, AttemptEnded)[0].outcome is Outcome.LOST


def test_a_success_that_was_reported_before_the_node_went_counts() -> None:
    bench = running("n1")
    bench.sees_end("a")
    bench.nodes.pop(0)
    bench.turn()
    assert bench["a"].status is Status.SUCCEEDED


def test_a_failure_with_its_node_gone_is_no_failure_of_the_user() -> None:
    bench = running("n1")
    bench.sees_end("a", Outcome.FAILED, error="ConnectionError")
    bench.nodes.pop(0)
    bench.turn()
    assert bench["a"].status is Status.QUEUED


def test_an_end_may_be_seen_before_the_start_was() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.sees_end("a")
    bench.turn()
    assert bench["a"].status is Status.SUCCEEDED
    assert bench["a"].attempt.actual == ("n1",)  # type: ignore[union-attr]  # it has one


def test_what_ended_is_forgotten_once_it_is_recorded() -> None:
    bench = running("n1")
    bench.sees_end("a")
    assert bench.turn().actions == (Forget(bench.id("a"), 1),)
    bench.misses("a")
    turn = bench.turn()
    assert not turn.events
    assert not turn.actions


def test_what_succeeded_is_published_under_the_next_version() -> None:
    bench = running("n1", outputs=(("out", "dataset://digits"),))
    made = Artefact("dataset", "digits", "file:///d1")
    bench.sees_end("a", artefacts=(made, Artefact("report", "scores", "file:///r")))
    (published,) = of_type(bench.turn().events, Published)
    assert (published.version, published.artefact, published.workload) == (1, made, bench.id("a"))
    bench.turn(submit(want("b")))
    bench.runs("b", "n1")
    bench.sees_end("b", artefacts=(replace(made, uri="file:///d2"),))
    assert of_type(bench.turn().events, Published)[0].version == 2


def test_what_failed_publishes_nothing() -> None:
    bench = running("n1")
    bench.sees_end("a", Outcome.FAILED, artefacts=(Artefact("dataset", "digits", "file:///d1"),))
    assert not of_type(bench.turn().events, Published)


def test_a_service_that_answers_is_ready_once_and_publishes_its_model() -> None:
    bench = running("n1", service=True)
    artefacts = (Artefact("endpoint", "a", "http://x"), Artefact("model", "m", "file:///m"))
    bench.sees("a", Phase.READY, artefacts=artefacts)
    events = bench.turn().events
    assert len(of_type(events, AttemptReady)) == 1
    assert [e.artefact.name for e in of_type(events, Published)] == ["m"]
    assert bench["a"].ready
    assert not bench.turn().events


def test_what_a_service_published_when_it_was_ready_is_not_published_again_when_it_ends() -> None:
    bench = running("n1", service=True)
    artefacts = (Artefact("model", "m", "file:///m"),)
    bench.sees("a", Phase.READY, artefacts=artefacts)
    bench.turn()
    bench.sees_end("a", artefacts=artefacts)
    assert not of_type(bench.turn().events, Published)
    assert bench["a"].status is Status.SUCCEEDED


def test_a_service_that_is_lost_is_not_ready_until_it_answers_again() -> None:
    bench = running("n1", service=True)
    bench.sees("a", Phase.READY)
    bench.turn()
    bench.misses("a")
    bench.turn()
    assert not bench["a"].ready
    bench.runs("a", "n2")
    assert not bench["a"].ready


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.LOST, Outcome.FAILED, Outcome.PREEMPTED])
def test_however_an_attempt_that_was_asked_to_stop_ends_it_is_stopped(outcome: Outcome) -> None:
    bench = running("n1", max_retries=3)
    bench.turn(StopWork(bench.id("a")))
    bench.sees_end("a", outcome)
    bench.turn()
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPED, "StoppedByUser")


def test_an_attempt_that_finished_before_it_heard_the_stop_has_succeeded() -> None:
    bench = running("n1")
    bench.turn(StopWork(bench.id("a")))
    bench.sees_end("a")
    bench.turn()
    assert bench["a"].status is Status.SUCCEEDED


def test_a_service_that_ends_well_after_it_was_asked_to_stop_is_stopped() -> None:
    bench = running("n1", service=True)
    bench.turn(StopWork(bench.id("a")))
    bench.sees_end("a")
    bench.turn()
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPED, "StoppedByUser")


def test_a_stop_that_is_asked_twice_is_recorded_once() -> None:
    bench = running("n1", grace_s=20.0)
    assert bench.ask(StopWork(bench.id("a"))) == Accepted((bench.id("a"),))
    attempt = bench["a"].attempt
    assert bench.ask(StopWork(bench.id("a"))) == Accepted((bench.id("a"),), existing=True)
    assert not bench.last.events
    assert bench["a"].attempt == attempt


def test_a_stop_of_what_was_never_launched_ends_at_the_next_look() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.turn(StopWork(bench.id("a")))
    bench.turn()
    assert bench["a"].status is Status.STOPPED
