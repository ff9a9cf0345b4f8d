"""The production loop on virtual time, with faults drawn from one seed at every port; then they stop."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from string import ascii_lowercase

from aios.adapters.sim import SimExecutor, without
from aios.control.loop import Loop
from aios.control.planning import InlinePlanning, PlannerFunction
from aios.kernel.actions import Action, Launch
from aios.kernel.events import Event, Finished, Granted, Published, WorkloadId
from aios.kernel.evolve import replay
from aios.kernel.invariants import turn_violations, violations
from aios.kernel.ports import (
    Accepted,
    ApplyTenants,
    Drain,
    Observed,
    PreemptWork,
    Reply,
    Request,
    Resume,
    StopWork,
    Submit,
    Suspend,
    Undrain,
)
from aios.kernel.state import State, Status
from aios.store.memory import MemoryLog
from placement.model import Node, NodeState, Plan, Problem
from placement.planners.base import Budget
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit

FAULTS_UNTIL_S = 240.0
BOUND_S = 4000.0


BY_HAND = Drain | Undrain | Suspend | Resume | PreemptWork


class Crash(BaseException):
    """The control plane dies here, like under kill -9: nothing may catch it."""


@dataclass(frozen=True)
class Rates:
    """How likely each fault is, per port call or per ten seconds; 0 switches it off."""

    crash: float = 0.0
    partial_observe: float = 0.0
    slow_observe: float = 0.0
    failed_observe: float = 0.0
    lost_launch: float = 0.0
    twice: float = 0.0
    half_applied: float = 0.0
    store_error: float = 0.0
    planner_error: float = 0.0
    node_kill: float = 0.0
    node_cut: float = 0.0
    drain: float = 0.0
    lost_attempt: float = 0.0
    user_error: float = 0.0
    deaf: float = 0.0

    @classmethod
    def swarm(cls, rng: random.Random) -> Rates:
        """Draw rates; each schedule leaves some kinds of fault out."""
        most = cls(0.02, 0.2, 0.1, 0.05, 0.3, 0.3, 0.1, 0.05, 0.2, 0.15, 0.15, 0.1, 0.2, 0.1, 0.5)
        return cls(*(rng.choice((0.0, rate * rng.random(), rate)) for rate in vars(most).values()))


class ChaosExecutor:
    """The simulated cluster behind a bad connection."""

    def __init__(self, sim: SimExecutor, rng: random.Random, rates: Rates) -> None:
        self.sim, self.rng, self.rates = sim, rng, rates
        self.n_faults = 0

    def hits(self, rate: float) -> bool:
        if self.sim.now_s() >= FAULTS_UNTIL_S or self.rng.random() >= rate:
            return False
        self.n_faults += 1
        return True

    def now_s(self) -> float:
        return self.sim.now_s()

    def wait(self, timeout_s: float) -> None:
        self.sim.wait(timeout_s)

    def wake(self) -> None:
        self.sim.wake()

    def observe(self) -> Observed:
        if self.hits(self.rates.crash):
            raise Crash
        if self.hits(self.rates.failed_observe):
            raise ConnectionError("the cluster does not answer")
        observed = self.sim.observe()
        if self.hits(self.rates.slow_observe):
            self.sim.advance(self.sim.now_s() + self.rng.uniform(0.0, 8.0))
        if self.hits(self.rates.partial_observe):
            hidden = frozenset(n.node.id for n in observed.nodes if self.rng.random() < 0.5)
            silent = frozenset(a.workload for a in observed.attempts if self.rng.random() < 0.5)
            observed = without(observed, hidden, silent)
        return observed

    def apply(self, actions: Sequence[Action]) -> None:
        repeated = 2 if self.hits(self.rates.twice) else 1
        for action in list(actions) * repeated:
            if self.hits(self.rates.crash):
                raise Crash
            if self.hits(self.rates.half_applied):
                raise ConnectionError("the cluster went away half way")
            if isinstance(action, Launch) and self.hits(self.rates.lost_launch):
                continue
            self.sim.do(action)


class ChaosLog(MemoryLog):
    """A log whose writer may die, or be told nothing, before and after the write."""

    def __init__(self, chaos: ChaosExecutor) -> None:
        super().__init__()
        self._chaos = chaos

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        rates = self._chaos.rates
        for fault, error in ((rates.crash, Crash()), (rates.store_error, OSError("disk full"))):
            if self._chaos.hits(fault):
                raise error
        last = super().append(epoch, events)
        for fault, error in ((rates.crash, Crash()), (rates.store_error, OSError("answer lost"))):
            if self._chaos.hits(fault):
                raise error
        return last


class World:
    """One schedule: a cluster, clients that ask again until they are answered, and control planes that die."""

    def __init__(self, seed: int, planner: PlannerFunction = first_fit, rates: Rates | None = None) -> None:
        self.seed, self.planner = seed, planner
        self.rng = random.Random(seed)
        self.rates = Rates.swarm(self.rng) if rates is None else rates
        self.nodes = [node(f"n{i}", cpu=self.rng.choice((2, 4, 8))) for i in range(self.rng.randint(2, 4))]
        self.sim = SimExecutor(self.nodes, seed)
        deaf = {name for name in ascii_lowercase if self.rng.random() < self.rates.deaf}
        self.sim.deaf = lambda work: work.name[0] in deaf
        self.executor = ChaosExecutor(self.sim, self.rng, self.rates)
        self.log = ChaosLog(self.executor)
        self.asked: list[tuple[Request, Future[Reply] | None]] = []
        self.loop: Loop | None = None
        self.ids: list[WorkloadId] = []
        self.stops: set[WorkloadId] = set()
        self.crashes = self.turns = 0
        self._plan_work()
        self._plan_faults()
        self._plan_hands(random.Random(f"hands {seed}"))

    def run(self) -> State:
        """Run to the end and return the last state; AssertionError names the seed."""
        self._ask(ApplyTenants((tenant("team"), tenant("other", weight=2.0))))
        loop: Loop | None = None
        while True:
            try:
                loop = loop or self._new_loop()
                if loop is not None and self._turn(loop):
                    break
            except Crash:
                self.crashes += 1
                loop = None
        self._check_end(loop.state)
        return loop.state

    def events(self) -> list[Event]:
        return [event for _, event in self.log.read()]

    def _turn(self, loop: Loop) -> bool:
        before = loop.state
        turn = loop.turn()
        self.turns += 1
        self._check(turn_violations(before, [e for _, e in self.log.read(before.version)]) if turn else ())
        self._check(violations(loop.state))
        self._check(self.sim.effects.wrong)
        self._collect()
        self._check([] if self.sim.now_s() < BOUND_S else [f"not over: {self._open(loop.state)}"])
        quiet = turn is not None and not turn.events and not turn.actions and self.sim.now_s() > FAULTS_UNTIL_S
        if quiet and self.sim.next_s() is None and not self._open(loop.state) and not self._unanswered():
            return True
        self.executor.wait(loop.idle_s(turn))
        return False

    def _check(self, wrong: Sequence[str]) -> None:
        assert not wrong, f"seed {self.seed} at t={self.sim.now_s():g}: {'; '.join(wrong)}"

    def _new_loop(self) -> Loop | None:
        """A control plane starts, folds the log, and the clients ask it again."""
        planning = InlinePlanning(self._shaky_planner, solve_s=self.rng.choice((0.0, 2.0)))
        loop = Loop(self.log, self.executor, planning, poll_s=5.0)
        try:
            loop.start()
        except OSError:
            return None
        self._check([] if loop.state == replay(e for _, e in self.log.read()) else ["the fold is not the state"])
        self.asked = [(request, loop.submit(request)) for request, _ in self.asked]
        self.loop = loop
        return loop

    def _shaky_planner(self, problem: Problem, budget: Budget) -> Plan:
        if self.executor.hits(self.rates.planner_error):
            raise MemoryError("the solver fell over")
        return self.planner(problem, budget)

    def _ask(self, request: Request) -> None:
        self.asked.append((request, self.loop.submit(request) if self.loop is not None else None))

    def _collect(self) -> None:
        """Take the replies; what was accepted must never be lost."""
        unanswered = []
        for request, future in self.asked:
            if future is None or not future.done():
                unanswered.append((request, future))
                continue
            reply = future.result()
            if isinstance(reply, Accepted) and isinstance(request, Submit):
                self.ids.extend(WorkloadId(id) for id in reply.ids)
            elif not isinstance(reply, Accepted) and reply.code in ("no_control_plane", "error"):
                self._check([f"refused: {reply.message}"] if reply.code == "error" else [])
                unanswered.append((request, None))
            elif not isinstance(request, BY_HAND):  # which comes too early or too late as often as not
                self._check([] if isinstance(reply, Accepted) else [f"refused: {reply}"])
        self.asked = unanswered

    def _unanswered(self) -> bool:
        return bool(self.asked)

    def _open(self, state: State) -> list[str]:
        return [f"{id} {w.status.value} {w.reason}" for id in state.live if not (w := state.workloads[id]).ready]

    def _plan_work(self) -> None:
        rng, largest = self.rng, int(max(n.resources.get("CPU") for n in self.nodes) // 1000) - 1
        for i in range(rng.randint(3, 14)):
            name, at_s = f"{ascii_lowercase[i]}{i}", rng.uniform(0.0, 200.0)
            work = self._works(name, largest)
            self.sim.at(at_s, lambda work=work: self._ask(work))  # type: ignore[misc]
            if rng.random() < 0.15:
                self.sim.at(at_s + rng.uniform(0.0, 100.0), lambda name=name: self._stop(name))  # type: ignore[misc]

    def _works(self, name: str, largest: int) -> Submit:
        """Return one workload, or a pipeline of three that ends in a service, the last stage named first."""
        rng = self.rng
        cpu, n = rng.choice(((1, 2), (rng.randint(1, largest), 1), (rng.randint(1, largest), 1)))
        urgency, grace_s = rng.choice((0, 0, 5, 10)), rng.choice((2.0, 20.0))
        mine = {"tenant": rng.choice(("team", "other")), "max_retries": 50, "grace_s": grace_s}
        out, run_s = f"dataset://{name}", rng.uniform(5.0, 90.0)
        first = want(name, n, cpu, priority=urgency, estimate_s=run_s, outputs=(("out", out),), **mine)
        if rng.random() < 0.7:
            return submit(first, key=name)
        after, serve = f"{name}-next", f"{name}-serve"
        second = want(after, priority=urgency, needs=(name,), inputs=(("in", out),), estimate_s=20.0, **mine)
        service = want(serve, cpu=0.001, priority=20, needs=(after,), service=True, **mine)
        return submit(service, second, first, key=name)

    def _stop(self, name: str) -> None:
        id = self.loop.state.names.get(name) if self.loop is not None else None
        if id is not None:
            self.stops.add(id)
            self._ask(StopWork(id, "somebody"))

    def _plan_hands(self, rng: random.Random) -> None:
        """People suspend, preempt and drain; in the end all is resumed and taken back."""
        for _ in range(rng.choice((0, 0, 2, 6))):
            at_s, back_s = rng.uniform(0.0, 200.0), rng.uniform(0.0, 40.0)
            one, nth, what = rng.choice(self.nodes), rng.randrange(99), rng.choice(("suspend", "preempt", "drain"))
            self.sim.at(at_s, lambda one=one, nth=nth, what=what, s=back_s: self._by_hand(what, one, nth, s))  # type: ignore[misc]

    def _by_hand(self, what: str, one: Node, nth: int, back_s: float) -> None:
        if what == "drain":
            self._ask(Drain(one.id, 5.0, "somebody"))
            self._later(back_s, Undrain(one.id, "somebody"))
        elif self.ids:
            id = self.ids[nth % len(self.ids)]
            self._ask(Suspend(id) if what == "suspend" else PreemptWork(id))
            if what == "suspend":
                self._later(back_s, Resume(id))

    def _later(self, in_s: float, request: Request) -> None:
        self.sim.at(self.sim.now_s() + in_s, lambda: self._ask(request))

    def _plan_faults(self) -> None:
        def ticks() -> Iterator[float]:
            at_s = 0.0
            while at_s < FAULTS_UNTIL_S:
                at_s += self.rng.expovariate(1 / 10.0)
                yield at_s

        for at_s in ticks():
            self.sim.at(at_s, self._fault)
        self.sim.at(FAULTS_UNTIL_S, self._mend)

    def _fault(self) -> None:
        chaos, rates, rng = self.executor, self.rates, self.rng
        one: Node = rng.choice(self.nodes)
        back_s = self.sim.now_s() + rng.uniform(0.0, 40.0)
        running = [self.sim.attempts[key].launch.work.id for key in sorted(self.sim.attempts)]
        if chaos.hits(rates.node_kill):
            self.sim.kill_node(one.id)
            self.sim.at(back_s, lambda: self.sim.add_node(one))
        if chaos.hits(rates.node_cut):
            self.sim.cut_node(one.id)
            self.sim.at(back_s, lambda: self.sim.mend_node(one.id))
        if chaos.hits(rates.drain) and one.id in self.sim.nodes:
            self.sim.nodes[one.id] = replace(one, state=NodeState.DRAINING)
        if running and chaos.hits(rates.lost_attempt):
            self.sim.lose_attempt(rng.choice(running))
        if running and chaos.hits(rates.user_error):
            self.sim.fail_attempt(rng.choice(running))

    def _mend(self) -> None:
        for one in self.nodes:
            self.sim.add_node(one)

    def _check_end(self, state: State) -> None:
        """Every accepted workload ended as it should, once, and nothing is left behind."""
        wrong = [f"{id} is lost" for id in self.ids if id not in state.workloads]
        events = self.events()
        for id, workload in sorted(state.workloads.items()):
            stopped = {id, *workload.work.needs} & self.stops or any(
                self.stops & set(state.workloads[need].work.needs) for need in workload.work.needs
            )
            good = workload.ready if workload.work.service else workload.status is Status.SUCCEEDED
            if not good and not (stopped and workload.status.over):
                wrong.append(f"{id} ended {workload.status.value} ({workload.reason}: {workload.message})")
            if sum(isinstance(e, Finished) and e.workload == id for e in events) > 1:
                wrong.append(f"{id} finished twice")
            made = [e for e in events if isinstance(e, Published) and e.workload == id]
            if workload.status is Status.SUCCEEDED and len(made) != len(workload.work.outputs):
                wrong.append(f"{id} made {len(made)} versions of {len(workload.work.outputs)} outputs")
        left = {key[0] for key in self.sim.attempts} - set(state.live)
        wrong += [f"{id} is over and left something in the cluster" for id in sorted(left)]
        grants = [e.fence for e in events if isinstance(e, Granted)]
        wrong += [] if grants == sorted(set(grants)) else ["fences do not rise"]
        wrong += [] if state == replay(events) else ["the log does not give the state"]
        self._check(wrong)
