"""Needs, inputs, back-off and retries: what becomes of work without a planner."""

from __future__ import annotations

import json

import pytest

from aios.kernel.actions import Launch, ResolvedInput, Stop
from aios.kernel.events import Artefact, Finished, Outcome, PreemptionOrdered, Published, Requeued, Waits
from aios.kernel.ports import Phase, StopWork
from aios.kernel.retry import LONGEST_DELAY_S, backoff_s
from aios.kernel.state import Status, waited_s
from placement.model import NodeId, NodeState, Reason
from tests.support.bench import Bench, of_type
from tests.support.building import node, submit, want


def pipeline(**others: object) -> Bench:
    """Return a bench with ``ingest``, and ``train`` that needs it and reads what it makes."""
    bench = Bench()
    ingest = want("ingest", outputs=(("out", "dataset://d"),), **others)  # type: ignore[arg-type]  # fields
    train = want("train", needs=("ingest",), inputs=(("data", "dataset://d"),))
    bench.turn(submit(ingest, train))
    return bench


def made(version: int) -> Artefact:
    return Artefact("dataset", "d", f"file:///d{version}", meta=json.dumps({"rows": version}))


def finish(bench: Bench, name: str, *artefacts: Artefact) -> None:
    bench.runs(name, "n1")
    bench.sees_end(name, artefacts=artefacts)
    bench.turn()
    bench.misses(name)


def test_a_stage_is_planned_only_when_what_it_needs_has_succeeded() -> None:
    bench = pipeline()
    assert bench["train"].reason == "DependencyPending"
    assert bench.id("ingest") in bench["train"].message
    assert bench.last.ask is not None
    assert [d.id for d in bench.last.ask.problem.pending] == [bench.id("ingest")]
    finish(bench, "ingest", made(1))
    assert bench.last.ask is not None
    assert [d.id for d in bench.last.ask.problem.pending] == [bench.id("train")]


def test_it_says_once_that_it_waits_for_its_needs() -> None:
    bench = pipeline()
    assert not of_type(bench.turn().events, Waits)


@pytest.mark.parametrize("outcome, word", [(Outcome.FAILED, "FAILED"), (Outcome.STOPPED, "STOPPED")])
def test_what_needs_a_stage_that_did_not_succeed_fails_with_it(outcome: Outcome, word: str) -> None:
    bench = pipeline()
    bench.runs("ingest", "n1")
    if outcome is Outcome.STOPPED:
        bench.turn(StopWork(bench.id("ingest")))
    bench.sees_end("ingest", outcome)
    bench.turn()
    assert (bench["train"].status, bench["train"].reason) == (Status.FAILED, "DependencyFailed")
    assert word in bench["train"].message


def test_a_failure_runs_down_a_whole_chain_in_one_turn() -> None:
    bench = Bench()
    bench.turn(submit(want("c", needs=("b",)), want("b", needs=("a",)), want("a")))
    bench.turn(StopWork(bench.id("a")))
    assert [bench[name].status for name in "abc"] == [Status.STOPPED, Status.FAILED, Status.FAILED]


def test_a_service_that_is_ready_lets_those_go_that_need_it() -> None:
    bench = Bench()
    bench.turn(submit(want("serve", service=True), want("probe", needs=("serve",))))
    bench.runs("serve", "n1")
    assert bench.last.ask is None
    bench.sees("serve", Phase.READY)
    assert bench.turn().ask is not None


def test_a_workload_reads_the_version_that_its_own_pipeline_made() -> None:
    bench = pipeline()
    finish(bench, "ingest", made(1))
    bench.turn(submit(want("other")))
    finish(bench, "other", made(2))
    turn = bench.turn(plan=bench.plan({"train": ["n1"]}))
    (launch,) = [action for action in turn.actions if isinstance(action, Launch)]
    assert launch.inputs == (ResolvedInput("data", "dataset://d@1", "file:///d1", '{"rows": 1}'),)


def test_a_workload_reads_the_newest_of_what_its_own_pipeline_made() -> None:
    bench = Bench()
    needs = {"needs": ("serve",), "inputs": (("data", "dataset://d"),)}
    serve = want("serve", service=True, outputs=(("out", "dataset://d"),))
    bench.turn(submit(serve, want("read", **needs)))  # type: ignore[arg-type]  # fields
    for version in (1, 2):
        bench.misses("serve")
        bench.turn()
        bench.runs("serve", "n1")
        bench.sees("serve", Phase.READY, artefacts=(made(version),))
        bench.turn()
    turn = bench.turn(plan=bench.plan({"read": ["n2"]}))
    assert [a.inputs[0].uri for a in turn.actions if isinstance(a, Launch)] == ["file:///d2"]


@pytest.mark.parametrize(
    "reference, uri",
    [("dataset://d", "file:///d2"), ("dataset://d@1", "file:///d1"), ("dataset://d@latest", "file:///d2")],
)
def test_a_reference_means_a_version(reference: str, uri: str) -> None:
    bench = Bench()
    for version in (1, 2):
        bench.turn(submit(want(f"make{version}")))
        finish(bench, f"make{version}", made(version))
    bench.turn(submit(want("read", inputs=(("data", reference),), outputs=(("out", "model://m"),))))
    turn = bench.turn(plan=bench.plan({"read": ["n1"]}))
    assert [a.inputs[0].uri for a in turn.actions if isinstance(a, Launch)] == [uri]


def test_lineage_names_the_versions_that_were_read_not_newer_ones() -> None:
    bench = pipeline()
    finish(bench, "ingest", made(1))
    bench.turn(submit(want("reader", inputs=(("data", "dataset://d"),))))
    bench.runs("reader", "n2")
    bench.turn(submit(want("other")))
    finish(bench, "other", made(2))
    bench.sees_end("reader", artefacts=(Artefact("model", "m", "file:///m"),))
    (published,) = of_type(bench.turn().events, Published)
    assert published.inputs == ("dataset://d@1",)


def test_an_input_that_nothing_made_ends_the_workload_with_a_reason() -> None:
    bench = pipeline()
    finish(bench, "ingest")
    assert (bench["train"].status, bench["train"].reason) == (Status.FAILED, "MissingInput")
    assert "dataset://d" in bench["train"].message


def test_what_goes_on_from_a_checkpoint_reads_what_it_began_with() -> None:
    bench = pipeline()
    finish(bench, "ingest", made(1))
    bench.turn(submit(want("reader", inputs=(("data", "dataset://d"),))))
    bench.runs("reader", "n2")
    bench.turn(submit(want("other")))
    finish(bench, "other", made(2))
    bench.sees("reader", checkpoint="c/5", step=5)
    bench.turn()
    bench.misses("reader")
    bench.turn()
    turn = bench.turn(plan=bench.plan({"reader": ["n2"]}))
    (launch,) = [action for action in turn.actions if isinstance(action, Launch)]
    assert (launch.attempt, launch.step, launch.inputs[0].reference) == (2, 5, "dataset://d@1")


# Nodes that leave


def draining(*, started: bool, preemptible: bool = True, leaves_in_s: float | None = None) -> Bench:
    """Return a bench where the node under ``a`` has begun to drain."""
    bench = Bench()
    if leaves_in_s is not None:
        bench.leaves_in_s[NodeId("n1")] = leaves_in_s
    bench.turn(submit(want("a", preemptible=preemptible, grace_s=10.0)))
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    bench.sees("a", Phase.RUNNING if started else Phase.LAUNCHING)
    bench.turn()
    bench.nodes[0] = node("n1", state=NodeState.DRAINING)
    bench.turn()
    return bench


def test_work_on_a_node_that_drains_saves_its_progress_and_goes_on_elsewhere() -> None:
    bench = draining(started=True)
    assert bench.last.actions == (Stop(bench.id("a"), 1, "preempt", 10.0),)
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPING, "NodeDraining")
    assert not of_type(bench.turn().events, PreemptionOrdered), "asked once"
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/3", step=3)
    turn = bench.turn()
    assert (bench["a"].status, bench["a"].reason, bench["a"].failures) == (Status.PREEMPTED, "NodeDraining", 0)
    assert turn.ask is not None
    bench.misses("a")
    bench.runs("a", "n2")
    assert bench["a"].attempts[1].resumed_step == 3


@pytest.mark.parametrize(("leaves_in_s", "grace_s"), [(4.0, 4.0), (60.0, 10.0), (0.0, 0.0)])
def test_a_node_that_is_taken_away_soon_leaves_its_work_less_than_its_grace(leaves_in_s: float, grace_s: float) -> None:
    bench = draining(started=True, leaves_in_s=leaves_in_s)
    attempt = bench["a"].current
    assert attempt is not None
    assert attempt.deadline_s == pytest.approx(bench.now_s + grace_s)


def test_what_may_not_be_preempted_stays_on_a_node_that_drains() -> None:
    bench = draining(started=True, preemptible=False)
    assert not bench.last.actions
    assert bench["a"].status is Status.RUNNING


@pytest.mark.parametrize("preemptible", [True, False])
def test_what_has_not_started_on_a_node_that_drains_goes_elsewhere(preemptible: bool) -> None:
    bench = draining(started=False, preemptible=preemptible)
    assert bench["a"].status is Status.STOPPING
    bench.sees_end("a", Outcome.PREEMPTED)
    bench.turn()
    assert bench["a"].status is Status.PREEMPTED


# Retries


def failing(max_retries: int) -> Bench:
    bench = Bench()
    bench.turn(submit(want("a", max_retries=max_retries)))
    return bench


def end(bench: Bench, outcome: Outcome, **others: object) -> None:
    bench.runs("a", "n1")
    bench.sees_end("a", outcome, **others)
    bench.turn()
    bench.misses("a")


def test_a_failure_without_retries_ends_it_with_the_users_own_words_and_code() -> None:
    bench = failing(0)
    end(bench, Outcome.FAILED, error="ValueError: no data", exit_code=7)
    workload = bench["a"]
    assert (workload.status, workload.reason, workload.exit_code) == (Status.FAILED, "UserCodeError", 7)
    assert workload.message == "ValueError: no data"


def test_failures_are_tried_again_with_growing_delays_until_the_retries_are_used() -> None:
    bench = failing(2)
    delays = []
    for _ in range(2):
        end(bench, Outcome.FAILED, error="boom")
        (again,) = of_type(bench.last.events, Requeued)
        delays.append(again.not_before_s - again.at_s)
        assert bench["a"].reason == "BackingOff"
        assert bench.last.ask is None, "it is not planned while it backs off"
        assert bench.last.wake_s == again.not_before_s
        assert bench.turn(after_s=delays[-1]).ask is not None
    end(bench, Outcome.FAILED, error="boom")
    assert delays == [1.0, 2.0]
    assert (bench["a"].status, bench["a"].reason) == (Status.FAILED, "RetriesExhausted")
    assert "3 times" in bench["a"].message
    assert "boom" in bench["a"].message


def test_losses_do_not_count_against_the_retries() -> None:
    bench = failing(1)
    for _ in range(4):
        end(bench, Outcome.LOST)
        bench.turn(after_s=LONGEST_DELAY_S)
    assert bench["a"].status is Status.QUEUED
    end(bench, Outcome.FAILED)
    assert bench["a"].status is Status.QUEUED
    bench.turn(after_s=LONGEST_DELAY_S)
    end(bench, Outcome.FAILED)
    assert bench["a"].status is Status.FAILED


def test_the_first_loss_is_tried_again_at_once_and_losses_in_a_row_later_and_later() -> None:
    bench = failing(0)
    delays = []
    for _ in range(4):
        end(bench, Outcome.LOST)
        (again,) = of_type(bench.last.events, Requeued)
        delays.append(again.not_before_s - again.at_s)
        bench.turn(after_s=LONGEST_DELAY_S)
    assert delays == [0.0, 1.0, 2.0, 4.0]


def test_a_loss_after_another_end_is_the_first_in_its_row() -> None:
    bench = failing(5)
    delays = []
    for outcome in (Outcome.LOST, Outcome.LOST, Outcome.FAILED, Outcome.LOST):
        end(bench, outcome)
        (again,) = of_type(bench.last.events, Requeued)
        delays.append(again.not_before_s - again.at_s)
        bench.turn(after_s=LONGEST_DELAY_S)
    assert delays == [0.0, 1.0, 1.0, 0.0]


def test_the_delay_doubles_up_to_a_limit() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 9, 10, 1000)] == [1, 2, 4, 256, LONGEST_DELAY_S, LONGEST_DELAY_S]


def test_a_stop_while_it_backs_off_ends_it_at_once() -> None:
    bench = failing(5)
    end(bench, Outcome.FAILED)
    (finished,) = of_type(bench.turn(StopWork(bench.id("a"))).events, Finished)
    assert finished.status == "STOPPED"


def test_what_it_waited_and_ran_is_summed_over_its_attempts() -> None:
    bench = failing(1)
    queued_s = bench.now_s
    bench.turn(after_s=10.0)
    end(bench, Outcome.FAILED)
    waited_s, ran_s = bench["a"].waited_s, bench["a"].ran_s
    assert waited_s == 11.0
    assert queued_s + waited_s + 2.0 == bench.now_s
    assert ran_s == 1.0
    bench.turn(after_s=5.0)
    end(bench, Outcome.SUCCEEDED)
    assert bench["a"].waited_s == waited_s + 6.0
    assert bench["a"].ran_s == 2.0


def test_the_time_in_which_inputs_are_made_is_no_waiting() -> None:
    bench = pipeline()
    bench.turn(after_s=40.0)
    assert waited_s(bench["train"], bench.now_s) == 0.0
    finish(bench, "ingest", made(1))
    bench.turn(plan=bench.plan(waiting={"train": Reason.CAPACITY}))
    begun_s = bench.now_s
    bench.turn(after_s=5.0)
    assert waited_s(bench["train"], bench.now_s) == 5.0
    bench.turn(plan=bench.plan({"train": ("n1",)}))
    assert bench["train"].waited_s == bench.now_s - begun_s
