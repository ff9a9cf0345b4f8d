"""Submissions, stops and tenants: what is accepted, found, and refused with what to do."""

from __future__ import annotations

import pytest

from aios.kernel.events import Outcome, StopRequested, Submitted
from aios.kernel.ports import Accepted, ApplyTenants, NewWork, Refused, StopWork, Submit
from aios.kernel.state import Status
from placement.model import TenantId
from tests.support.bench import Bench, of_type
from tests.support.building import submit, tenant, want


def accepted(bench: Bench, *works: NewWork, key: str = "") -> tuple[str, ...]:
    reply = bench.ask(submit(*works, key=key))
    assert isinstance(reply, Accepted), reply
    return reply.ids


def test_a_workload_gets_an_id_made_of_its_name() -> None:
    bench = Bench()
    (id,) = accepted(bench, want("train"))
    assert id.startswith("train-")
    assert len(id) == len("train-") + 4
    assert bench["train"].work.demand.id == id
    assert bench["train"].work.demand.submitted_s == bench.now_s


def test_the_same_key_gives_the_same_ids_and_records_nothing() -> None:
    bench = Bench()
    first = accepted(bench, want("a"), want("b"), key="k1")
    reply = bench.ask(submit(want("a"), want("b"), key="k1"))
    assert reply == Accepted(first, existing=True)
    assert not of_type(bench.last.events, Submitted)


def test_a_key_that_was_used_for_other_content_is_refused() -> None:
    bench = Bench()
    accepted(bench, want("a"), key="k1")
    for other in (want("a", content="other"), want("b")):
        reply = bench.ask(submit(other, key="k1"))
        assert isinstance(reply, Refused)
        assert reply.code == "name_taken"
    assert len(bench.state.workloads) == 1


def test_the_same_key_counts_within_one_turn_too() -> None:
    bench = Bench()
    turn = bench.turn(submit(want("a"), key="k1"), submit(want("a"), key="k1"))
    first, second = (answer.reply for answer in turn.answers)
    assert isinstance(first, Accepted)
    assert second == Accepted(first.ids, existing=True)


def test_the_same_name_and_content_is_the_same_workload() -> None:
    bench = Bench()
    ids = accepted(bench, want("a"))
    assert bench.ask(submit(want("a"))) == Accepted(ids, existing=True)


def test_the_same_name_with_other_content_is_refused_with_a_hint() -> None:
    bench = Bench()
    accepted(bench, want("a"))
    reply = bench.ask(submit(want("a", content="other")))
    assert isinstance(reply, Refused)
    assert reply.code == "name_taken"
    assert bench.id("a") in reply.message
    assert "name" in reply.hint


def over(bench: Bench, name: str, outcome: Outcome = Outcome.FAILED) -> None:
    bench.runs(name, "n1")
    bench.sees_end(name, outcome)
    bench.turn()
    bench.misses(name)


def test_a_rerun_of_what_is_over_takes_over_the_name() -> None:
    bench = Bench()
    (first,) = accepted(bench, want("a"))
    over(bench, "a")
    (second,) = accepted(bench, want("a", rerun=True))
    assert second != first
    assert bench.id("a") == second
    assert bench["a"].status is Status.QUEUED


def test_a_rerun_that_is_sent_twice_under_one_key_runs_once() -> None:
    bench = Bench()
    accepted(bench, want("a"), key="k1")
    over(bench, "a")
    ids = accepted(bench, want("a", rerun=True), key="k2")
    over(bench, "a")
    assert bench.ask(submit(want("a", rerun=True), key="k2")) == Accepted(ids, existing=True)
    assert len(bench.state.workloads) == 2


def test_a_rerun_of_what_is_not_over_is_what_runs() -> None:
    bench = Bench()
    ids = accepted(bench, want("a"))
    assert bench.ask(submit(want("a", rerun=True))) == Accepted(ids, existing=True)


REFUSED = {
    "an unknown tenant, with those known": (submit(want("a", tenant="nobody")), "unknown_tenant", "team"),
    "a need outside of the submission": (submit(want("a", needs=("b",))), "invalid_spec", "a"),
    "two works of one name": (submit(want("a"), want("a")), "invalid_spec", "name"),
    "works that need each other": (
        submit(want("a", needs=("b",)), want("b", needs=("a",))),
        "invalid_spec",
        "circle",
    ),
    "nothing at all": (Submit(()), "invalid_spec", "one"),
    "a dataset that nobody makes": (
        submit(want("a", inputs=(("data", "dataset://digits"),))),
        "not_found",
        "there is",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_whole(name: str) -> None:
    request, code, hint = REFUSED[name]
    bench = Bench()
    reply = bench.ask(Submit((want("fine"), *request.works)) if request.works else request)
    assert isinstance(reply, Refused)
    assert (reply.code, hint in reply.hint) == (code, True), reply
    assert not bench.state.workloads, "all or nothing"


def test_the_needs_of_stages_are_names_in_their_submission_in_any_order() -> None:
    bench = Bench()
    ids = accepted(bench, want("train", needs=("ingest",)), want("ingest"))
    assert bench["train"].work.needs == (ids[1],)
    assert list(bench.state.live) == [ids[1], ids[0]], "what is needed comes first"


def test_a_stage_may_read_what_another_stage_of_the_submission_makes() -> None:
    bench = Bench()
    made = want("ingest", outputs=(("out", "dataset://digits"),))
    accepted(bench, made, want("train", needs=("ingest",), inputs=(("data", "dataset://digits"),)))


def test_an_input_that_need_not_exist_yet_keeps_nobody_waiting() -> None:
    bench = Bench()
    accepted(bench, want("a", inputs=(("baseline?", "model://m@prod"),)))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    assert bench["a"].status is Status.STARTING


def test_a_queued_workload_that_is_stopped_is_over_at_once() -> None:
    bench = Bench()
    (id,) = accepted(bench, want("a"))
    assert bench.ask(StopWork(bench.id("a"), "ann")) == Accepted((id,))
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPED, "StoppedByUser")
    assert "ann" in bench["a"].message


def test_stopping_twice_records_one_stop() -> None:
    bench = Bench()
    accepted(bench, want("a"))
    bench.ask(StopWork(bench.id("a")))
    assert bench.ask(StopWork(bench.id("a"))) == Accepted((bench.id("a"),), existing=True)
    assert not of_type(bench.last.events, StopRequested)


def test_stopping_what_is_not_there_is_refused() -> None:
    reply = Bench().ask(StopWork("ghost"))  # type: ignore[arg-type]  # what a client may send
    assert isinstance(reply, Refused)
    assert reply.code == "not_found"


def test_tenants_are_added_and_others_stay() -> None:
    bench = Bench()
    bench.ask(ApplyTenants((tenant("lab"), tenant("lab-a", parent=TenantId("lab"), weight=3.0))))
    assert sorted(bench.state.tenants) == ["lab", "lab-a", "team"]


@pytest.mark.parametrize(
    "tenants",
    [
        (tenant("a", parent=TenantId("ghost")),),
        (tenant("a", parent=TenantId("b")), tenant("b", parent=TenantId("a"))),
        (tenant("a", parent=TenantId("a")),),
    ],
    ids=["unknown parent", "circle", "its own parent"],
)
def test_a_tree_of_tenants_that_is_none_is_refused(tenants: tuple[object, ...]) -> None:
    bench = Bench()
    reply = bench.ask(ApplyTenants(tenants))  # type: ignore[arg-type]  # tenants
    assert isinstance(reply, Refused)
    assert sorted(bench.state.tenants) == ["team"]
