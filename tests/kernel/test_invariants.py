"""The invariants bite: each broken state is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from aios.kernel.events import (
    Artefact,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EpochStarted,
    Event,
    Finished,
    Granted,
    NodeChanged,
    Outcome,
    PreemptionOrdered,
    Published,
    Requeued,
    StopRequested,
    Submitted,
    TenantPaused,
    TenantsApplied,
    Waits,
    WorkloadId,
)
from aios.kernel.evolve import evolve, replay
from aios.kernel.invariants import (
    History,
    bound_s,
    idle_beside_work,
    left_behind,
    maimed,
    stuck,
    turn_violations,
    violations,
)
from aios.kernel.invariants.steps import progress_is_kept
from aios.kernel.ports import ObservedAttempt, Phase
from aios.kernel.state import Attempt, State, Status, Workload
from placement.model import NodeId, NodeState
from tests.support.bench import Bench
from tests.support.building import node, submit, tenant, want


def sound() -> Bench:
    """Return a bench where ``a`` runs on n1 and ``b`` has succeeded."""
    bench = Bench()
    bench.turn(submit(want("a", 2)), submit(want("b")))
    bench.runs("b", "n2")
    bench.sees_end("b")
    bench.turn()
    bench.runs("a", "n1", "n1")
    return bench


def of(state: State, name: str) -> Workload:
    return state.workloads[state.names[name]]


def change(state: State, name: str, **fields: object) -> State:
    workload = replace(of(state, name), **fields)  # type: ignore[arg-type]  # fields of Workload
    return replace(state, workloads=state.workloads.set(workload.id, workload))


def first(state: State, name: str) -> Attempt:
    return of(state, name).attempts[0]


BROKEN: dict[str, tuple[str, Callable[[State], State]]] = {
    "a node holds more than it has": (
        "I1",
        lambda s: replace(s, nodes=s.nodes.set(NodeId("n1"), node("n1", cpu=1))),
    ),
    "a key stands for work that nobody knows": (
        "I2",
        lambda s: replace(s, keys=s.keys.set("k", (WorkloadId("ghost"),))),
    ),
    "two keys stand for one workload": (
        "I2",
        lambda s: replace(s, keys=s.keys.set("k", (s.names["a"],)).set("l", (s.names["a"],))),
    ),
    "a live workload was left out": ("I3", lambda s: replace(s, live=())),
    "a workload lives on after its end": ("I3", lambda s: replace(s, live=(*s.live, s.names["b"]))),
    "a workload lives twice": ("I3", lambda s: replace(s, live=s.live * 2)),
    "it succeeded without a completion": (
        "I6",
        lambda s: change(s, "b", attempts=(replace(first(s, "b"), outcome=Outcome.FAILED),)),
    ),
    "it failed with a completion": ("I6", lambda s: change(s, "b", status=Status.FAILED)),
    "it waits with an open attempt": ("I7", lambda s: change(s, "a", status=Status.QUEUED)),
    "it runs without an attempt": ("I7", lambda s: change(s, "a", attempts=())),
    "it has two open attempts": (
        "I7",
        lambda s: change(s, "a", attempts=(first(s, "a"), replace(first(s, "a"), number=2, fence=9))),
    ),
    "a fence was given twice": (
        "I7",
        lambda s: change(s, "a", attempts=(replace(first(s, "a"), ended_s=1.0), replace(first(s, "a"), number=2))),
    ),
    "a fence was never given": ("I7", lambda s: change(s, "a", attempts=(replace(first(s, "a"), fence=99),))),
    "an attempt began beyond what was saved": (
        "I9",
        lambda s: change(s, "a", attempts=(replace(first(s, "a"), resumed_step=5),)),
    ),
    "a part of a gang runs": (
        "I10",
        lambda s: change(s, "a", attempts=(replace(first(s, "a"), nodes=(NodeId("n1"),)),)),
    ),
}


def test_a_sound_state_has_no_violation() -> None:
    assert violations(sound().state) == ()


@pytest.mark.parametrize("name", BROKEN)
def test_noticed_that(name: str) -> None:
    number, break_it = BROKEN[name]
    assert any(wrong.startswith(number) for wrong in violations(break_it(sound().state))), violations(
        break_it(sound().state)
    )


def wait_of(state: State) -> WorkloadId:
    return state.names["c"]


EVENTS: dict[str, tuple[str, Callable[[State], list[Event]]]] = {
    "a step back into what is over": ("I4", lambda s: [Requeued(9.0, s.names["b"], "why")]),
    "a second end": ("I6", lambda s: [Finished(9.0, s.names["b"], "SUCCEEDED")]),
    "the end of an old attempt": ("I8", lambda s: [AttemptEnded(9.0, s.names["a"], 7, Outcome.SUCCEEDED)]),
    "the start of an old attempt": ("I8", lambda s: [AttemptStarted(9.0, s.names["a"], 7, (NodeId("n1"),))]),
    "a checkpoint of an old attempt": ("I8", lambda s: [CheckpointSaved(9.0, s.names["b"], 1, "c", 9)]),
    "a version out of order": (
        "I6",
        lambda s: [Published(9.0, Artefact("dataset", "d", "file:///d"), 2, s.names["b"], 1)],
    ),
    "a version by each of two attempts": (
        "I6",
        lambda s: [Published(9.0, Artefact("dataset", "d", "f"), n, s.names["b"], n) for n in (1, 2)],
    ),
    "an id that is given twice": ("I2", lambda s: [Submitted(9.0, of(s, "a").work)]),
    "a key that is used twice": (
        "I2",
        lambda s: [Submitted(9.0, replace(of(s, "a").work, id=WorkloadId(id)), "k") for id in ("x", "y")],
    ),
    "an old fence that is given again": ("I7", lambda s: [Granted(9.0, wait_of(s), 1, s.fence, (NodeId("n2"),))]),
    "a number that is left out": ("I7", lambda s: [Granted(9.0, wait_of(s), 2, 99, (NodeId("n2"),))]),
    "a grant on a node that is unknown": ("I1", lambda s: [Granted(9.0, wait_of(s), 1, 99, (NodeId("n9"),))]),
    "a grant on a node that has gone": (
        "I1",
        lambda s: [
            NodeChanged(9.0, node("n2", state=NodeState.DOWN)),
            Granted(9.0, wait_of(s), 1, 99, (NodeId("n2"),)),
        ],
    ),
    "a grant to what was told to stop": (
        "I4",
        lambda s: [StopRequested(9.0, wait_of(s)), Granted(9.0, wait_of(s), 1, 99, (NodeId("n2"),))],
    ),
    "a grant in a tenant that is paused": (
        "I5",
        lambda s: [TenantPaused(9.0, "team"), Granted(9.0, wait_of(s), 1, 99, (NodeId("n2"),))],
    ),
    "a grant above a limit": (
        "I5",
        lambda s: [
            TenantsApplied(9.0, (tenant("team", limit=(("CPU", 2000),)),)),
            Granted(9.0, wait_of(s), 1, 99, (NodeId("n2"),)),
        ],
    ),
    "an epoch that was there before": ("I12", lambda s: [EpochStarted(9.0, 5, ""), EpochStarted(9.0, 5, "")]),
    "an order to yield without a cause": ("I13", lambda s: [PreemptionOrdered(9.0, s.names["a"], 1, "")]),
    "a second order to yield": ("I13", lambda s: [PreemptionOrdered(9.0, s.names["a"], 1, "user")] * 2),
    "an order to leave a node that is ready": ("I13", lambda s: [PreemptionOrdered(9.0, s.names["a"], 1, "node")]),
    "an order to yield for what is over": (
        "I13",
        lambda s: [PreemptionOrdered(9.0, s.names["a"], 1, "priority", (s.names["b"],))],
    ),
    "an order to yield for one that gets nothing": (
        "I13",
        lambda s: [PreemptionOrdered(9.0, s.names["a"], 1, "priority", (wait_of(s),))],
    ),
    "an order to yield to one no higher": (
        "I11",
        lambda s: [PreemptionOrdered(9.0, s.names["a"], 1, "priority", (wait_of(s),))],
    ),
    "an event that changes nothing": ("I14", lambda s: [TenantsApplied(9.0, (s.tenants["team"],))]),  # type: ignore[index]  # an id
    "an event that is older than the one before": (
        "I4",
        lambda s: [StopRequested(9.0, s.names["a"]), StopRequested(8.0, wait_of(s))],
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_among_events_is_noticed(name: str) -> None:
    number, events = EVENTS[name]
    bench = sound()
    bench.turn(submit(want("c")))
    found = turn_violations(bench.state, events(bench.state))
    assert any(wrong.startswith(number) for wrong in found), found


def test_no_progress_is_given_up_but_where_it_cannot_be_read() -> None:
    state = change(sound().state, "a", step=5)
    assert not turn_violations(state, [CheckpointSaved(9.0, state.names["a"], 1, "c", 3)])
    assert progress_is_kept(of(state, "a"), replace(of(state, "a"), step=3))
    assert progress_is_kept(of(state, "a"), replace(of(state, "a"), attempts=()))


W, V = WorkloadId("w"), WorkloadId("v")

LOGS: dict[str, tuple[str, list[Event]]] = {
    "a fence that is given twice": ("I7", [Granted(1.0, W, 1, 1, ()), Granted(2.0, V, 1, 1, ())]),
    "a grant after the end": ("I4", [Finished(1.0, W, "STOPPED"), Granted(2.0, W, 1, 1, ())]),
    "an attempt that is left out": ("I4", [Granted(1.0, W, 2, 1, ())]),
    "two ends": ("I6", [Finished(1.0, W, "STOPPED"), Finished(2.0, W, "STOPPED")]),
    "a checkpoint of the attempt before": (
        "I8",
        [Granted(1.0, W, 1, 1, ()), Granted(2.0, W, 2, 2, ()), CheckpointSaved(3.0, W, 1, "c", 1)],
    ),
    "two orders for one that did not run": (
        "I13",
        [PreemptionOrdered(1.0, W, 1, "priority", (V,)), PreemptionOrdered(2.0, W, 2, "priority", (V,))],
    ),
    "time that runs back": ("I4", [StopRequested(2.0, W), StopRequested(1.0, V)]),
}


@pytest.mark.parametrize("name", LOGS)
def test_in_a_log_is_noticed(name: str) -> None:
    number, events = LOGS[name]
    found = History().read(events)
    assert any(wrong.startswith(number) for wrong in found), found


def test_one_may_yield_again_for_one_that_ran_in_between() -> None:
    orders = [PreemptionOrdered(at_s, W, n, "priority", (V,)) for at_s, n in ((1.0, 1), (3.0, 2))]
    assert History().read([orders[0], Granted(2.0, V, 1, 1, ()), orders[1]]) == []


def test_what_takes_too_long_is_noticed() -> None:
    """Each bound of time is met at its moment and broken after it."""
    bench = sound()
    state, now_s = bench.state, bench.now_s
    assert not stuck(state, now_s)
    ending = change(state, "a", attempts=(replace(first(state, "a"), deadline_s=now_s),))
    assert not stuck(ending, now_s + 10.0)
    assert stuck(ending, now_s + 10.1)
    starting = change(state, "a", attempts=(replace(first(state, "a"), started_s=None),))
    assert stuck(starting, now_s + 700.0)


def test_what_is_left_behind_is_noticed() -> None:
    state, b = sound().state, sound().id("b")
    left = [ObservedAttempt(b, 1, 1, Phase.RUNNING)]
    ended_s = of(state, "b").attempts[0].ended_s
    assert ended_s is not None
    assert not left_behind(state, ended_s + 30.0, left)
    assert left_behind(state, ended_s + 31.0, left)[0].startswith("L3")
    stopped = change(state, "b", status=Status.STOPPED)
    assert left_behind(stopped, ended_s + 11.0, left)[0].startswith("L7")
    assert not left_behind(stopped, ended_s + 99.0, [replace(left[0], phase=Phase.ENDED)])


def test_a_gang_that_runs_on_without_a_member_is_noticed() -> None:
    assert not maimed({(W, 1): 5.0}, 15.0)
    assert maimed({(W, 1): 5.0}, 15.1)[0].startswith("I10")


def test_a_cluster_that_is_idle_beside_work_is_noticed() -> None:
    bench = Bench()
    bench.turn(submit(want("a")))
    assert not idle_beside_work(bench.state, bench.now_s + 12.0)
    assert idle_beside_work(bench.state, bench.now_s + 13.0)[0].startswith("L6")
    bench.runs("a", "n1")
    bench.turn(submit(want("big", cpu=99)))
    assert not idle_beside_work(bench.state, bench.now_s + 99.0)


def test_the_bound_grows_with_the_work_that_is_open() -> None:
    bench = Bench()
    none_s = bound_s(bench.state, 0.0)
    bench.turn(submit(want("a", estimate_s=100.0)))
    assert bound_s(bench.state, 0.0) >= none_s + 200.0


def test_the_fold_is_total_over_events_of_unknown_workloads() -> None:
    ghost = of(sound().state, "a").id + "x"
    events = (Waits(1.0, ghost, "r", "d"), Finished(2.0, ghost, "FAILED"), Requeued(3.0, ghost, "why"))  # type: ignore[arg-type]  # an id
    state = replay(events)
    assert state.version == 3
    assert not state.workloads


def test_progress_in_the_fold_never_falls() -> None:
    bench = sound()
    state = replay([CheckpointSaved(1.0, bench.id("a"), 1, f"c/{step}", step) for step in (5, 3)], bench.state)
    assert of(state, "a").step == 5


def test_the_fold_counts_every_event() -> None:
    bench = sound()
    version = bench.state.version
    assert evolve(Waits(1.0, bench.id("a"), "r", "d"), bench.state).version == version + 1
