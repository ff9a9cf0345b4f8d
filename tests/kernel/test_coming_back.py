"""After a failure or a loss: how often, how soon, and from which checkpoint."""

from __future__ import annotations

import pytest

from aios.kernel.actions import Launch
from aios.kernel.events import Finished, Outcome, Requeued, ResumedFrom
from aios.kernel.retry import LONGEST_DELAY_S, MOST_LOST, backoff_s
from aios.kernel.state import Status
from placement.planners.ladder import plan as ladder
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, want


def again(bench: Bench, outcome: Outcome, **seen: object) -> float:
    """Run the next attempt to an end; return how long it has to wait then."""
    bench.attempts.clear()
    bench.turn(after_s=LONGEST_DELAY_S + 1.0)
    bench.runs("a", "n1")
    if seen:
        bench.sees("a", **seen)
        bench.turn()
    bench.sees_end("a", outcome, error="gone", **seen)
    turn = bench.turn()
    follows = of_type(turn.events, Requeued)
    return max(0.0, follows[0].not_before_s - bench.now_s) if follows else -1.0


@pytest.mark.parametrize("n, expected", [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (1_000, 300.0)])
def test_each_wait_is_twice_the_one_before_up_to_a_limit(n: int, expected: float) -> None:
    assert backoff_s(n) == expected


def test_losses_do_not_count_against_the_retries_of_a_workload() -> None:
    bench = Bench()
    bench.turn(submit(want("a", max_retries=1)))
    assert [again(bench, Outcome.LOST) for _ in range(4)] == [0.0, 1.0, 2.0, 4.0]
    assert again(bench, Outcome.FAILED) == 1.0
    assert again(bench, Outcome.FAILED) == -1.0
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "RetriesExhausted")


def test_what_is_only_ever_lost_ends_some_time() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    for _ in range(MOST_LOST - 1):
        assert again(bench, Outcome.LOST) >= 0.0
    again(bench, Outcome.LOST)
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "LostTooOften")
    assert f"{MOST_LOST} times in a row without progress" in bench["a"].message


def test_progress_between_losses_begins_the_count_anew() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    for _ in range(MOST_LOST - 1):
        again(bench, Outcome.LOST)
    again(bench, Outcome.LOST, checkpoint="c/1", step=1)
    assert bench["a"].status is Status.QUEUED
    assert again(bench, Outcome.LOST) >= 0.0
    assert bench["a"].status is Status.QUEUED


def test_all_attempts_together_may_have_a_limit() -> None:
    bench = Bench()
    bench.turn(submit(want("a", max_retries=100, max_attempts=3)))
    again(bench, Outcome.LOST)
    again(bench, Outcome.FAILED)
    again(bench, Outcome.FAILED)
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "AttemptsExhausted")
    assert "1 of them lost" in bench["a"].message


def test_what_failed_on_a_node_is_tried_on_others_first() -> None:
    bench = Bench()
    bench.turn(submit(want("a", max_retries=9)))
    again(bench, Outcome.FAILED)
    bench.attempts.clear()
    asked = bench.turn(after_s=LONGEST_DELAY_S).ask
    assert asked is not None
    (pending,) = asked.problem.pending
    assert pending.near == ("n2",)
    assert ladder(asked.problem).grants[0].nodes == ("n2",)


def test_where_there_is_no_other_node_it_is_tried_there_again() -> None:
    bench = Bench([node("n1")])
    bench.turn(submit(want("a", max_retries=9)))
    again(bench, Outcome.FAILED)
    bench.attempts.clear()
    asked = bench.turn(after_s=LONGEST_DELAY_S).ask
    assert asked is not None
    assert ladder(asked.problem).grants[0].nodes == ("n1",)


def saved_twice(bench: Bench) -> None:
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    for step in (4, 8):
        bench.sees("a", checkpoint=f"c/{step}", step=step)
        bench.turn()
    bench.misses("a")
    bench.turn()
    bench.runs("a", "n2")


def test_the_next_attempt_is_given_its_latest_checkpoint_and_the_one_before() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    for step in (4, 8):
        bench.sees("a", checkpoint=f"c/{step}", step=step)
        bench.turn()
    bench.misses("a")
    bench.turn()
    turn = bench.turn(plan=bench.plan({"a": ["n2"]}))
    (launch,) = [action for action in turn.actions if isinstance(action, Launch)]
    assert (launch.checkpoint, launch.step) == ("c/8", 8)
    assert (launch.before_checkpoint, launch.before_step) == ("c/4", 4)


def test_a_checkpoint_that_cannot_be_read_is_said_and_what_follows_counts_from_the_one_before() -> None:
    bench = Bench()
    saved_twice(bench)
    bench.sees("a", checkpoint="", step=0, resumed="c/4", resumed_step=4, resumed_why="c/8 is torn")
    turn = bench.turn()
    (fell,) = of_type(turn.events, ResumedFrom)
    assert (fell.uri, fell.step, fell.why) == ("c/4", 4, "c/8 is torn")
    assert not of_type(bench.turn().events, ResumedFrom), "said once"
    assert (bench["a"].checkpoint, bench["a"].step) == ("c/4", 4)
    assert bench["a"].attempts[-1].fell_back == "c/8 is torn"
    bench.sees("a", checkpoint="c/6", step=6, resumed="c/4", resumed_step=4)
    bench.turn()
    assert (bench["a"].checkpoint, bench["a"].before_checkpoint) == ("c/6", "c/4")


def test_where_no_checkpoint_can_be_read_it_begins_anew() -> None:
    bench = Bench()
    saved_twice(bench)
    bench.sees("a", resumed="", resumed_why="both are gone")
    bench.turn()
    assert (bench["a"].checkpoint, bench["a"].step) == ("", 0)
    bench.sees_end("a", checkpoint="c/1", step=1, resumed="", resumed_why="both are gone")
    assert [event.status for event in of_type(bench.turn().events, Finished)] == ["SUCCEEDED"]
