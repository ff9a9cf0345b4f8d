"""The shell around the kernel: answers are durable, trouble passes, and a second control plane ends the first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import pairwise

import pytest

from aios.adapters.sim import SimExecutor
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning, PlannerFunction
from aios.kernel.actions import Action
from aios.kernel.events import EpochStarted, Event, Granted, PlanAdopted, Submitted
from aios.kernel.evolve import replay
from aios.kernel.ports import Accepted, ApplyTenants, Observed, Refused, Reply
from aios.kernel.state import State, Status
from aios.simulate import run_until_quiet
from aios.store.memory import MemoryLog
from placement.model import Grant, NodeId, Plan, Problem
from placement.planners.base import Budget
from tests.support.bench import of_type
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit
from tests.support.silence import silence

TEAM = ApplyTenants((tenant("team"),))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield


class Recorder(MemoryLog):
    """A log that can fail before or after a write."""

    def __init__(self) -> None:
        super().__init__()
        self.fail_before = self.fail_after = self.fail_read = 0

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        if self.fail_before:
            self.fail_before -= 1
            raise OSError("disk full")
        last = super().append(epoch, events)
        if self.fail_after:
            self.fail_after -= 1
            raise OSError("the answer was lost")
        return last

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        if self.fail_read:
            self.fail_read -= 1
            raise OSError("the disk does not answer")
        return super().read(after)

    def all(self) -> list[Event]:
        return [event for _, event in self.read()]


class Cluster(SimExecutor):
    """A simulated cluster that can refuse to answer, and checks that what it is asked is on record."""

    def __init__(self, log: Recorder) -> None:
        super().__init__([node("n1"), node("n2")])
        self.log, self.fail_observe, self.fail_apply = log, 0, 0

    def observe(self) -> Observed:
        if self.fail_observe:
            self.fail_observe -= 1
            raise ConnectionError("no answer")
        return super().observe()

    def apply(self, actions: Sequence[Action]) -> None:
        granted = {(e.workload, e.attempt) for e in of_type(self.log.all(), Granted)}
        for action in actions:
            id = getattr(action, "workload", None) or action.work.id  # type: ignore[union-attr]  # a launch has work
            assert (id, action.attempt) in granted, "asked for before it was recorded"
        if self.fail_apply:
            self.fail_apply -= 1
            raise ConnectionError("no answer")
        super().apply(actions)


def plane(planner: PlannerFunction = first_fit, log: Recorder | None = None) -> tuple[Loop, Cluster, Recorder]:
    log = Recorder() if log is None else log
    cluster = Cluster(log)
    loop = Loop(log, cluster, InlinePlanning(planner), poll_s=3600.0)
    loop.start()
    loop.submit(TEAM)
    return loop, cluster, log


def status(loop: Loop, name: str) -> Status:
    return loop.state.workloads[loop.state.names[name]].status


def test_a_reply_comes_when_its_events_are_in_the_log_not_before() -> None:
    loop, _, log = plane()
    on_record: list[int] = []
    reply = loop.submit(submit(want("a")))
    reply.add_done_callback(lambda _: on_record.append(len(of_type(log.all(), Submitted))))
    assert not reply.done()
    loop.turn()
    assert isinstance(reply.result(0), Accepted)
    assert on_record == [1]


def test_a_submission_runs_to_its_end() -> None:
    loop, cluster, log = plane()
    loop.submit(submit(want("a", 2, cpu=3)))
    run_until_quiet(loop, cluster)
    assert status(loop, "a") is Status.SUCCEEDED
    assert loop.state == replay(log.all())


def test_a_store_that_fails_delays_the_answer_and_loses_nothing() -> None:
    loop, cluster, log = plane()
    loop.turn()
    log.fail_before = 3
    reply = loop.submit(submit(want("a")))
    assert loop.turn() is None
    assert not reply.done()
    assert not loop.state.workloads, "what is not durable is not believed"
    run_until_quiet(loop, cluster)
    assert isinstance(reply.result(0), Accepted)
    assert len(of_type(log.all(), Submitted)) == 1


def test_a_write_whose_answer_is_lost_is_found_and_not_repeated() -> None:
    loop, cluster, log = plane()
    loop.turn()
    heard: list[Event] = []
    loop.on_events(lambda events, _: heard.extend(events))
    log.fail_after = 1
    reply = loop.submit(submit(want("a")))
    run_until_quiet(loop, cluster)
    assert isinstance(reply.result(0), Accepted)
    assert len(of_type(log.all(), Submitted)) == 1
    assert len(of_type(heard, Submitted)) == 1
    assert loop.state == replay(log.all())


def test_nothing_is_decided_before_an_uncertain_write_was_looked_for() -> None:
    """1. A write is there and its answer is lost. 2. The log cannot be read. 3. It can: nothing is written twice."""
    loop, cluster, log = plane()
    loop.turn()
    reply = loop.submit(submit(want("a")))
    log.fail_after, log.fail_read = 1, 2
    assert loop.turn() is None
    assert loop.turn() is None, "the log cannot be read yet"
    assert not reply.done()
    run_until_quiet(loop, cluster)
    assert isinstance(reply.result(0), Accepted)
    assert len(of_type(log.all(), Submitted)) == 1
    assert replay(log.all()) == loop.state


def test_trouble_with_the_cluster_passes() -> None:
    loop, cluster, _ = plane()
    loop.submit(submit(want("a")))
    loop.turn()
    cluster.fail_observe, cluster.fail_apply = 3, 2
    run_until_quiet(loop, cluster)
    assert status(loop, "a") is Status.SUCCEEDED


def test_trouble_is_looked_at_again_later_and_later() -> None:
    loop, cluster, _ = plane()
    cluster.fail_observe = 4
    waits = [loop.idle_s(loop.turn()) for _ in range(4)]
    assert waits == sorted(waits)
    assert waits[0] < waits[-1] <= 30.0
    assert loop.idle_s(loop.turn()) == 3600.0, "an answer ends the trouble"


def test_a_store_that_fails_is_not_asked_without_a_pause_though_a_plan_is_due() -> None:
    def broken(problem: Problem, budget: Budget) -> Plan:
        raise ZeroDivisionError

    loop, cluster, log = plane(broken)
    loop.submit(submit(want("a")))
    while loop.idle_s(loop.turn()) == 0.0:
        pass
    cluster.advance(cluster.now_s() + 5.0)  # the planner is to be asked again
    log.fail_before = 10
    waits = []
    for name in "bcdef":
        loop.submit(submit(want(name)))
        waits.append(loop.idle_s(loop.turn()))
    assert waits == sorted(waits)
    assert 0.0 < waits[0] < waits[-1], "each failure is followed by a longer pause"


def test_a_control_plane_that_was_asleep_touches_nothing_of_its_successor() -> None:
    """1. The first sleeps. 2. Its successor launches work. 3. The first wakes and sees attempts it does not know."""
    first, cluster, log = plane()
    run_until_quiet(first, cluster)
    second = Loop(log, cluster, InlinePlanning(first_fit), poll_s=3600.0)
    second.start()
    second.submit(submit(want("a")))
    while not second.state.live or status(second, "a") is not Status.RUNNING:
        cluster.wait(second.idle_s(second.turn()))
    log_before = log.all()
    assert first.turn() is None
    assert first.stopped
    assert len(cluster.attempts) == 1
    assert log.all() == log_before


def test_an_idle_control_plane_finds_out_that_it_was_succeeded() -> None:
    first, cluster, log = plane()
    run_until_quiet(first, cluster)
    plane(log=log)
    cluster.advance(cluster.now_s() + 10.0)
    assert first.turn() is None
    assert first.stopped


def test_time_goes_on_from_the_log_where_the_clock_was_set_back() -> None:
    """1. A failure at t=1,000,000 backs off. 2. A control plane comes back with a clock at 0. 3. It is tried again."""
    log = Recorder()
    early = Cluster(log)
    early.advance(1_000_000.0)
    loop = Loop(log, early, InlinePlanning(first_fit), poll_s=3600.0)
    loop.start()
    loop.submit(TEAM)
    loop.submit(submit(want("a", max_retries=1)))
    while not loop.state.live or status(loop, "a") is not Status.RUNNING:
        early.wait(loop.idle_s(loop.turn()))
    early.fail_attempt(loop.state.live[0])
    loop.turn()
    late = Cluster(log)
    again = Loop(log, late, InlinePlanning(first_fit), poll_s=3600.0)
    again.start()
    assert again.now_s() >= 1_000_000.0
    run_until_quiet(again, late)
    assert status(again, "a") is Status.SUCCEEDED
    assert again.state.workloads[again.state.names["a"]].waited_s < 10.0, "no wait for the old clock"
    assert [e.at_s for e in log.all()] == sorted(e.at_s for e in log.all())


def test_a_later_control_plane_ends_the_earlier_one() -> None:
    first, _, log = plane()
    first.turn()
    second, _, _ = plane(log=log)
    second.turn()
    lost = first.submit(submit(want("a")))
    assert first.turn() is None
    assert first.stopped
    reply = lost.result(0)
    assert isinstance(reply, Refused)
    assert reply.code == "no_control_plane"
    late = first.submit(submit(want("b"))).result(0)
    assert isinstance(late, Refused)
    assert not of_type(log.all(), Submitted)
    assert [e.epoch for e in of_type(log.all(), EpochStarted)] == [1, 2]


def test_a_later_control_plane_knows_what_the_earlier_one_knew() -> None:
    first, _, log = plane()
    first.submit(submit(want("a")))
    first.turn()
    second, _, _ = plane(log=log)
    assert second.state.workloads == first.state.workloads


def test_a_planner_that_breaks_is_on_record_and_asked_again() -> None:
    calls: list[Problem] = []

    def breaks_twice(problem: Problem, budget: Budget) -> Plan:
        calls.append(problem)
        if len(calls) <= 2:
            raise MemoryError("no memory")
        return first_fit(problem, budget)

    loop, cluster, log = plane(breaks_twice)
    loop.submit(submit(want("a")))
    run_until_quiet(loop, cluster)
    plans = of_type(log.all(), PlanAdopted)
    assert [plan.status for plan in plans] == ["crashed", "crashed", "greedy"]
    assert "MemoryError: no memory" in plans[0].fallbacks[0]
    assert status(loop, "a") is Status.SUCCEEDED


def test_a_plan_that_cannot_be_used_is_asked_for_again_later() -> None:
    calls: list[float] = []

    def overfills_at_first(problem: Problem, budget: Budget) -> Plan:
        calls.append(problem.now_s)
        if len(calls) <= 3:
            return Plan(tuple(Grant(demand.id, (NodeId("n9"),)) for demand in problem.pending))
        return first_fit(problem, budget)

    loop, cluster, _ = plane(overfills_at_first)
    loop.submit(submit(want("a")))
    run_until_quiet(loop, cluster)
    assert [after - before for before, after in pairwise(calls)] == [5.0, 10.0, 20.0]
    assert status(loop, "a") is Status.SUCCEEDED


def test_a_new_question_does_not_wait_for_an_old_one_that_failed() -> None:
    def fails_for_one(problem: Problem, budget: Budget) -> Plan:
        if len(problem.pending) == 1:
            raise MemoryError("no memory")
        return first_fit(problem, budget)

    loop, cluster, _ = plane(fails_for_one)
    loop.submit(submit(want("a")))
    for _ in range(3):
        loop.turn()
    loop.submit(submit(want("b")))
    for _ in range(2):
        loop.turn()
    assert (status(loop, "a"), status(loop, "b")) == (Status.STARTING, Status.STARTING)
    assert cluster.now_s() == 0.0


def test_the_same_question_is_not_asked_twice() -> None:
    asked: list[Problem] = []

    def planner(problem: Problem, budget: Budget) -> Plan:
        asked.append(problem)
        return first_fit(problem, budget)

    loop, cluster, _ = plane(planner)
    loop.submit(submit(want("fits", cpu=4), want("never", cpu=99)))
    for _ in range(20):
        loop.turn()
    assert len(asked) == 1, "nothing changed that a plan depends on"
    run_until_quiet(loop, cluster)
    assert len(asked) == 2, "the end of the first one frees room"


def test_listeners_hear_every_event_once_and_may_fail() -> None:
    loop, cluster, log = plane()
    heard: list[Event] = []

    def broken(events: Sequence[Event], state: State) -> None:
        raise RuntimeError("no disk for traces")

    loop.on_events(broken)
    loop.on_events(lambda events, _: heard.extend(events))
    loop.submit(submit(want("a")))
    run_until_quiet(loop, cluster)
    assert heard == log.all()[1:], "all but the start of the epoch"


def test_a_request_that_breaks_the_kernel_is_refused_and_the_loop_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, cluster, _ = plane()
    loop.turn()
    bad = loop.submit("nonsense")  # type: ignore[arg-type]  # what no caller should send
    loop.turn()
    fine = loop.submit(submit(want("a")))
    run_until_quiet(loop, cluster)
    assert not isinstance(bad.result(0), Accepted)
    assert isinstance(fine.result(0), Accepted)
    assert status(loop, "a") is Status.SUCCEEDED


def test_many_threads_are_each_answered() -> None:
    loop, _, log = plane()
    replies: list[Future[Reply]] = []
    together = threading.Barrier(8)

    def client(n: int) -> None:
        together.wait()
        replies.extend(loop.submit(submit(want(f"w{n}-{i}"), key=f"{n}-{i}")) for i in range(20))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        loop.turn()
    loop.turn()
    assert len({reply.result(0).ids for reply in replies}) == 160  # type: ignore[union-attr]  # all accepted
    assert len(of_type(log.all(), Submitted)) == 160
    for thread in threads:
        thread.join()


def test_run_ends_when_told_and_refuses_what_is_left() -> None:
    loop, _, _ = plane()
    stop = threading.Event()
    loop.on_events(lambda *_: stop.set())
    loop.run(stop)
    late = loop.submit(submit(want("a"))).result(0)
    assert isinstance(late, Refused)
    assert loop.stopped
