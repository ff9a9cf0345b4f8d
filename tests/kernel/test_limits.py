"""A workload runs no longer than it may, and one that is late says so once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aios.kernel.actions import Kill, Stop
from aios.kernel.events import AttemptEnded, DeadlineMissed, Finished, Limits, Outcome, TimeLimitReached
from aios.kernel.limits import duration
from aios.kernel.ports import Accepted, ApplyTenants, NewWork, Phase, Refused, StopWork
from aios.kernel.state import Status
from tests.support.bench import Bench, of_type
from tests.support.building import submit, want


def limited(limit_s: float = 100.0, grace_s: float = 30.0, **others: object) -> Bench:
    bench = Bench()
    bench.turn(submit(want("a", time_limit_s=limit_s, grace_s=grace_s, **others)))  # type: ignore[arg-type]  # a spec's
    bench.runs("a", "n1")
    return bench


def started_s(bench: Bench) -> float:
    attempt = bench["a"].attempts[-1]
    assert attempt.started_s is not None
    return attempt.started_s


def go_to(bench: Bench, at_s: float) -> None:
    bench.turn(after_s=at_s - bench.now_s)


def test_it_is_told_a_grace_before_and_has_ended_at_its_limit() -> None:
    bench = limited()
    began_s = started_s(bench)
    assert bench.last.wake_s == began_s + 70.0, "the control plane looks then"
    go_to(bench, began_s + 69.0)
    assert bench["a"].status is Status.RUNNING
    go_to(bench, began_s + 70.0)
    (told,) = of_type(bench.last.events, TimeLimitReached)
    assert (told.limit_s, told.deadline_s) == (100.0, began_s + 100.0)
    assert [(action.why, action.grace_s) for action in bench.last.actions if isinstance(action, Stop)] == [
        ("preempt", 30.0)
    ]
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPING, "TimeLimit")
    assert not of_type(bench.turn().events, TimeLimitReached), "said once"
    go_to(bench, began_s + 100.0)
    assert [action for action in bench.last.actions if isinstance(action, Kill)]
    bench.sees_end("a", Outcome.LOST, checkpoint="c/9", step=9)
    bench.turn()
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "TimeLimit")
    assert bench["a"].attempts[-1].outcome is Outcome.OUT_OF_TIME
    assert "step 9" in bench["a"].message
    assert bench["a"].failures == 0


def test_it_is_not_tried_again_though_retries_are_left() -> None:
    bench = limited(max_retries=5)
    go_to(bench, started_s(bench) + 70.0)
    bench.sees_end("a", Outcome.PREEMPTED)
    bench.turn(after_s=40.0)
    assert bench["a"].status is Status.FAILED
    assert len(bench["a"].attempts) == 1


def test_what_is_done_in_the_last_moment_has_succeeded() -> None:
    bench = limited()
    go_to(bench, started_s(bench) + 70.0)
    bench.sees_end("a")
    bench.turn()
    assert bench["a"].status is Status.SUCCEEDED


def test_a_user_who_stops_it_meanwhile_has_stopped_it() -> None:
    bench = limited()
    go_to(bench, started_s(bench) + 70.0)
    bench.turn(StopWork(bench.id("a")))
    bench.sees_end("a", Outcome.STOPPED)
    bench.turn()
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPED, "StoppedByUser")


def test_only_running_counts_and_all_attempts_count_together() -> None:
    bench = limited()
    began_s = started_s(bench)
    go_to(bench, began_s + 40.0)
    bench.misses("a")
    bench.turn()
    assert bench["a"].attempts[-1].outcome is Outcome.LOST
    ran_s = bench["a"].ran_s
    bench.turn(after_s=1_000.0)
    bench.runs("a", "n2")
    go_to(bench, started_s(bench) + 100.0 - ran_s - 30.0)
    assert bench["a"].status is Status.STOPPING


def test_a_short_limit_has_a_notice_of_half_of_it() -> None:
    bench = limited(limit_s=20.0)
    began_s = started_s(bench)
    go_to(bench, began_s + 9.0)
    assert bench["a"].status is Status.RUNNING
    go_to(bench, began_s + 10.0)
    assert bench["a"].status is Status.STOPPING


def test_a_control_plane_that_was_away_gives_notice_all_the_same() -> None:
    bench = limited()
    go_to(bench, started_s(bench) + 500.0)
    (told,) = of_type(bench.last.events, TimeLimitReached)
    assert told.deadline_s == bench.now_s + 30.0


def test_what_has_used_its_time_and_waits_does_not_start_again() -> None:
    bench = limited(limit_s=40.0, grace_s=1.0, max_retries=3)
    bench.sees_end("a", Outcome.FAILED, error="boom")
    bench.turn(after_s=39.0)
    bench.turn(after_s=5.0)
    bench.runs("a", "n1")
    go_to(bench, started_s(bench) + 0.9)
    bench.sees_end("a", Outcome.FAILED, error="boom")
    bench.turn(after_s=200.0)
    bench.turn(after_s=1.0)
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "TimeLimit")


def test_work_without_a_limit_of_its_own_has_its_tenants_and_no_more_is_given() -> None:
    bench = Bench()
    team = bench.state.tenants["team"]  # type: ignore[index]  # an id is text
    assert isinstance(bench.ask(ApplyTenants((team,), limits=(Limits("team", time_limit_s=60.0),))), Accepted)
    bench.turn(submit(want("a"), want("b", time_limit_s=50.0)))
    assert bench["a"].work.time_limit_s == 60.0
    assert bench["b"].work.time_limit_s == 50.0
    refused = bench.ask(submit(want("c", time_limit_s=61.0)))
    assert isinstance(refused, Refused)
    assert "1 min 1 s" in refused.message
    assert "team" in refused.message


def test_the_planner_knows_that_nothing_runs_longer_than_its_limit() -> None:
    bench = Bench()
    works = (want("a", time_limit_s=50.0, estimate_s=None), want("b", time_limit_s=50.0, estimate_s=20.0))
    bench.turn(submit(*works, want("c", time_limit_s=50.0, estimate_s=90.0)))
    assert [bench[name].work.demand.runtime_s for name in "abc"] == [50.0, 20.0, 50.0]


def due(deadline_s: float, on_deadline: str = "warn", estimate_s: float | None = None) -> NewWork:
    work = want("a", estimate_s=estimate_s, on_deadline=on_deadline, grace_s=10.0)
    return replace(work, demand=replace(work.demand, deadline_s=deadline_s))


def test_a_deadline_that_passes_is_said_once_and_work_goes_on() -> None:
    bench = Bench()
    bench.turn(submit(due(50.0)))
    bench.runs("a", "n1")
    assert bench.last.wake_s == bench["a"].work.demand.deadline_s
    turn = bench.turn(after_s=60.0)
    (missed,) = of_type(turn.events, DeadlineMissed)
    assert (missed.expected_s, missed.stop) == (None, False)
    assert "passed" in bench["a"].late
    assert not of_type(bench.turn(after_s=60.0).events, DeadlineMissed)
    assert bench["a"].status is Status.RUNNING


def test_a_deadline_that_cannot_be_met_any_more_is_said_before_it_passes() -> None:
    bench = Bench()
    bench.turn(submit(due(100.0, estimate_s=80.0)))
    bench.turn(after_s=19.0)
    assert not bench["a"].late
    turn = bench.turn(after_s=10.0)
    (missed,) = of_type(turn.events, DeadlineMissed)
    assert missed.expected_s is not None
    assert missed.expected_s > missed.deadline_s
    assert "at the earliest" in bench["a"].late
    assert not of_type(bench.turn(after_s=5.0).events, DeadlineMissed), "said once"
    (passed,) = of_type(bench.turn(after_s=200.0).events, DeadlineMissed)
    assert passed.expected_s is None


def test_waiting_work_that_is_to_stop_at_its_deadline_fails_there() -> None:
    bench = Bench()
    bench.turn(submit(due(50.0, "stop")))
    bench.turn(after_s=60.0)
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "DeadlineMissed")


def test_running_work_that_is_to_stop_at_its_deadline_saves_its_progress_first() -> None:
    bench = Bench()
    bench.turn(submit(due(50.0, "stop")))
    bench.runs("a", "n1")
    turn = bench.turn(after_s=60.0)
    assert [action.grace_s for action in turn.actions if isinstance(action, Stop)] == [10.0]
    bench.sees_end("a", Outcome.PREEMPTED)
    turn = bench.turn()
    assert of_type(turn.events, AttemptEnded)[0].outcome is Outcome.OUT_OF_TIME
    assert [event.reason for event in of_type(turn.events, Finished)] == ["DeadlineMissed"]


def test_what_ended_before_its_deadline_is_never_late() -> None:
    bench = Bench()
    bench.turn(submit(due(50.0, "stop")))
    bench.runs("a", "n1")
    bench.sees_end("a")
    bench.turn()
    assert not of_type(bench.turn(after_s=100.0).events, DeadlineMissed)
    assert bench["a"].status is Status.SUCCEEDED


def test_a_service_has_a_time_limit_too() -> None:
    bench = limited(service=True)
    bench.sees("a", Phase.READY)
    go_to(bench, started_s(bench) + 70.0)
    assert bench["a"].reason == "TimeLimit"


@pytest.mark.parametrize(
    "seconds, text",
    [(0.5, "0.5 s"), (59.0, "59 s"), (60.0, "1 min"), (61.0, "1 min 1 s"), (7_200.0, "2 h"), (90_061.0, "1 d 1 h")],
)
def test_lengths_of_time_are_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
