"""Time slices and ageing ask again; a workload's progress reaches the planner."""

from __future__ import annotations

from dataclasses import replace

from aios.kernel.events import Outcome
from aios.kernel.queue import LEAST_LEFT_S, problem
from placement.model import ACCELERATOR_KEY, Objective, Policy, Problem
from tests.support.bench import Bench
from tests.support.building import node, submit, want


def shown(bench: Bench) -> Problem:
    return problem(bench.state, bench.now_s, bench.observed(), bench.policy)


def full(policy: Policy) -> Bench:
    """Return a cluster on which ``a`` runs everywhere and ``b`` waits."""
    bench = Bench()
    bench.policy = policy
    bench.turn(submit(want("a", 2, cpu=4, estimate_s=1000.0)), submit(want("b", 2, cpu=4, priority=1)))
    bench.runs("a", "n1", "n2")
    bench.turn()
    return bench


def test_a_time_slice_asks_again_when_it_is_over_and_not_before() -> None:
    bench = full(Policy(time_slice_s=360.0))
    asked = bench.last.ask
    assert asked is not None
    assert bench.last.wake_s == 360.0
    bench.turn()
    assert bench.last.ask is not None
    assert bench.last.ask.question == asked.question
    bench.turn(after_s=360.0 - bench.now_s)
    assert bench.last.ask is not None
    assert bench.last.ask.question != asked.question
    assert bench.last.wake_s == 720.0


def test_without_a_slice_time_alone_asks_nothing() -> None:
    bench = full(Policy())
    asked = bench.last.ask
    bench.turn(after_s=100_000.0)
    assert asked is not None
    assert bench.last.ask is not None
    assert bench.last.ask.question == asked.question


def test_ageing_asks_again_by_its_own_step() -> None:
    bench = full(Policy(ageing_s=50.0))
    assert bench.last.wake_s == 50.0


def test_where_nothing_waits_no_round_wakes() -> None:
    bench = Bench()
    bench.policy = Policy(time_slice_s=10.0)
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    bench.turn()
    assert (bench.last.ask, bench.last.wake_s) == (None, None)


def test_rounds_for_the_most_useful_work_ask_even_when_nothing_waits() -> None:
    """What runs on slow accelerators may go on elsewhere; a service stays where it answers."""
    bench = Bench()
    bench.policy = Policy(objective=Objective.GOODPUT, time_slice_s=360.0)
    bench.turn(submit(want("a")))
    bench.runs("a", "n1")
    bench.turn()
    assert bench.last.ask is not None
    assert bench.last.wake_s == 360.0
    other = Bench()
    other.policy = bench.policy
    other.turn(submit(want("s", service=True)))
    other.runs("s", "n1")
    other.turn()
    assert (other.last.ask, other.last.wake_s) == (None, None)


def test_what_was_saved_is_not_asked_for_again() -> None:
    """1. a, of 2 x 4 CPUs, runs 100 s; 2. it saves and yields to b; 3. it waits with 100 s less to do."""
    bench = full(Policy())
    attempt = bench["a"].attempts[0]
    assert attempt.started_s is not None
    bench.turn(plan=bench.plan({"b": ["n1", "n2"]}, {"a": ["b"]}), after_s=attempt.started_s + 100.0 - bench.now_s)
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/1", step=1)
    bench.turn(after_s=0.0)
    (waits,) = shown(bench).pending
    assert (waits.id, waits.served_s, waits.runtime_s) == (bench.demand("a"), 100.0, 900.0)
    assert waits.attained == 8 * (bench.now_s - attempt.granted_s)
    assert waits.submitted_s == bench["a"].submitted_s


def test_what_was_not_saved_is_asked_for_again() -> None:
    bench = full(Policy())
    bench.turn(plan=bench.plan({"b": ["n1", "n2"]}, {"a": ["b"]}), after_s=100.0)
    bench.sees_end("a", Outcome.PREEMPTED)
    bench.turn()
    (waits,) = shown(bench).pending
    assert (waits.served_s, waits.runtime_s) == (0.0, 1000.0)
    assert waits.attained > 0.0


def test_work_that_outruns_its_estimate_is_thought_to_end_soon() -> None:
    bench = full(Policy())
    bench.turn(plan=bench.plan({"b": ["n1", "n2"]}, {"a": ["b"]}), after_s=5000.0)
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/1", step=1)
    bench.turn()
    assert [demand.runtime_s for demand in shown(bench).pending] == [LEAST_LEFT_S]


def test_work_on_slow_accelerators_has_served_less() -> None:
    bench = Bench()
    bench.nodes = [node("n1", gpu=4, **{ACCELERATOR_KEY: "K80"})]
    demand = replace(want("a").demand, speed=(("K80", 0.25),))
    bench.turn(submit(replace(want("a", estimate_s=1000.0), demand=demand), want("b", cpu=4, priority=1)))
    bench.runs("a", "n1")
    started_s = bench["a"].attempts[0].started_s
    assert started_s is not None
    bench.turn(plan=bench.plan({"b": ["n1"]}, {"a": ["b"]}), after_s=started_s + 100.0 - bench.now_s)
    bench.sees_end("a", Outcome.PREEMPTED, checkpoint="c/1", step=1)
    bench.turn(after_s=0.0)
    assert [demand.served_s for demand in shown(bench).pending] == [25.0]
