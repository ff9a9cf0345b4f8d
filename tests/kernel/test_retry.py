"""What failed is tried again in its place: finished stages stay, and what needs it waits for the new one."""

from __future__ import annotations

import pytest

from aios.kernel.events import Outcome
from aios.kernel.ports import Accepted, Refused, Retry
from aios.kernel.state import Status
from tests.support.bench import Bench
from tests.support.building import submit, want


def failed_in_the_middle() -> Bench:
    bench = Bench()
    bench.turn(submit(want("first"), want("second", needs=("first",)), want("third", needs=("second",))))
    bench.runs("first", "n1")
    bench.sees_end("first", Outcome.SUCCEEDED)
    bench.turn()
    bench.runs("second", "n1")
    bench.sees_end("second", Outcome.FAILED, error="boom")
    bench.turn()
    bench.turn()
    assert [bench[name].status for name in ("first", "second", "third")] == [
        Status.SUCCEEDED,
        Status.FAILED,
        Status.FAILED,
    ]
    return bench


def everything(bench: Bench) -> tuple[str, ...]:
    return tuple(bench.id(name) for name in ("first", "second", "third"))


def test_a_pipeline_goes_on_from_the_stage_that_failed() -> None:
    bench = failed_in_the_middle()
    before = everything(bench)
    reply = bench.ask(Retry(before))  # type: ignore[arg-type]  # ids
    assert isinstance(reply, Accepted)
    assert bench.id("first") == before[0], "what succeeded stays"
    assert bench.id("second") in reply.ids
    assert bench["second"].work.needs == (before[0],)
    assert bench["third"].work.needs == (bench.id("second"),)
    bench.attempts.clear()
    bench.runs("second", "n1")
    bench.sees_end("second", Outcome.SUCCEEDED)
    bench.turn()
    bench.runs("third", "n2")
    assert bench["third"].status is Status.RUNNING


@pytest.mark.parametrize("code, tries_again", [(1, True), (None, True), (106, False)])
def test_a_failure_that_every_attempt_would_come_to_is_not_tried_again(code: int | None, tries_again: bool) -> None:
    bench = Bench()
    bench.turn(submit(want("train", max_retries=3)))
    bench.runs("train", "n1")
    bench.sees_end("train", Outcome.FAILED, error="the loss is nan", exit_code=code)
    bench.turn()
    bench.turn()
    assert (bench["train"].status is Status.QUEUED) is tries_again
    assert tries_again or bench["train"].message == "the loss is nan"


def test_all_of_it_runs_again_where_nothing_is_to_be_reused() -> None:
    bench = failed_in_the_middle()
    before = everything(bench)
    reply = bench.ask(Retry(before, afresh=True))  # type: ignore[arg-type]  # ids
    assert isinstance(reply, Accepted)
    assert not set(before) & set(reply.ids)
    assert bench["second"].work.needs == (bench.id("first"),)


def test_what_goes_on_or_was_tried_again_already_is_refused() -> None:
    bench = failed_in_the_middle()
    before = everything(bench)
    assert isinstance(bench.ask(Retry(before)), Accepted)  # type: ignore[arg-type]  # ids
    again = bench.ask(Retry(before))  # type: ignore[arg-type]  # ids
    assert isinstance(again, Refused)
    assert "submitted again already" in again.message
    going = bench.ask(Retry(everything(bench)))  # type: ignore[arg-type]  # ids
    assert isinstance(going, Refused)
    assert "nothing to try again" in going.message
