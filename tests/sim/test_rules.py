"""Limits, pauses and quarantine on virtual time, from seeds: each rule holds at every moment, and all work ends."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest

from aios.adapters.sim import SimExecutor
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning
from aios.kernel.actions import Action, Launch
from aios.kernel.concurrency import paused_by
from aios.kernel.events import (
    AttemptEnded,
    AttemptStarted,
    DeadlineMissed,
    Event,
    Finished,
    Granted,
    Limits,
    NodeQuarantined,
    Outcome,
    ResumedFrom,
    WorkloadId,
)
from aios.kernel.evolve import evolve, replay
from aios.kernel.invariants import turn_violations, violations
from aios.kernel.ports import ApplyTenants, NewWork, PauseTenant, Request, ResumeTenant
from aios.kernel.quarantine import shut
from aios.kernel.state import State, Status
from aios.simulate import run_until_quiet
from aios.store.memory import MemoryLog
from placement.model import NodeId, Plan, Problem
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from tests.support.building import node, submit, tenant, want

BAD = NodeId("n1")
MOST, MOST_EACH = 3, 2


def greedy(problem: Problem, budget: Budget) -> Plan:
    return Greedy()(problem, budget)


class OneBadNode(SimExecutor):
    """A cluster with a node on which user code fails five seconds after it was launched, while ``bad``."""

    bad = False

    def apply(self, actions: Sequence[Action]) -> None:
        super().apply(actions)
        for action in actions:
            if self.bad and isinstance(action, Launch) and BAD in action.nodes:
                self.at(self.now_s() + 5.0, lambda id=action.work.id: self.fail_attempt(id))  # type: ignore[misc]


class Story:
    """A loop over a cluster of six nodes, whose state is judged after every event."""

    def __init__(self, seed: int, bad: bool = True) -> None:
        self.random = random.Random(seed)
        self.executor = OneBadNode([node(f"n{i}", cpu=4) for i in range(1, 7)], seed)
        self.executor.bad = bad
        self.log = MemoryLog()
        self.loop = Loop(self.log, self.executor, InlinePlanning(greedy))
        self.before = State()
        self.events: list[Event] = []
        self.ran: Counter[WorkloadId] = Counter()
        self.wrong: list[str] = []
        self.loop.on_events(self.judge)
        self.loop.start()

    def at(self, at_s: float, request: Request) -> None:
        self.executor.at(at_s, lambda: self.loop.submit(request))  # type: ignore[arg-type, return-value]  # no answer

    def run(self) -> State:
        run_until_quiet(self.loop, self.executor, until_s=50_000.0)
        assert not self.wrong, self.wrong
        assert replay(event for _, event in self.log.read()) == self.loop.state
        return self.loop.state

    def judge(self, events: Sequence[Event], state: State) -> None:
        """Note what breaks a rule, with the state just before each event."""
        if self.before.version == 0:
            self.before = replay(e for _, e in self.log.read() if e not in events)
        self.wrong += turn_violations(self.before, events) + violations(state)  # type: ignore[operator]  # both tuples
        for event in events:
            if isinstance(event, Granted):
                self.granted(event, self.before)
            if isinstance(event, AttemptEnded):
                attempt = self.before.workloads[event.workload].attempts[-1]
                started_s = event.at_s if attempt.started_s is None else attempt.started_s
                self.ran[event.workload] += event.at_s - started_s  # type: ignore[assignment]  # seconds
            self.before = evolve(event, self.before)
        self.events += events
        self.running(state)

    def granted(self, event: Granted, state: State) -> None:
        work = state.workloads[event.workload].work
        if paused_by(state, work.tenant) is not None:
            self.wrong.append(f"{event.at_s}: {event.workload} starts in a paused tenant")
        if any(shut(state, id) for id in event.nodes):
            self.wrong.append(f"{event.at_s}: {event.workload} starts on a node in quarantine")

    def running(self, state: State) -> None:
        active = [w.work for w in state.workloads.values() if w.status.active and w.work.tenant == "team"]
        each = Counter(work.user for work in active)
        if len(active) > MOST or max(each.values(), default=0) > MOST_EACH:
            self.wrong.append(f"{len(active)} run, of users {dict(each)}")
        if 3 * len(state.quarantines) > len(state.nodes):
            self.wrong.append(f"{len(state.quarantines)} of {len(state.nodes)} nodes are in quarantine")

    def works(self, n: int) -> list[NewWork]:
        made = []
        for i in range(n):
            long_s = self.random.choice([20.0, 60.0, 300.0])
            work = want(
                f"w{i}",
                cpu=self.random.choice([1, 2, 4]),
                tenant=self.random.choice(["team", "other"]),
                user=self.random.choice(["ada", "bob"]),
                priority=self.random.randint(0, 3),
                estimate_s=long_s,
                max_retries=50,
                grace_s=5.0,
                time_limit_s=self.random.choice([None, 100.0]),
                on_deadline=self.random.choice(["warn", "stop"]),
            )
            deadline_s = self.random.choice([None, 200.0])
            made.append(replace(work, demand=replace(work.demand, deadline_s=deadline_s)))
        return made


@pytest.mark.parametrize("first", range(0, 6, 3))
def test_every_rule_holds_at_every_moment_and_all_work_ends(first: int) -> None:
    for seed in range(first, first + 3):
        story = Story(seed)
        limits = Limits("team", max_running=MOST, max_running_per_user=MOST_EACH)
        story.at(0.0, ApplyTenants((tenant("team"), tenant("other")), limits=(limits,)))
        for work in story.works(20):
            story.at(1.0 + story.random.random() * 300.0, submit(work))
        for _ in range(3):
            at_s = 20.0 + story.random.random() * 400.0
            who, how = story.random.choice(["team", "other"]), story.random.choice(["", "drain", "now"])
            story.at(at_s, PauseTenant(who, how))
            story.at(at_s + 30.0 + story.random.random() * 200.0, ResumeTenant(who))
        story.at(2_000.0, ResumeTenant("team"))
        story.at(2_000.0, ResumeTenant("other"))
        state = story.run()
        assert all(w.status.over for w in state.workloads.values()), f"seed {seed}"
        for id, workload in state.workloads.items():
            limit_s = workload.work.time_limit_s
            if limit_s is not None:
                assert story.ran[id] <= limit_s + 2.0, f"seed {seed}: {id} ran {story.ran[id]} s of {limit_s}"
            if workload.status is Status.FAILED:
                assert workload.reason in ("TimeLimit", "DeadlineMissed"), f"seed {seed}: {workload.reason}"
            missed = [e for e in story.events if isinstance(e, DeadlineMissed) and e.workload == id]
            assert len([e for e in missed if e.expected_s is None]) <= 1, f"seed {seed}: said twice"


def test_work_gets_through_though_a_node_fails_all_of_it() -> None:
    """1. Everything that is put on the first node fails. 2. It is set aside. 3. The rest does the work."""
    story = Story(1)
    story.at(0.0, ApplyTenants((tenant("other"),)))
    for i in range(12):
        story.at(1.0 + i, submit(want(f"w{i}", cpu=4, tenant="other", max_retries=50, estimate_s=60.0)))
    state = story.run()
    assert {w.status for w in state.workloads.values()} == {Status.SUCCEEDED}
    quarantined = [event for event in story.events if isinstance(event, NodeQuarantined)]
    assert {event.node for event in quarantined} == {BAD}
    failed = [e for e in story.events if isinstance(e, AttemptEnded) and e.outcome is Outcome.FAILED]
    after = [e for e in failed if e.at_s > quarantined[0].at_s + 10.0 and e.at_s < quarantined[0].until_s]
    assert not after, "nothing starts there meanwhile"


def test_a_lost_notice_does_not_let_work_run_on() -> None:
    """What ignores its time limit is ended at the limit, to the second."""
    story = Story(2, bad=False)
    story.executor.deaf = lambda work: True
    story.at(0.0, ApplyTenants((tenant("other"),)))
    story.at(1.0, submit(want("deaf", tenant="other", estimate_s=500.0, time_limit_s=100.0, grace_s=10.0)))
    state = story.run()
    (workload,) = state.workloads.values()
    assert (workload.status, workload.reason) == (Status.FAILED, "TimeLimit")
    started = next(e.at_s for e in story.events if isinstance(e, AttemptStarted))
    ended = next(e.at_s for e in story.events if isinstance(e, AttemptEnded))
    assert 100.0 <= ended - started <= 101.0
    assert [e.reason for e in story.events if isinstance(e, Finished)] == ["TimeLimit"]


@pytest.mark.parametrize("n_torn, resumed", [(0, None), (1, "before"), (2, "anew")])
def test_a_torn_checkpoint_leads_to_the_one_before_and_it_is_said(n_torn: int, resumed: str | None) -> None:
    """1. Work saves its progress every 10 s. 2. Its node dies, with its latest checkpoints. 3. It goes on elsewhere."""
    story = Story(3, bad=False)
    story.at(0.0, ApplyTenants((tenant("other"),)))
    story.at(1.0, submit(want("w", tenant="other", estimate_s=100.0)))

    def strike() -> None:
        (workload,) = story.loop.state.workloads.values()
        assert workload.current is not None
        assert workload.before_step
        story.executor.torn = {workload.checkpoint, workload.before_checkpoint} if n_torn == 2 else set()
        story.executor.torn |= {workload.checkpoint} if n_torn else set()
        story.executor.kill_node(workload.current.nodes[0])

    story.executor.at(60.0, strike)
    state = story.run()
    (workload,) = state.workloads.values()
    assert workload.status is Status.SUCCEEDED
    fell = [event for event in story.events if isinstance(event, ResumedFrom)]
    assert [event.step > 0 for event in fell] == {None: [], "before": [True], "anew": [False]}[resumed]
    assert all("is torn" in event.why for event in fell)
    assert workload.attempts[-1].resumed_step == (fell[0].step if fell else workload.attempts[-1].resumed_step)
