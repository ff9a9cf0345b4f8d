"""The invariants bite: each broken state is noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from aios.kernel.events import Artefact, AttemptEnded, CheckpointSaved, Finished, Outcome, Published, Requeued, Waits
from aios.kernel.evolve import evolve, replay
from aios.kernel.invariants import turn_violations, violations
from aios.kernel.state import Attempt, State, Status, Workload
from placement.model import NodeId
from tests.support.bench import Bench
from tests.support.building import node, submit, want


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


def test_a_step_back_into_what_is_over_is_noticed() -> None:
    state = sound().state
    assert any(w.startswith("I4") for w in turn_violations(state, [Requeued(9.0, state.names["b"], "why")]))


def test_a_second_end_is_noticed() -> None:
    state = sound().state
    assert any(w.startswith("I6") for w in turn_violations(state, [Finished(9.0, state.names["b"], "SUCCEEDED")]))


def test_the_end_of_an_old_attempt_is_noticed() -> None:
    state = sound().state
    ended = AttemptEnded(9.0, state.names["a"], 7, Outcome.SUCCEEDED)
    assert any(w.startswith("I8") for w in turn_violations(state, [ended]))


def test_a_version_out_of_order_is_noticed() -> None:
    state = sound().state
    published = Published(9.0, Artefact("dataset", "d", "file:///d"), 2, state.names["b"], 1)
    assert any(w.startswith("I6") for w in turn_violations(state, [published]))


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
