"""The control plane dies before and after every port call of one story; its successors end as if nothing had been."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aios.adapters.sim import SimExecutor
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning
from aios.kernel.actions import Action
from aios.kernel.events import Event, Published
from aios.kernel.evolve import replay
from aios.kernel.ports import Accepted, ApplyTenants, Observed, Submit
from aios.kernel.state import State
from aios.simulate import LONG_S, run_until_quiet
from aios.store.memory import MemoryLog
from tests.sim.faults import Crash
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit


class Fuse:
    """Burns down with every port call and kills the control plane at the n-th."""

    def __init__(self, at_call: int | None) -> None:
        self.left, self.n_calls = at_call, 0

    def burn(self) -> None:
        self.n_calls += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Crash


class FusedExecutor(SimExecutor):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__([node("n1"), node("n2")])
        self.fuse = fuse

    def observe(self) -> Observed:
        self.fuse.burn()
        return super().observe()

    def apply(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self.fuse.burn()
            self.do(action)
        self.fuse.burn()


class FusedLog(MemoryLog):
    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        self.fuse.burn()
        last = super().append(epoch, events)
        self.fuse.burn()
        return last


def story(at_call: int | None) -> tuple[State, list[Event], Fuse]:
    """Run a pipeline and an urgent workload that displaces its training, with one crash at a port call.

    1. ingest runs and makes a dataset. 2. train needs it and fills both nodes. 3. urgent comes and displaces train.
    4. urgent ends. 5. train resumes and makes a model.
    """
    fuse = Fuse(at_call)
    executor, log = FusedExecutor(fuse), FusedLog(fuse)
    ingest = want("ingest", estimate_s=10.0, outputs=(("out", "dataset://d"),))
    reads = {"needs": ("ingest",), "inputs": (("in", "dataset://d"),), "outputs": (("out", "model://m"),)}
    train = want("train", 2, cpu=4, estimate_s=60.0, **reads)  # type: ignore[arg-type]  # fields of NewWork
    arrivals = [(0.0, submit(ingest, train, key="k1")), (40.0, submit(want("urgent", cpu=4, priority=9), key="k2"))]
    executor.at(executor.now_s(), lambda: None)
    unanswered: list[Submit] = []
    answers: dict[str, tuple[str, ...]] = {}
    loops: list[Loop] = []

    def hand_in(request: Submit) -> None:
        def answered(reply: object) -> None:
            assert isinstance(reply, Accepted), reply
            assert answers.setdefault(request.key, reply.ids) == reply.ids, "another id for the same key"
            if request in unanswered:
                unanswered.remove(request)

        loops[-1].submit(request).add_done_callback(lambda future: answered(future.result()))

    def arrive(request: Submit) -> None:
        unanswered.append(request)
        if loops:
            hand_in(request)

    for at_s, request in arrivals:
        executor.at(at_s, lambda request=request: arrive(request))  # type: ignore[misc]
    while True:
        try:
            loop = Loop(log, executor, InlinePlanning(first_fit), poll_s=LONG_S)
            loop.start()
            loops.append(loop)
            loop.submit(ApplyTenants((tenant("team"),)))
            for request in tuple(unanswered):
                hand_in(request)
            run_until_quiet(loop, executor)
            break
        except Crash:
            continue
    assert not executor.effects.wrong
    assert loop.state == replay(event for _, event in log.read())
    assert set(answers) == {"k1", "k2"}
    return loop.state, [event for _, event in log.read()], fuse


def outcome(state: State, events: list[Event]) -> object:
    """Return what users see of a run, times apart."""
    published = [(e.artefact.name, e.version, e.inputs) for e in events if isinstance(e, Published)]
    rows = sorted((w.work.name, w.status, len(w.attempts), w.failures) for w in state.workloads.values())
    return rows, published


STATE, EVENTS, FUSE = story(None)


def test_the_story_is_told_without_a_crash() -> None:
    rows, published = outcome(STATE, EVENTS)  # type: ignore[misc]  # a pair
    assert [(name, status.value, attempts) for name, status, attempts, _ in rows] == [
        ("ingest", "SUCCEEDED", 1),
        ("train", "SUCCEEDED", 2),
        ("urgent", "SUCCEEDED", 1),
    ]
    assert published == [("d", 1, ()), ("m", 1, ("dataset://d@1",))]


@pytest.mark.parametrize("at_call", range(1, FUSE.n_calls + 1))
def test_a_crash_changes_nothing_at_call(at_call: int) -> None:
    state, events, fuse = story(at_call)
    assert fuse.left is not None
    assert fuse.left <= 0, "it crashed"
    assert outcome(state, events) == outcome(STATE, EVENTS)
    assert state.workloads[state.names["train"]].attempts[1].resumed_step > 0
