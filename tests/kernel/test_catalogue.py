"""Versions built on versions, tags, branches, moments, and versions that are taken out of use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aios.kernel.actions import Launch
from aios.kernel.events import Artefact, Outcome, Published, Requeued
from aios.kernel.inputs import find
from aios.kernel.ports import Accepted, Phase, PublishVersion, Refused, RemoveVersions, TagVersion
from aios.kernel.state import Status
from tests.support.bench import Bench, of_type
from tests.support.building import submit, want

KEY = "dataset://d"


def made(n: int, origin: str | None = None, name: str = "d") -> Artefact:
    return Artefact("dataset", name, f"lance:/t#{n}", origin=origin)


def with_versions(n: int) -> Bench:
    bench = Bench()
    for i in range(1, n + 1):
        assert isinstance(bench.ask(PublishVersion(made(i))), Accepted)
        bench.turn(after_s=99.0)
    return bench


def makes(bench: Bench, name: str, reference: str = KEY) -> Launch:
    """Submit work that makes a version and let it run; returns its launch."""
    bench.turn(submit(want(name, outputs=(("data", reference),))))
    return starts(bench, name, "n1")


def starts(bench: Bench, name: str, node: str) -> Launch:
    """Grant a workload and let it run; returns its launch."""
    turn = bench.turn(plan=bench.plan({name: [node]}))
    (launch,) = [action for action in turn.actions if isinstance(action, Launch) and action.work.name == name]
    bench.sees(name)
    bench.turn()
    return launch


def test_an_attempt_is_told_what_its_output_is_built_on() -> None:
    bench = with_versions(2)
    (base,) = makes(bench, "a").bases
    assert (base.role, base.reference, base.uri) == ("data", "dataset://d@2", "lance:/t#2")


def test_a_branch_without_versions_begins_at_the_newest_of_the_name() -> None:
    bench = with_versions(2)
    (base,) = makes(bench, "a", "dataset://d@trial").bases
    assert base.reference == "dataset://d@2"


def test_of_two_publishers_built_on_one_version_the_later_runs_again_on_the_newer() -> None:
    """1. a and b begin on version 1. 2. a ends: version 2. 3. b ends: not taken. 4. b runs again, on 2: version 3."""
    bench = with_versions(1)
    makes(bench, "a")
    bench.turn(submit(want("b", outputs=(("data", KEY),))))
    bench.runs("b", "n2")
    bench.sees_end("a", artefacts=(made(20, "dataset://d@1"),))
    assert [e.version for e in of_type(bench.turn().events, Published)] == [2]
    bench.sees_end("b", artefacts=(made(21, "dataset://d@1"),))
    events = bench.turn().events
    assert not of_type(events, Published)
    assert [e.why for e in of_type(events, Requeued)] == ["PublishConflict"]
    assert "built on dataset://d@1" in (bench["b"].attempts[-1].error or "")
    bench.misses("b")
    assert starts(bench, "b", "n2").bases[0].reference == "dataset://d@2"
    bench.sees_end("b", artefacts=(made(22, "dataset://d@2"),))
    assert [e.version for e in of_type(bench.turn().events, Published)] == [3]
    assert bench["b"].status is Status.SUCCEEDED


def test_versions_that_stand_for_themselves_follow_each_other_whoever_publishes() -> None:
    bench = with_versions(1)
    makes(bench, "a")
    bench.turn(submit(want("b", outputs=(("data", KEY),))))
    bench.runs("b", "n2")
    for name, n in (("a", 20), ("b", 21)):
        bench.sees_end(name, artefacts=(made(n),))
        bench.turn()
    assert [v.artefact.uri for v in bench.state.versions[KEY]] == ["lance:/t#1", "lance:/t#20", "lance:/t#21"]


def test_a_commit_of_an_attempt_that_was_lost_is_never_a_version_and_its_retry_is_exactly_one() -> None:
    bench = with_versions(1)
    makes(bench, "a")
    bench.sees_end("a", Outcome.LOST, artefacts=(made(30, "dataset://d@1"),))
    bench.turn()
    bench.misses("a")
    bench.runs("a", "n1")
    bench.sees_end("a", artefacts=(made(31, "dataset://d@1"),))
    bench.turn()
    bench.sees_end("a", artefacts=(made(31, "dataset://d@1"),))
    bench.turn()
    assert [v.artefact.uri for v in bench.state.versions[KEY]] == ["lance:/t#1", "lance:/t#31"]


def test_a_version_is_found_by_number_tag_branch_and_moment() -> None:
    bench = with_versions(3)
    bench.ask(TagVersion(KEY, "prod", 2))
    bench.ask(PublishVersion(made(9, "dataset://d@3", "d@trial")))
    first, second, _ = bench.state.versions[KEY]
    found = {
        wanted: version and version.artefact.uri
        for wanted in ("", "latest", "2", "v2", "prod", "trial", "trial.1", "trial.2", "1969-12-31", "nothing")
        for version in [find(bench.state, KEY, wanted)]
    }
    assert found == {
        "": "lance:/t#3", "latest": "lance:/t#3", "2": "lance:/t#2", "v2": "lance:/t#2", "prod": "lance:/t#2",
        "trial": "lance:/t#9", "trial.1": "lance:/t#9", "trial.2": None, "1969-12-31": None, "nothing": None,
    }  # fmt: skip
    assert find(bench.state, KEY, "1970-01-01T00:01:30Z") == first
    assert find(bench.state, KEY, "1970-01-01T01:03:00+01:00") == second


def test_a_tag_moves_and_what_was_granted_before_reads_what_it_named_then() -> None:
    bench = with_versions(2)
    bench.ask(TagVersion(KEY, "prod", 1))
    bench.turn(submit(want("reader", inputs=(("data", "dataset://d@prod"),))))
    assert starts(bench, "reader", "n1").inputs[0].reference == "dataset://d@1"
    bench.ask(TagVersion(KEY, "prod", 2))
    bench.sees_end("reader", Outcome.PREEMPTED)
    bench.turn()
    bench.misses("reader")
    assert starts(bench, "reader", "n1").inputs[0].reference == "dataset://d@1"


def test_a_tag_of_no_version_is_refused_and_one_is_taken_away_once() -> None:
    bench = with_versions(1)
    assert isinstance(bench.ask(TagVersion(KEY, "prod", 5)), Refused)
    bench.ask(TagVersion(KEY, "prod", 1))
    assert bench.ask(TagVersion(KEY, "prod", 1)) == Accepted((KEY,), existing=True)
    assert isinstance(bench.ask(TagVersion(KEY, "prod", 0)), Accepted)
    assert isinstance(bench.ask(TagVersion(KEY, "prod", 0)), Refused)
    assert find(bench.state, KEY, "prod") is None


def test_what_is_published_by_hand_is_refused_where_another_came_between() -> None:
    bench = with_versions(2)
    refused = bench.ask(PublishVersion(made(7, "dataset://d@1")))
    assert isinstance(refused, Refused)
    assert "its newest version is dataset://d@2" in refused.message
    assert bench.ask(PublishVersion(made(7, "dataset://d@2"))) == Accepted(("dataset://d@3",))


@pytest.mark.parametrize(
    "versions, message",
    [((9,), "no dataset://d@9"), ((3,), "newest"), ((2,), "tag 'prod'"), ((1,), "being read by reader")],
)
def test_versions_stay_that_are_newest_tagged_or_read(versions: tuple[int, ...], message: str) -> None:
    bench = with_versions(3)
    bench.ask(TagVersion(KEY, "prod", 2))
    bench.turn(submit(want("reader", inputs=(("data", "dataset://d@1"),))))
    bench.runs("reader", "n1")
    bench.sees("reader", Phase.RUNNING)
    refused = bench.ask(RemoveVersions(KEY, versions))
    assert isinstance(refused, Refused)
    assert message in refused.message


def test_a_branch_may_go_whole() -> None:
    bench = with_versions(1)
    bench.ask(PublishVersion(made(9, "dataset://d@1", "d@trial")))
    assert isinstance(bench.ask(RemoveVersions("dataset://d@trial", (1,))), Accepted)
    assert find(bench.state, KEY, "trial") is None


def test_versions_stay_while_work_makes_another_of_the_name() -> None:
    bench = with_versions(2)
    makes(bench, "a", "dataset://d@trial")
    refused = bench.ask(RemoveVersions(KEY, (1,)))
    assert isinstance(refused, Refused)
    assert "is making a version of dataset://d@trial" in refused.message


def test_a_version_that_was_taken_out_of_use_is_found_no_more_and_its_number_is_not_given_again() -> None:
    bench = with_versions(3)
    assert isinstance(bench.ask(RemoveVersions(KEY, (1, 2), "retention")), Accepted)
    assert bench.ask(RemoveVersions(KEY, (1,))) == Accepted((), existing=True)
    assert find(bench.state, KEY, "1") is None
    assert find(bench.state, KEY, "1970-01-01T00:01:30Z") is None
    assert isinstance(bench.ask(TagVersion(KEY, "prod", 1)), Refused)
    assert bench.ask(PublishVersion(replace(made(4), meta="{}"))) == Accepted(("dataset://d@4",))
