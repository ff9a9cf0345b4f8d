"""What has been done just so before is not done again, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from aios.kernel.events import Artefact, Outcome, Retired, Reused, Work
from aios.kernel.evolve import evolve
from aios.kernel.inputs import resolved
from aios.kernel.ports import Accepted, NewWork, RemoveVersions, Retry
from aios.kernel.state import Status
from tests.support.bench import Bench, of_type
from tests.support.building import submit, want

RETIRES = [False]
LEFT: list[Work] = []
"""The work of what was retired, as the log has it."""


@pytest.fixture(autouse=True, params=[False, True], ids=["in the state", "retired"])
def _retires(request: pytest.FixtureRequest) -> None:
    """Whatever has left the state since, the answers are the same."""
    RETIRES[0] = request.param
    LEFT.clear()


def stages(cache: bool = True, rerun: bool = False, last: str = "") -> tuple[NewWork, ...]:
    common: dict[str, Any] = {"cache": cache, "rerun": rerun, "pipeline": "p"}
    return (
        want("first", inputs=(("data", "dataset://raw"),), outputs=(("out", "dataset://clean"),), **common),
        want(
            "second", needs=("first",), inputs=(("data", "dataset://clean"),), outputs=(("m", "model://m"),), **common
        ),
        want("third", needs=("second",), inputs=(("model", "model://m"),), content=last, **common),
    )


def makes(bench: Bench, name: str, *made: tuple[str, str], outcome: Outcome = Outcome.SUCCEEDED) -> None:
    """Run one workload to its end, with what it publishes."""
    bench.attempts.clear()
    bench.runs(name, "n1")
    number = bench[name].attempts[-1].number
    artefacts = tuple(Artefact(kind, what, f"/s/{what}/{bench.id(name)}-{number}") for kind, what in made)
    bench.sees_end(name, outcome, artefacts=artefacts)
    bench.turn()


def done(fail_last: bool = False) -> Bench:
    """A pipeline of three that has run, the last stage perhaps in vain."""
    bench = Bench()
    raw(bench)
    bench.turn(submit(*stages()))
    makes(bench, "first", ("dataset", "clean"))
    makes(bench, "second", ("model", "m"))
    makes(bench, "third", outcome=Outcome.FAILED if fail_last else Outcome.SUCCEEDED)
    bench.turn()
    if RETIRES[0]:
        LEFT.extend(workload.work for workload in bench.state.workloads.values())
        bench.state = evolve(Retired(bench.now_s, tuple(bench.state.workloads)), bench.state)
    return bench


def raw(bench: Bench, name: str = "source") -> None:
    """Publish a version of what comes from outside the pipeline."""
    bench.turn(submit(want(name, outputs=(("out", "dataset://raw"),))))
    makes(bench, name, ("dataset", "raw"))


def statuses(bench: Bench) -> list[Status]:
    return [bench[name].status for name in ("first", "second", "third")]


def test_a_changed_stage_runs_and_those_before_it_stand_as_they_are() -> None:
    bench = done()
    before = [bench.id(name) for name in ("first", "second", "third")]
    turn = bench.turn(submit(*stages(rerun=True, last="changed")))
    assert [event.source for event in of_type(turn.events, Reused)] == before[:2]
    assert statuses(bench) == [Status.SUCCEEDED, Status.SUCCEEDED, Status.QUEUED]
    assert (bench["first"].reason, bench["first"].reused) == ("Reused", before[0])
    assert "reused from" in bench["first"].message
    assert not set(before) & {bench.id(name) for name in ("first", "second", "third")}
    (model,) = resolved(bench.state, bench["third"])
    assert model.reference == "model://m@1"
    makes(bench, "third")
    assert statuses(bench)[2] is Status.SUCCEEDED


def test_a_newer_version_of_its_input_makes_a_stage_run_again_and_all_after_it() -> None:
    bench = done()
    raw(bench, "newer")
    bench.turn(submit(*stages(rerun=True)))
    assert statuses(bench) == [Status.QUEUED] * 3


def test_nothing_is_reused_without_being_asked_for_or_against_it() -> None:
    bench = done()
    bench.turn(submit(*stages(cache=False, rerun=True)))
    assert statuses(bench) == [Status.QUEUED] * 3


def test_what_is_reused_may_be_reused_again_and_its_source_is_what_ran() -> None:
    bench = done()
    first = bench.id("first")
    bench.turn(submit(*stages(rerun=True)))
    assert statuses(bench) == [Status.SUCCEEDED] * 3
    bench.turn(submit(*stages(rerun=True)))
    assert bench["first"].reused == first


def test_a_retry_keeps_what_has_succeeded_and_reads_the_same() -> None:
    bench = done(fail_last=True)
    before = [bench.id(name) for name in ("first", "second", "third")]
    reply = bench.ask(Retry(tuple(before), retired=tuple(LEFT)))
    assert isinstance(reply, Accepted)
    assert [bench.id(name) for name in ("first", "second")] == before[:2]
    assert reply.ids == (bench.id("third"),)


def test_a_retry_runs_a_stage_again_whose_input_has_a_newer_version() -> None:
    bench = done(fail_last=True)
    raw(bench, "newer")
    ids = tuple(bench.id(name) for name in ("first", "second", "third"))
    reply = bench.ask(Retry(ids, retired=tuple(LEFT)))
    assert isinstance(reply, Accepted)
    assert len(reply.ids) == 3
    assert statuses(bench) == [Status.QUEUED] * 3


def test_versions_that_were_pinned_stay_what_they_are() -> None:
    bench = Bench()
    raw(bench)
    pinned = want("first", inputs=(("data", "dataset://raw@1"),), cache=True)
    bench.turn(submit(pinned))
    makes(bench, "first")
    raw(bench, "newer")
    again = want("first", inputs=(("data", "dataset://raw@1"),), cache=True, rerun=True)
    bench.turn(submit(again))
    assert bench["first"].status is Status.SUCCEEDED


def test_what_made_something_that_is_gone_runs_again() -> None:
    bench = done()
    bench.turn(submit(want("other", outputs=(("m", "model://m"),))))
    makes(bench, "other", ("model", "m"))
    assert isinstance(bench.ask(RemoveVersions("model://m", (1,))), Accepted)
    bench.turn(submit(*stages(rerun=True)))
    assert statuses(bench) == [Status.SUCCEEDED, Status.QUEUED, Status.QUEUED]


def test_what_failed_is_never_reused() -> None:
    bench = done(fail_last=True)
    bench.turn(submit(*stages(rerun=True)))
    assert statuses(bench) == [Status.SUCCEEDED, Status.SUCCEEDED, Status.QUEUED]
