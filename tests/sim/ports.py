"""The ports of the control plane behind bad connections: cluster, log and planner, each with its faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from aios.adapters.sim import SimExecutor
from aios.adapters.simulated import SimAttempt, without
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning, PlannerFunction
from aios.kernel.actions import Action, Launch
from aios.kernel.events import Event, Outcome, WorkloadId
from aios.kernel.ports import Observed, Phase, Snapshot
from aios.kernel.queue import Ask, Proposed
from aios.kernel.state import State
from aios.store.memory import MemoryLog
from placement.model import Cause, DemandId, Grant, Node, NodeId, Plan, Preemption, Problem
from placement.planners.base import Budget
from tests.sim.faults import Faults
from tests.sim.judge import Judge

Takeover = Callable[[], None]

MISSED_S = 5.0
"""How long a supervisor takes to miss a worker's signs of life, where the node is back."""


class NumbExecutor(SimExecutor):
    """A cluster in which a supervisor may not notice that one of its workers is gone."""

    def __init__(self, nodes: Sequence[Node], seed: int, faults: Faults) -> None:
        super().__init__(nodes, seed)
        self.faults = faults
        self.maimed: dict[tuple[WorkloadId, int], float] = {}
        self.newest: dict[WorkloadId, int] = {}
        """The highest fence under which a workload has begun."""

    def advance(self, until_s: float) -> None:
        super().advance(until_s)
        self.faults.now_s = self.now_s()

    def kill_node(self, id: NodeId) -> None:
        part = [key for key in sorted(self.attempts) if id in self.attempts[key].launch.nodes[1:]]
        numb = bool(part) and self.faults.hits("numb_gang")
        if not numb:
            super().kill_node(id)
            return
        gangs = {key: self.attempts[key] for key in part if self.attempts[key].launch.nodes[0] != id}
        for key in gangs:
            del self.attempts[key]
        super().kill_node(id)
        self.attempts.update(gangs)
        self.maimed.update({key: self.now_s() for key in gangs})

    def add_node(self, node: Node) -> None:
        """A node joins, or comes back; a worker that was on it gives no sign of life, and is missed soon."""
        super().add_node(node)
        for key in sorted(self.still_maimed()):
            if node.id in self.attempts[key].launch.nodes:
                self.at(self.now_s() + MISSED_S, lambda key=key: self._end(key, Outcome.LOST, "a worker is silent"))  # type: ignore[misc]

    def _begin(self, key: tuple[WorkloadId, int]) -> None:
        super()._begin(key)
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.holds:
            self.newest[key[0]] = max(attempt.launch.fence, self.newest.get(key[0], 0))

    def _ended(self, attempt: SimAttempt, outcome: Outcome, error: str) -> None:
        super()._ended(attempt, outcome, error)
        self._taken(attempt, "end", outcome is Outcome.SUCCEEDED)

    def _save(self, attempt: SimAttempt) -> None:
        before = attempt.uri
        super()._save(attempt)
        self._taken(attempt, "checkpoint", attempt.uri != before)

    def _taken(self, attempt: SimAttempt, what: str, taken: bool) -> None:
        """Note what storage should have refused, for a newer attempt has begun."""
        launch = attempt.launch
        if taken and launch.fence < self.newest.get(launch.work.id, 0):
            self.effects.wrong.append(f"I8: the {what} of attempt {launch.attempt} of {launch.work.id} was taken late")

    def untold(self, state: State) -> list[str]:
        """Return who was never launched (L5), or never told to end (I13), though the log says that it is to be."""
        found = []
        for id in state.live:
            attempt = state.workloads[id].current
            if attempt is None:
                continue
            one, ends = self.attempts.get((id, attempt.number)), attempt.deadline_s is not None
            if one is None and not ends and attempt.started_s is None and self.nodes.keys() >= set(attempt.nodes):
                found.append(f"L5: attempt {attempt.number} of {id} was granted, and nobody launched it")
            if (
                one is not None
                and ends
                and not one.told
                and one.phase is not Phase.ENDED
                and self._reachable(one.launch)
            ):
                found.append(f"I13: attempt {attempt.number} of {id} is to end, and nobody told it")
        return found

    def shape(self) -> tuple[object, ...]:
        """Return what an action may change, to see whether a second one does."""
        return len(self._due), *(
            (key, one.phase, one.told, one.resizing, one.outcome) for key, one in self.attempts.items()
        )

    def still_maimed(self) -> dict[tuple[WorkloadId, int], float]:
        """Return the gangs that run on without a member, and since when."""
        self.maimed = {key: s for key, s in self.maimed.items() if key in self.attempts and self.attempts[key].holds}
        return self.maimed


class ChaosExecutor:
    """The simulated cluster behind a bad connection."""

    def __init__(self, sim: NumbExecutor, faults: Faults) -> None:
        self.sim, self.faults = sim, faults
        self.skew_s = 0.0
        self.takeover: Takeover = lambda: None
        self.twice_wrong: list[str] = []

    def now_s(self) -> float:
        return self.sim.now_s() + self.skew_s

    def wait(self, timeout_s: float) -> None:
        self.sim.wait(timeout_s)
        self.faults.may_crash()

    def wake(self) -> None:
        self.sim.wake()

    def observe(self) -> Observed:
        faults, rng = self.faults, self.faults.rng
        faults.may_crash()
        if faults.hits("failed_observe"):
            raise ConnectionError("the cluster does not answer")
        observed = self.sim.observe()
        if faults.hits("stale_observe"):
            self.sim.advance(self.sim.now_s() + rng.uniform(0.0, 8.0))
        if faults.hits("takeover"):
            self.takeover()
        if faults.hits("partial_observe"):
            hidden = frozenset(n.node.id for n in observed.nodes if rng.random() < 0.5)
            silent = frozenset(a.workload for a in observed.attempts if rng.random() < 0.5)
            observed = without(observed, hidden, silent)
        faults.may_crash()
        return observed

    def apply(self, actions: Sequence[Action]) -> None:
        faults, todo, stale = self.faults, list(actions), False
        if faults.hits("repeated_actions"):
            todo *= 2
        if len(todo) > 1 and faults.hits("reordered_actions"):
            faults.rng.shuffle(todo)
        for action in todo:
            faults.may_crash()
            if faults.hits("half_applied"):
                raise ConnectionError("the cluster went away half way")
            if faults.hits("takeover"):
                self.takeover()
                stale = True
            if not faults.hits("lost_action"):
                self.do(action, stale)
        faults.may_crash()

    def do(self, action: Action, stale: bool) -> None:
        """Do one action, and see that asking again changes nothing; one of a control plane of the past comes late."""
        known = isinstance(action, Launch) and (action.work.id, action.attempt) in self.sim.attempts
        self.sim.do(action)
        if stale and isinstance(action, Launch) and not known:
            late = self.sim.attempts.get((action.work.id, action.attempt))
            if late is not None:
                late.zombie = True
        before = self.sim.shape()
        self.sim.do(action)
        if self.sim.shape() != before:
            self.twice_wrong.append(f"asking {type(action).__name__} of {action} twice changes something")


class Hands:
    """What one control plane has of the cluster: the judge sees what it is about to do."""

    def __init__(self, executor: ChaosExecutor, judge: Judge) -> None:
        self._executor, self._judge = executor, judge
        self.loop: Loop | None = None
        self.now_s, self.wait, self.wake = executor.now_s, executor.wait, executor.wake
        self.seen = Observed()

    def observe(self) -> Observed:
        self.seen = Observed(complete=False)
        self.seen = self._executor.observe()
        return self.seen

    def overlooked(self, state: State) -> list[str]:
        """Return what a turn saw and did not record: a lost node under an attempt (I10), an older checkpoint (I9)."""
        open_ = {(id, one.number): one for id in state.live if (one := state.workloads[id].current) is not None}
        there = {one.node.id for one in self.seen.nodes} if self.seen.complete else set(state.nodes)
        gone = [key for key, attempt in open_.items() if not there.issuperset(attempt.nodes)]
        found = [f"I10: attempt {number} of {id} is held for open, and a node of it is gone" for id, number in gone]
        for seen in self.seen.attempts:
            attempt = open_.get((seen.workload, seen.attempt))
            if attempt is not None and seen.resumed is not None and not attempt.fell_back:
                found.append(f"I9: {seen.workload} began at {seen.resumed or 'nothing'}, and that is not recorded")
        return found

    def apply(self, actions: Sequence[Action]) -> None:
        assert self.loop is not None, "it was given its loop before it began"
        self._judge.actions(self.loop.state.epoch, self.loop.now_s(), actions)
        self._executor.apply(actions)


class ChaosLog(MemoryLog):
    """A log whose writer may die, or be told nothing, before and after each call; its disk may be full for a while."""

    def __init__(self, faults: Faults, judge: Callable[[int, Sequence[Event]], None]) -> None:
        super().__init__()
        self._faults, self._judge = faults, judge
        self._full_until_s = 0.0

    def begin(self) -> int:
        self._faults.may_crash()
        epoch = super().begin()
        self._faults.may_crash()
        return epoch

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        faults = self._faults
        faults.may_crash()
        if faults.hits("store_error_before"):
            raise OSError("the disk does not answer")
        if faults.hits("disk_full"):
            self._full_until_s = faults.now_s + faults.rng.uniform(0.0, 20.0)
        if events and faults.now_s < self._full_until_s:
            raise OSError("no space left on the device")
        last = super().append(epoch, events)
        if events:
            self._judge(epoch, events)
        faults.may_crash()
        if faults.hits("store_error_after"):
            raise OSError("answer lost")
        return last

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        self._faults.may_crash()
        if self._faults.hits("read_error"):
            raise OSError("the disk does not answer")
        found = super().read(after)
        self._faults.may_crash()
        return found

    def save_snapshot(self, epoch: int, sequence: int, body: bytes) -> None:
        self._faults.may_crash()
        if self._faults.hits("snapshot_error"):
            raise OSError("no space left on the device")
        super().save_snapshot(epoch, sequence, body)
        self._faults.may_crash()

    def load_snapshot(self) -> Snapshot | None:
        """Return none where it was not as it was written, and one that nobody understands where another wrote it."""
        found = super().load_snapshot()
        if found is None or not self._faults.hits("snapshot_error"):
            return found
        return None if self._faults.rng.random() < 0.5 else replace(found, body=found.body[: len(found.body) // 2])

    def everything(self) -> list[Event]:
        return list(self._events)


class ChaosPlanning(InlinePlanning):
    """A planner that may take long, fall over, and answer with a plan that breaks every rule."""

    def __init__(self, planner: PlannerFunction, solve_s: float, faults: Faults) -> None:
        self._real, self._faults = planner, faults
        super().__init__(self._shaky, solve_s=solve_s)

    def ask(self, ask: Ask, now_s: float) -> None:
        self._faults.may_crash()
        super().ask(ask, now_s)
        if self._answer is not None and self._faults.hits("planner_slow"):
            self._answer = (now_s + self._faults.rng.uniform(0.0, 60.0), self._answer[1])

    def poll(self, now_s: float) -> Proposed | None:
        self._faults.may_crash()
        return super().poll(now_s)

    def _shaky(self, problem: Problem, budget: Budget) -> Plan:
        if self._faults.hits("planner_error"):
            raise MemoryError("the solver fell over")
        plan = self._real(problem, budget)
        return _wrong(plan, problem, self._faults) if self._faults.hits("wrong_plan") else plan


def _wrong(plan: Plan, problem: Problem, faults: Faults) -> Plan:
    """Return a plan that puts everybody anywhere, has nobody or anybody yield, and knows a node that is not there."""
    nodes = [node.id for node in problem.nodes] + [NodeId("nowhere")]
    rng = faults.rng
    grants = tuple(Grant(d.id, tuple(rng.choice(nodes) for _ in d.bundles)) for d in problem.pending)
    yields = plan.preemptions if rng.random() < 0.5 else _anybody(problem, random.Random(faults.now_s))
    return replace(plan, grants=grants, preemptions=yields, waiting={})


def _anybody(problem: Problem, rng: random.Random) -> tuple[Preemption, ...]:
    """Return orders to yield for anybody who runs, half of the time; the dice of others are left alone."""
    waiting: list[DemandId] = [demand.id for demand in problem.pending]
    if not waiting or rng.random() < 0.5:
        return ()
    return tuple(
        Preemption(one.demand.id, Cause.PRIORITY, (rng.choice(waiting),))
        for one in problem.running
        if rng.random() < 0.5
    )
