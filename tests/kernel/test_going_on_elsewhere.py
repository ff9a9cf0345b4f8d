"""Running work that moves or changes its size saves its progress and goes on where its place is kept."""

from __future__ import annotations

import dataclasses

from aios.kernel.actions import Launch, Stop
from aios.kernel.events import Granted, Outcome, PlanAdopted
from aios.kernel.ports import StopWork
from aios.kernel.queue import RESIZE_AFTER_S, kept, problem
from aios.kernel.state import Status
from placement.model import (
    ACCELERATOR_KEY,
    Cause,
    Grant,
    Move,
    NodeId,
    Objective,
    Plan,
    Policy,
    Preemption,
    Resize,
    Shape,
)
from placement.planners.ladder import plan
from tests.support.bench import TWO_NODES, Bench, of_type
from tests.support.building import submit, want


def resized(bench: Bench, name: str, before: int, *nodes: str, beneficiaries: tuple[str, ...] = ()) -> Resize:
    at = tuple(map(NodeId, nodes))
    whom = tuple(map(bench.demand, beneficiaries))
    cause = Cause.PRIORITY if beneficiaries else None
    return Resize(bench.demand(name), before, len(nodes), at, cause, whom)


def grown() -> Bench:
    """One elastic workload that has run with one bundle of three for long enough."""
    bench = Bench()
    bench.turn(submit(want("a", 3, min_bundles=1)))
    bench.runs("a", "n1")
    bench.turn(after_s=RESIZE_AFTER_S)
    bench.turn(plan=bench.answer(Plan(resizes=(resized(bench, "a", 1, "n1", "n2", "n2"),))))
    return bench


def test_what_grows_saves_its_progress_and_goes_on_with_more_bundles() -> None:
    bench = grown()
    assert [action.why for action in bench.last.actions if isinstance(action, Stop)] == ["preempt"]
    assert (bench["a"].status, bench["a"].reason) == (Status.STOPPING, "Resized")
    assert "3 bundles instead of 1" in bench["a"].message
    assert kept(bench.state, bench.id("a")) == ("n1", "n2", "n2")
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/1", step=7)
    (granted,) = of_type(bench.turn().events, Granted)
    assert granted.nodes == ("n1", "n2", "n2")
    (launch,) = [action for action in bench.last.actions if isinstance(action, Launch)]
    assert (launch.checkpoint, launch.step, launch.attempt) == ("c/1", 7, 2)
    assert bench["a"].failures == 0


def test_nobody_slips_into_the_place_of_what_changes_its_size() -> None:
    bench = grown()
    bench.turn(submit(want("b", cpu=3)))
    bench.turn(plan=bench.plan({"b": ["n2"]}))
    assert bench["b"].attempt is None
    (adopted,) = of_type(bench.last.events, PlanAdopted)
    assert "taken" in adopted.refused[0]


def test_what_breaks_when_told_to_grow_has_not_failed() -> None:
    bench = grown()
    bench.sees_end("a", Outcome.FAILED, error="boom")
    bench.turn()
    assert (bench["a"].attempts[0].outcome, bench["a"].failures) == (Outcome.PREEMPTED, 0)


def test_what_is_stopped_while_it_grows_is_over_and_its_place_is_free() -> None:
    bench = grown()
    bench.turn(StopWork(bench.id("a")))
    bench.sees_end("a", Outcome.PREEMPTED)
    bench.turn()
    assert bench["a"].status is Status.STOPPED
    bench.turn(submit(want("b", cpu=4)))
    bench.turn(plan=bench.plan({"b": ["n2"]}))
    assert bench["b"].attempt is not None


def test_what_shrinks_makes_room_and_the_one_that_needs_it_waits_until_then() -> None:
    bench = Bench()
    bench.turn(submit(want("a", 2, cpu=4, min_bundles=1)))
    bench.runs("a", "n1", "n2")
    bench.turn(submit(want("b", cpu=4, priority=5)))
    smaller = resized(bench, "a", 2, "n1", beneficiaries=("b",))
    plan = Plan(grants=(Grant(bench.demand("b"), (NodeId("n2"),)),), resizes=(smaller,))
    bench.turn(plan=bench.answer(plan))
    assert kept(bench.state, bench.id("b")) == ("n2",)
    assert kept(bench.state, bench.id("a")) == ("n1",)
    bench.sees_end("a", Outcome.PREEMPTED)
    granted = {event.workload: event.nodes for event in of_type(bench.turn().events, Granted)}
    assert granted == {bench.id("a"): ("n1",), bench.id("b"): ("n2",)}


def test_a_resize_that_is_out_of_date_is_refused_and_said_so() -> None:
    bench = Bench()
    bench.turn(submit(want("a", 3, min_bundles=1)))
    bench.runs("a", "n1")
    bench.turn(after_s=RESIZE_AFTER_S)
    (adopted,) = of_type(
        bench.turn(plan=bench.answer(Plan(resizes=(resized(bench, "a", 2, "n1", "n2", "n2"),)))).events, PlanAdopted
    )
    assert "it has 1 bundles, not 2" in adopted.refused[0]
    assert bench["a"].status is Status.RUNNING


def test_another_form_is_launched_with_its_own_bundles() -> None:
    bench = Bench()
    big = want("a", 1, cpu=8)
    small = want("b", 2, cpu=4)
    either = dataclasses.replace(big.demand, alternatives=(Shape(small.demand.bundles),))
    bench.turn(submit(dataclasses.replace(big, demand=either)))
    bench.turn(plan=bench.answer(Plan(grants=(Grant(bench.demand("a"), (NodeId("n1"), NodeId("n2")), form=1),))))
    (launch,) = [action for action in bench.last.actions if isinstance(action, Launch)]
    assert [bundle.resources.get("CPU") for bundle in launch.work.demand.bundles] == [4000, 4000]
    assert launch.nodes == ("n1", "n2")


def fragmented() -> Bench:
    """Two nodes of 4 CPU, each half full; someone wants a whole one."""
    bench = Bench()
    bench.policy = Policy(migration=True)
    bench.turn(submit(want("a", cpu=2), want("b", cpu=2)))
    bench.turn(plan=bench.plan({"a": ["n1"], "b": ["n2"]}))
    bench.sees("a")
    bench.sees("b")
    bench.turn()
    bench.turn(submit(want("whole", cpu=4)), after_s=600.0)
    return bench


def test_what_moves_makes_room_and_goes_on_where_its_place_is_kept() -> None:
    bench = fragmented()
    asked = problem(bench.state, bench.now_s, bench.observed(), bench.policy)
    answer = plan(asked)
    (move,) = answer.moves
    moved, stays = ("a", "b") if move.demand == bench.demand("a") else ("b", "a")
    bench.turn(plan=bench.answer(answer))
    assert (bench[moved].status, bench[moved].reason) == (Status.STOPPING, "Moved")
    assert kept(bench.state, bench.id(moved)) == move.nodes == bench[stays].attempts[0].nodes
    bench.sees_end(moved, Outcome.PREEMPTED, checkpoint="c/1", step=3)
    granted = {event.workload: event.nodes for event in of_type(bench.turn().events, Granted)}
    assert granted[bench.id(moved)] == move.nodes
    assert granted[bench.id("whole")] != move.nodes
    assert bench[moved].attempts[1].resumed_step == 3


def test_without_migration_a_move_is_refused() -> None:
    bench = fragmented()
    answer = plan(problem(bench.state, bench.now_s, bench.observed(), bench.policy))
    bench.policy = Policy()
    (adopted,) = of_type(bench.turn(plan=bench.answer(answer)).events, PlanAdopted)
    assert adopted.refused
    assert {bench[name].status for name in "ab"} == {Status.RUNNING}


def taking_turns() -> Bench:
    """Two workloads that have had their time slice, ``a`` on a slow node and ``b`` on a fast one."""
    slow, *others = TWO_NODES
    bench = Bench([dataclasses.replace(slow, labels=((ACCELERATOR_KEY, "k80"),)), *others])
    bench.policy = Policy(objective=Objective.GOODPUT, time_slice_s=60.0)
    halves = [want(name, cpu=4) for name in "ab"]
    fast = (dataclasses.replace(one, demand=dataclasses.replace(one.demand, speed=(("k80", 0.5),))) for one in halves)
    bench.turn(submit(*fast))
    bench.turn(plan=bench.plan({"a": ["n1"], "b": ["n2"]}))
    bench.sees("a")
    bench.sees("b")
    bench.turn()
    bench.turn(after_s=60.0)
    return bench


def test_what_stops_for_work_that_moves_leaves_it_its_place() -> None:
    bench = taking_turns()
    stops = Preemption(bench.demand("b"), Cause.TIME_SLICE, (bench.demand("a"),))
    bench.turn(plan=bench.answer(Plan(preemptions=(stops,), moves=(Move(bench.demand("a"), (NodeId("n2"),)),))))
    assert kept(bench.state, bench.id("a")) == ("n2",)
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/1", step=3)
    assert not of_type(bench.turn().events, Granted)
    bench.sees_end("b", Outcome.PREEMPTED)
    (granted,) = of_type(bench.turn().events, Granted)
    assert (granted.workload, granted.nodes) == (bench.id("a"), ("n2",))
