"""What ended long ago leaves the state, and everything that asks about it is still answered right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aios.kernel.events import Artefact, NodeForgotten, Outcome, Retired, WorkloadId
from aios.kernel.evolve import evolve, replay
from aios.kernel.inputs import resolved
from aios.kernel.invariants import turn_violations, violations
from aios.kernel.ports import Accepted, Drain, PreemptWork, Refused, Resume, Retry, StopWork, Submit, Suspend
from aios.kernel.records import record, status_of
from aios.kernel.retention import Keep, retirable
from aios.kernel.state import State, Status
from aios.kernel.submitting import new_id
from placement.model import NodeId, NodeState
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, want

SOON = Keep(ended_s=100.0, ended_most=1_000, least_s=10.0, down_s=50.0)


def ended(*names: str, outcome: Outcome = Outcome.SUCCEEDED) -> Bench:
    """Return a bench on which these have run, one after the other."""
    bench = Bench()
    bench.turn(*(submit(want(name), key=f"key-{name}") for name in names))
    for name in names:
        end(bench, name, outcome)
    return bench


def end(bench: Bench, name: str, outcome: Outcome = Outcome.SUCCEEDED, **more: object) -> None:
    bench.attempts.clear()
    bench.runs(name, "n1")
    bench.sees_end(name, outcome, **more)
    bench.turn()
    bench.attempts.clear()


def retired(bench: Bench, keep: Keep = SOON, after_s: float = 200.0) -> Bench:
    bench.keep = keep
    bench.turn(after_s=after_s)
    return bench


def test_what_ended_longer_ago_than_it_is_kept_leaves_and_the_rest_stays() -> None:
    bench = ended("a", "b")
    bench.turn(submit(want("c")), after_s=200.0)
    end(bench, "c")
    a, b, c = (bench.id(name) for name in "abc")
    retired(bench, after_s=1.0)
    assert of_type(bench.last.events, Retired) == [Retired(bench.now_s, (a, b))]
    assert (set(bench.state.workloads), set(bench.state.retired)) == ({c}, {a, b})
    left = bench.state.retired[a]
    assert (left.name, left.tenant, left.status, left.n_attempts) == ("a", "team", Status.SUCCEEDED, 1)


def test_of_too_many_the_oldest_leave_before_their_time_but_not_at_once() -> None:
    bench = ended("a", "b", "c")
    few = Keep(ended_s=1e6, ended_most=1, least_s=10.0)
    retired(bench, few, after_s=1.0)
    assert not bench.state.retired, "all ended just now"
    retired(bench, few, after_s=20.0)
    assert sorted(one.name for one in bench.state.retired.values()) == ["a", "b"]


def test_what_lives_is_never_retired_whatever_is_asked() -> None:
    bench = ended("a")
    bench.turn(submit(want("b")))
    assert retirable(bench.state, 1e9, SOON) == (bench.id("a"),)
    state = evolve(Retired(1e9, (bench.id("b"), WorkloadId("nobody"))), bench.state)
    assert set(state.workloads) == set(bench.state.workloads)


def test_failures_stay_as_long_as_they_speak_against_a_node() -> None:
    bench = ended("a", outcome=Outcome.FAILED)
    retired(bench, after_s=1_000.0)
    assert not bench.state.retired
    retired(bench, after_s=1_000.0)
    assert set(bench.state.retired) == {bench.id("a")}


def test_an_id_a_name_and_a_key_stand_for_it_for_ever() -> None:
    bench = retired(ended("a"))
    id = bench.id("a")
    assert id not in bench.state.workloads
    assert bench.ask(submit(want("a"), key="key-a")) == Accepted((id,), existing=True)
    assert bench.ask(submit(want("a"), key="another")) == Accepted((id,), existing=True)
    other = bench.ask(submit(want("a", content="other"), key="key-a"))
    assert isinstance(other, Refused)
    assert other.code == "name_taken"
    taken = bench.ask(submit(want("a", content="other")))
    assert isinstance(taken, Refused)
    assert f"'a' is taken by {id} (SUCCEEDED)" in taken.message
    again = bench.ask(submit(replace(want("a", content="other"), rerun=True)))
    assert isinstance(again, Accepted)
    assert not again.existing
    assert again.ids != (id,)


def test_a_new_id_is_none_that_was_retired() -> None:
    bench = Bench()
    version = bench.state.version
    bench.turn(submit(want("a")))
    end(bench, "a")
    assert new_id(State(version=version), "a", 0) == bench.id("a")
    retired(bench)
    assert new_id(replace(bench.state, version=version), "a", 0) != bench.id("a")


def test_what_needs_a_retired_workload_runs_or_fails_with_it() -> None:
    for outcome, status in ((Outcome.SUCCEEDED, Status.QUEUED), (Outcome.FAILED, Status.FAILED)):
        bench = Bench()
        bench.turn(submit(want("a"), want("b", needs=("a",), estimate_s=None)))
        bench.runs("a", "n1")
        bench.sees_end("a", outcome)
        bench.turn()
        bench.state = evolve(Retired(bench.now_s, (bench.id("a"),)), bench.state)
        bench.attempts.clear()
        bench.turn()
        assert bench["b"].status is status
        if status is Status.FAILED:
            assert bench["b"].message == f"it needs {bench.id('a')}, which is FAILED"


def test_a_stage_reads_what_the_retired_stage_before_it_made() -> None:
    bench = Bench()
    out = (("out", "dataset://d"),)
    bench.turn(submit(want("a", outputs=out), want("b", needs=("a",), inputs=(("data", "dataset://d"),))))
    end(bench, "a", artefacts=(Artefact("dataset", "d", "/s/1"),))
    bench.turn(submit(want("other", outputs=out)))
    end(bench, "other", artefacts=(Artefact("dataset", "d", "/s/2"),))
    bench.state = evolve(Retired(bench.now_s, (bench.id("a"),)), bench.state)
    assert [one.reference for one in resolved(bench.state, bench["b"])] == ["dataset://d@1"]


def test_it_is_over_for_whoever_orders_it() -> None:
    bench = retired(ended("a"))
    id = bench.id("a")
    assert bench.ask(StopWork(id)) == Accepted((id,), existing=True)
    for order in (PreemptWork(id), Suspend(id), Resume(id)):
        reply = bench.ask(order)
        assert isinstance(reply, Refused)
        assert (reply.code, reply.message) == ("rejected", f"{id} is SUCCEEDED: it is over")


def test_a_pipeline_is_retried_from_its_retired_stage_with_its_work_from_the_log() -> None:
    bench = Bench()
    bench.turn(submit(want("a"), want("b", needs=("a",))))
    works = {name: bench[name].work for name in "ab"}
    end(bench, "a")
    end(bench, "b", Outcome.FAILED)
    retired(bench, after_s=4_000.0)
    assert not bench.state.workloads
    ids = tuple(bench.id(name) for name in "ab")
    assert isinstance(bench.ask(Retry(ids)), Refused), "nobody says what to run"
    reply = bench.ask(Retry(ids, retired=tuple(works.values())))
    assert isinstance(reply, Accepted)
    assert len(reply.ids) == 1, "the first stage has succeeded"
    assert bench["b"].work.needs == (ids[0],)
    assert bench["b"].status is Status.QUEUED
    end(bench, "b")
    assert bench["b"].status is Status.SUCCEEDED


def test_a_fold_of_the_log_gives_the_same_short_records() -> None:
    bench = Bench()
    events = list(bench.last.events)
    for request in (submit(want("a")), submit(want("b"))):
        events += bench.turn(request).events
    for name in "ab":
        bench.attempts.clear()
        events += bench.turn(plan=bench.plan({name: ("n1",)})).events
        bench.sees(name)
        events += bench.turn().events
        bench.sees_end(name)
        events += bench.turn().events
    bench.keep = SOON
    events += bench.turn(after_s=500.0).events
    assert replay(events) == bench.state
    assert len(bench.state.retired) == 2


def test_a_record_that_vanishes_is_a_broken_promise() -> None:
    bench = retired(ended("a"))
    id = bench.id("a")
    lost = replace(bench.state, retired=bench.state.retired.delete(id))
    assert any("I3" in wrong for wrong in violations(lost))
    assert any("I2" in wrong for wrong in violations(lost))
    both = replace(bench.state, workloads=bench.state.workloads.set(id, ended("a").state.workloads[ended("a").id("a")]))
    assert f"I3: {id} was retired and is in the state" in violations(both)


def test_retiring_what_is_gone_already_is_an_event_too_many() -> None:
    bench = retired(ended("a"))
    assert turn_violations(bench.state, [Retired(bench.now_s, (bench.id("a"),))])


def test_a_node_that_has_been_down_for_long_is_forgotten_and_is_a_new_one_when_it_comes_back() -> None:
    bench = ended("a")
    n1, n2 = bench.nodes
    bench.keep = SOON
    bench.turn(Drain(n1.id))
    bench.nodes = [n2]
    bench.turn(after_s=1.0)
    assert bench.state.nodes[n1.id].state is NodeState.DOWN
    bench.turn(after_s=40.0)
    assert n1.id in bench.state.nodes
    bench.turn(after_s=20.0)
    assert of_type(bench.last.events, NodeForgotten) == [NodeForgotten(bench.now_s, n1.id)]
    for table in (
        bench.state.nodes,
        bench.state.node_names,
        bench.state.down_s,
        bench.state.drains,
        bench.state.mishaps,
    ):
        assert n1.id not in table
    bench.nodes = [n1, n2]
    bench.turn()
    assert bench.state.nodes[n1.id].state is NodeState.READY, "nobody drained this one"


def test_a_node_that_comes_back_in_time_is_down_anew_the_next_time() -> None:
    bench = Bench()
    n1, n2 = bench.nodes
    bench.keep = SOON
    for _ in range(3):
        bench.nodes = [n2]
        bench.turn(after_s=40.0)
        bench.nodes = [n1, n2]
        bench.turn(after_s=40.0)
    assert set(bench.state.nodes) == {n1.id, n2.id}
    assert not bench.state.down_s


def test_an_autoscaled_cluster_does_not_collect_its_nodes() -> None:
    bench = Bench()
    bench.keep = SOON
    for n in range(100):
        bench.nodes = [node(f"spot-{n}"), node(f"spot-{n + 1}")]
        bench.turn(after_s=30.0)
    assert len(bench.state.nodes) < 6
    assert len(bench.state.node_names) == len(bench.state.nodes)


@pytest.mark.parametrize("field", ["ended_s", "ended_most", "least_s", "down_s"])
def test_a_rule_below_nought_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match="below 0"):
        replace(SOON, **{field: -1})


def test_nobody_knows_what_was_never_accepted() -> None:
    bench = Bench()
    assert record(bench.state, WorkloadId("nobody")) is None
    assert status_of(bench.state, WorkloadId("nobody")) is None
    assert isinstance(bench.ask(Submit((want("a"),))), Accepted)
    assert status_of(bench.state, bench.id("a")) is Status.QUEUED
    assert NodeId("n1") in bench.state.nodes
