"""What every executor must do, the simulated and the real one: one suite, run over a world of each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from aios.kernel.actions import Forget, Kill, Launch, Stop
from aios.kernel.events import Outcome, Work
from aios.kernel.ports import Executor, Observed, ObservedAttempt, Phase
from placement.model import NodeId


class World(Protocol):
    """An executor on a cluster with at least two nodes of 2 CPUs, and what a test must know besides."""

    executor: Executor
    nodes: Sequence[NodeId]

    def work(self, name: str, n_bundles: int = 1) -> Work:
        """Return work that runs until ``let_end``, one CPU per bundle."""

    def let_end(self, work: Work) -> None: ...

    def n_started(self, work: Work) -> int:
        """Return how often its engine began, counted by its effects."""


_BEFORE = {
    Phase.RUNNING: (Phase.LAUNCHING,),
    Phase.ENDED: (Phase.LAUNCHING, Phase.RUNNING, Phase.STOPPING),
}


def until(world: World, wanted: Callable[[Observed], bool], turns: int = 400) -> Observed:
    """Look, as the loop does, until what is seen is wanted."""
    for _ in range(turns):
        seen = world.executor.observe()
        if seen.complete and wanted(seen):
            return seen
        world.executor.wait(0.5)
    raise AssertionError(f"never seen: {seen}")


def find(seen: Observed, work: Work, attempt: int = 1) -> ObservedAttempt | None:
    found = [one for one in seen.attempts if (one.workload, one.attempt) == (work.id, attempt)]
    assert len(found) <= 1, f"seen twice: {found}"
    return found[0] if found else None


def in_phase(world: World, work: Work, phase: Phase, attempt: int = 1) -> ObservedAttempt:
    def wanted(seen: Observed) -> bool:
        one = find(seen, work, attempt)
        assert one is None or one.phase in (phase, *_BEFORE[phase]), f"wanted {phase}, and it is {one}"
        return one is not None and one.phase is phase

    one = find(until(world, wanted), work, attempt)
    assert one is not None
    return one


class ExecutorSuite:
    """Subclasses give a fixture ``world``."""

    def test_an_attempt_runs_where_its_launch_says(self, world: World) -> None:
        work = world.work("placed", 2)
        world.executor.apply([Launch(work, 1, 1, (world.nodes[1], world.nodes[0]))])
        seen = in_phase(world, work, Phase.RUNNING)
        assert seen.nodes == (world.nodes[1], world.nodes[0])
        assert seen.fence == 1
        self.clear(world, work)

    def test_a_launch_asked_twice_starts_one_engine(self, world: World) -> None:
        work = world.work("twice")
        launch = Launch(work, 1, 1, (world.nodes[0],))
        world.executor.apply([launch, launch])
        in_phase(world, work, Phase.RUNNING)
        world.executor.apply([launch])
        world.let_end(work)
        in_phase(world, work, Phase.ENDED)
        world.executor.apply([launch])
        assert in_phase(world, work, Phase.ENDED).outcome is Outcome.SUCCEEDED
        assert world.n_started(work) == 1
        self.clear(world, work)

    def test_an_end_is_seen_at_every_look_until_it_is_forgotten(self, world: World) -> None:
        work = world.work("ends")
        world.executor.apply([Launch(work, 1, 1, (world.nodes[0],))])
        in_phase(world, work, Phase.RUNNING)
        world.let_end(work)
        first = in_phase(world, work, Phase.ENDED)
        assert first.outcome is Outcome.SUCCEEDED
        assert find(world.executor.observe(), work) == first
        world.executor.apply([Forget(work.id, 1), Forget(work.id, 1)])
        assert find(until(world, lambda seen: find(seen, work) is None), work) is None

    def test_who_is_asked_to_yield_saves_and_ends_preempted(self, world: World) -> None:
        work = world.work("yields")
        world.executor.apply([Launch(work, 1, 1, (world.nodes[0],))])
        in_phase(world, work, Phase.RUNNING)
        world.executor.wait(2.0)
        stop = Stop(work.id, 1, "preempt", 60.0)
        world.executor.apply([stop, stop])
        seen = in_phase(world, work, Phase.ENDED)
        assert seen.outcome is Outcome.PREEMPTED
        assert seen.checkpoint
        assert seen.step > 0
        self.clear(world, work)

    def test_who_is_asked_to_stop_ends_stopped(self, world: World) -> None:
        work = world.work("stops")
        world.executor.apply([Launch(work, 1, 1, (world.nodes[0],))])
        in_phase(world, work, Phase.RUNNING)
        world.executor.apply([Stop(work.id, 1, "stop", 60.0)])
        assert in_phase(world, work, Phase.ENDED).outcome is Outcome.STOPPED
        self.clear(world, work)

    def test_a_kill_ends_it_now_and_once(self, world: World) -> None:
        work = world.work("killed")
        world.executor.apply([Launch(work, 1, 1, (world.nodes[0],))])
        in_phase(world, work, Phase.RUNNING)
        world.executor.apply([Kill(work.id, 1), Kill(work.id, 1)])
        seen = find(world.executor.observe(), work)
        assert seen is not None
        assert (seen.phase, seen.outcome) == (Phase.ENDED, Outcome.LOST)
        self.clear(world, work)

    def test_nothing_happens_to_what_is_not_there(self, world: World) -> None:
        work = world.work("absent")
        world.executor.apply([Stop(work.id, 1, "stop", 1.0), Kill(work.id, 1), Forget(work.id, 1)])
        assert find(world.executor.observe(), work) is None

    def test_a_wake_ends_the_wait(self, world: World) -> None:
        before_s = world.executor.now_s()
        world.executor.wake()
        world.executor.wait(3600.0)
        assert world.executor.now_s() < before_s + 60.0

    def clear(self, world: World, work: Work, attempt: int = 1) -> None:
        world.executor.apply([Kill(work.id, attempt), Forget(work.id, attempt)])
        until(world, lambda seen: find(seen, work, attempt) is None)
