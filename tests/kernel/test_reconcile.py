"""Actions are a difference: asked again while it lasts, none once it is gone, and what frees room comes first."""

from __future__ import annotations

from aios.kernel.actions import Forget, Kill, Launch, Stop
from aios.kernel.events import Outcome
from aios.kernel.ports import Phase, StopWork
from aios.kernel.reconcile import reconcile
from tests.support.bench import Bench
from tests.support.building import submit, want


def bench_with(*names: str) -> Bench:
    bench = Bench()
    bench.turn(*(submit(want(name, grace_s=10.0)) for name in names))
    return bench


def test_the_same_difference_gives_the_same_actions() -> None:
    bench = bench_with("a")
    bench.turn(plan=bench.plan({"a": ["n1"]}))
    actions = reconcile(bench.state, bench.now_s, bench.observed())
    assert actions == bench.last.actions
    assert actions


def test_nothing_is_asked_where_all_is_as_wanted() -> None:
    bench = bench_with("a")
    bench.runs("a", "n1")
    assert reconcile(bench.state, bench.now_s, bench.observed()) == ()


def test_a_stop_is_asked_until_it_is_seen_with_the_grace_that_is_left() -> None:
    bench = bench_with("a")
    bench.runs("a", "n1")
    assert bench.turn(StopWork(bench.id("a"))).actions == (Stop(bench.id("a"), 1, "stop", 10.0),)
    assert bench.turn(after_s=4.0).actions == (Stop(bench.id("a"), 1, "stop", 6.0),)
    bench.sees("a", Phase.STOPPING)
    assert bench.turn().actions == ()
    assert bench.turn(after_s=5.0).actions == (Kill(bench.id("a"), 1),)


def test_a_stop_during_a_preemption_keeps_the_earlier_deadline() -> None:
    bench = bench_with("a")
    bench.runs("a", "n1")
    bench.turn(submit(want("b", cpu=4, priority=5)), submit(want("c", cpu=4, priority=5)))
    bench.turn(plan=bench.plan({"b": ["n1"]}, preempt={"a": ["b"]}))
    deadline_s = bench.now_s + 10.0
    bench.turn(StopWork(bench.id("a")), after_s=5.0)
    assert bench["a"].attempt.deadline_s == deadline_s  # type: ignore[union-attr]  # it has one
    assert bench.last.actions == (Stop(bench.id("a"), 1, "stop", 5.0),)


def test_what_frees_room_comes_before_what_takes_it() -> None:
    bench = bench_with("a", "b")
    bench.runs("a", "n1")
    bench.turn(plan=bench.plan({"b": ["n2"]}))
    bench.sees_end("a", Outcome.FAILED)
    bench.misses("b")
    kinds = [type(action) for action in bench.turn().actions]
    assert kinds == [Forget, Launch]
