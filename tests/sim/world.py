"""One schedule: the production loop on virtual time, faults from one seed at every port, then none; and the judge.

Safety is judged when events become durable and after every turn; what must come to pass, whenever nothing has been
disturbed for a while, and at the end.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import lru_cache

from aios.control.loop import Loop
from aios.control.planning import PlannerFunction
from aios.control.snapshots import Snapshots
from aios.kernel.events import Event, Published, WorkloadId
from aios.kernel.evolve import replay
from aios.kernel.invariants import bound_s, idle_beside_work, left_behind, maimed, neglect, stuck, violations
from aios.kernel.ports import Accepted, ApplyTenants, Refused, Reply, Request, StopWork, Submit
from aios.kernel.records import short, status_of
from aios.kernel.retention import Keep
from aios.kernel.state import State, Status, Workload
from aios.store.chain import workload_of
from aios.store.folded import dumps, loads
from placement.model import Node, NodeState
from tests.sim.faults import FAULTS_UNTIL_S, Crash, Faults, Rates
from tests.sim.judge import Judge
from tests.sim.old_seeds import OLD_SEEDS
from tests.sim.people import BY_HAND, HANG_S, acts, arrivals, otherwise
from tests.sim.ports import ChaosExecutor, ChaosLog, ChaosPlanning, Hands, NumbExecutor
from tests.support.building import node, tenant
from tests.support.first_fit import first_fit

CALM_S = 35.0
"""How long nothing was disturbed before the bounds of time are judged."""
PEOPLE_UNTIL_S = 320.0
"""By then every order of people is given and taken back."""
OVER = ("TimeLimit", "DependencyFailed", "RetriesExhausted")
"""Why endless work, what needs work that was stopped, and work that failed too often may fail."""
MOST_ASKS = 3
SNAPSHOT_EVERY = 40
KEEP = Keep(ended_s=60.0, ended_most=2, least_s=5.0, down_s=10.0)
"""Every other schedule has a control plane that remembers little."""
MOST_TURNS = 20_000
"""A schedule has some two hundred; one that never goes quiet is violated here."""

_loads = lru_cache(maxsize=2)(loads)
"""A snapshot that several control planes begin from is read once: the same bytes give the same state."""


class World:
    """A cluster, people who ask until they are answered, and control planes that die."""

    def __init__(self, seed: int, planner: PlannerFunction = first_fit, rates: Rates | None = None) -> None:
        self.seed, self.planner = seed, planner
        self.keep = KEEP if seed % 2 and seed not in OLD_SEEDS else None
        self.rng = random.Random(seed)
        self.faults = Faults(self.rng, Rates.swarm(self.rng) if rates is None else rates)
        self.nodes = [node(f"n{i}", cpu=self.rng.choice((2, 4, 8))) for i in range(self.rng.randint(2, 4))]
        self.sim = NumbExecutor(self.nodes, seed, self.faults)
        self.sim.deaf = lambda work: work.name[0] in deaf
        deaf = {name for name in "abcdefghijk" if self.faults.hits("deaf")}
        self.executor = ChaosExecutor(self.sim, self.faults)
        self.executor.takeover = self._taken_over
        self.judge = Judge(self.sim.torn)
        self.log = ChaosLog(self.faults, self.judge.events)
        self.judged = State()
        self.asked: list[tuple[Request, Future[Reply] | None, int]] = []
        self.answered: dict[str, tuple[str, ...]] = {}
        self.loop: Loop | None = None
        self.hands: Hands | None = None
        self.ids: list[str] = []
        self.crashes = self.turns = 0
        self.busy_s = 0.0
        self.bound_s: float | None = None
        self._plan()

    def run(self) -> State:
        """Run to the end and return the last state; AssertionError names the seed."""
        self._ask(ApplyTenants((tenant("team"), tenant("other", weight=2.0))))
        while True:
            try:
                if self.loop is None:
                    self._new_loop()
                if self.loop is not None and self._turn(self.loop):
                    break
            except Crash:
                self.crashes += 1
                self.loop = None
            self._check(self.judge.wrong)
        self._check_end(self.loop.state)
        return self.loop.state

    def events(self) -> list[Event]:
        return self.log.everything()

    # -- control planes

    def _turn(self, loop: Loop) -> bool:
        turn = loop.turn()
        self.turns += 1
        self._check([] if self.turns <= MOST_TURNS else ["L2: it never goes quiet"])
        if loop.stopped:  # another one has taken over meanwhile
            self._collect()
            if self.loop is loop:
                self.loop = None
            return False
        state = loop.state
        self._check(self.judge.wrong)
        if state is not self.judged:  # a turn without events leaves the very state that was judged before
            self.judged = state
            self._check(violations(state, None if self.turns % 8 == 0 else state.live))
            self._check(neglect(state) if turn is not None else ())
            self._check_fold(state, whole=False)
        self._check(self.sim.effects.wrong + self.executor.twice_wrong)
        if turn is not None and self.loop is loop and self.hands is not None:
            self._check(self.hands.overlooked(state))
        self._collect()
        self._check_time(loop, turn is not None)
        quiet = turn is not None and not turn.events and not turn.actions and self.sim.now_s() > PEOPLE_UNTIL_S
        if quiet and self._nothing_due() and not self._open(state) and not self.asked:
            return True
        self.executor.wait(loop.idle_s(turn))
        return False

    def _new_loop(self) -> None:
        """A control plane starts, perhaps on a machine with another clock, folds the log, and is asked again."""
        if self.faults.hits("clock_jump"):
            self.executor.skew_s = self.rng.choice((-3600.0, -30.0, 0.0, 5.0, 60.0))
        planning = ChaosPlanning(self.planner, self.rng.choice((0.0, 2.0)), self.faults)
        snapshots = Snapshots(dumps, _loads, every=SNAPSHOT_EVERY, beside=False)
        hands = Hands(self.executor, self.judge)
        hands.loop = loop = Loop(self.log, hands, planning, poll_s=5.0, snapshots=snapshots, keep=self.keep)
        try:
            loop.start()
        except OSError:
            self.executor.wait(1.0)
            return
        self._check_fold(loop.state, whole=True)
        self.loop, self.hands = loop, hands
        self.asked = [(request, loop.submit(request), n) for request, _, n in self.asked]

    def _taken_over(self) -> None:
        """Another control plane starts while this one is in the middle of a call, and turns a few times."""
        self.executor.takeover = lambda: None
        try:
            self._collect()
            self._new_loop()
            for _ in range(self.rng.randint(0, 2)):
                if self.loop is not None:
                    self.executor.wait(self.loop.idle_s(self.loop.turn()))
        except Crash:
            self.loop = None
            raise
        finally:
            self.executor.takeover = self._taken_over

    # -- the judge

    def _check(self, wrong: Sequence[str]) -> None:
        assert not wrong, f"seed {self.seed} at t={self.sim.now_s():g}: {'; '.join(wrong)}"

    def _check_fold(self, state: State, whole: bool) -> None:
        same = state == self.judge.folded if whole else state.version <= self.judge.folded.version
        self._check([] if same else ["I14: the state is not the fold of the log"])

    def _check_time(self, loop: Loop, turned: bool) -> None:
        """Judge what must have come to pass, where nothing was disturbed for a while."""
        now_s, state = self.sim.now_s(), loop.state
        if state.quarantines or any(state.workloads[id].current is not None for id in state.live):
            self.busy_s = loop.now_s()
        if now_s > PEOPLE_UNTIL_S and self.bound_s is None:
            self.bound_s = bound_s(state, now_s)
        if not turned or now_s < self.faults.last_s + CALM_S:
            return
        self._check([*stuck(state, loop.now_s()), *left_behind(state, loop.now_s(), self.sim.observe().attempts)])
        self._check(maimed(self.sim.still_maimed(), now_s))
        self._check(self.sim.untold(state))
        if now_s > PEOPLE_UNTIL_S + CALM_S:
            self._check(idle_beside_work(state, loop.now_s(), self.busy_s))
            late = [f"L1: {request} has been asked {n} times" for request, _, n in self.asked if n > MOST_ASKS]
            self._check(late)
        if self.bound_s is not None and now_s > self.bound_s:
            self._check([f"L2: not over: {open}" for open in self._open(state)])

    def _check_end(self, state: State) -> None:
        """Every accepted workload ended as it should, once, and nothing is left behind."""
        known = self._recalled(state)
        wrong = [f"I3: {id} is lost" for id in self.ids if id not in known]
        wrong += [
            f"I3: {id} left another record" for id, one in state.retired.items() if short(state, known[id]) != one
        ]
        made: dict[WorkloadId, int] = {}
        for event in self.events():
            if isinstance(event, Published):
                made[event.workload] = made.get(event.workload, 0) + 1
        for id, workload in sorted(known.items()):
            good = workload.ready if workload.work.service else workload.status is Status.SUCCEEDED
            if not good and not (workload.status is Status.STOPPED or workload.reason in OVER):
                wrong.append(f"L2: {id} ended {workload.status.value} ({workload.reason}: {workload.message})")
            if workload.status is Status.STOPPED and workload.stop_requested_s is None:
                wrong.append(f"L2: {id} was stopped and nobody asked")
            if workload.status is Status.SUCCEEDED and made.get(id, 0) != len(workload.work.outputs):
                wrong.append(f"I6: {id} made {made.get(id, 0)} versions of {len(workload.work.outputs)} outputs")
        left = {key[0] for key in self.sim.attempts} - set(state.live)
        wrong += [f"L3: {id} is over and left something in the cluster" for id in sorted(left)]
        wrong += [] if state == self.judge.folded else ["I14: the state is not the fold of the log"]
        wrong += violations(state)
        self._check(wrong)

    def _recalled(self, state: State) -> dict[WorkloadId, Workload]:
        """Return all that was ever accepted: what was retired as the log has it."""
        of_retired = (event for event in self.events() if workload_of(event) in state.retired)
        return {**replay(of_retired).workloads, **state.workloads}

    # -- people

    def _ask(self, request: Request, n: int = 0) -> None:
        self.asked.append((request, self.loop.submit(request) if self.loop is not None else None, n))

    def _collect(self) -> None:
        """Take the replies; who gets none, or loses it, asks again with the same key."""
        unanswered: list[tuple[Request, Future[Reply] | None, int]] = []
        for request, future, n in self.asked:
            if future is None or not future.done():
                unanswered.append((request, future, n))
                continue
            reply = future.result()
            if not isinstance(reply, Accepted) and reply.code in ("no_control_plane", "error"):
                self._check([f"refused: {reply.message}"] if reply.code == "error" else [])
                again = self.loop.submit(request) if self.loop is not None and not self.loop.stopped else None
                unanswered.append((request, again, n + (self.sim.now_s() > PEOPLE_UNTIL_S)))
            elif isinstance(request, Submit):
                self._answered(request, reply, unanswered)
            elif not isinstance(request, BY_HAND):
                self._check([] if isinstance(reply, Accepted) else [f"refused: {reply}"])
        self.asked = unanswered

    def _answered(
        self, request: Submit, reply: Reply, unanswered: list[tuple[Request, Future[Reply] | None, int]]
    ) -> None:
        if any(work.content == "other" for work in request.works):
            self._check([] if isinstance(reply, Refused) else [f"I2: other content under key {request.key} was taken"])
            return
        self._check([] if isinstance(reply, Accepted) else [f"refused: {reply}"])
        assert isinstance(reply, Accepted)
        asked = request.works[0].name
        if self.answered.setdefault(asked, reply.ids) != reply.ids:
            self._check([f"I2: {asked}, key {request.key!r}, was answered {self.answered[asked]} and {reply.ids}"])
        missing = [id for id in reply.ids if status_of(self.judge.folded, WorkloadId(id)) is None]
        self._check([f"I3: {id} was answered before it was durable" for id in missing])
        self.ids.extend(id for id in reply.ids if id not in self.ids)
        if self.faults.hits("lost_answer") and self.loop is not None:
            unanswered.append((request, self.loop.submit(request), 0))

    def _nothing_due(self) -> bool:
        """Return whether nothing more happens, but the end of work that never ends."""
        next_s = self.sim.next_s()
        return next_s is None or next_s > HANG_S / 2

    def _open(self, state: State) -> list[str]:
        return [f"{id} {w.status.value} {w.reason}" for id in state.live if not (w := state.workloads[id]).ready]

    # -- the plan

    def _plan(self) -> None:
        rng, sim = self.rng, self.sim
        largest = int(max(n.resources.get("CPU") for n in self.nodes) // 1000) - 1
        for at_s, work, stop_s in arrivals(rng, largest, self.faults.rates.endless):
            sim.at(at_s, lambda work=work: self._ask(work))  # type: ignore[misc]
            self.faults.counts["endless"] += any(one.estimate_s == HANG_S for one in work.works)
            if self.faults.hits("repeated_request"):
                sim.at(at_s + rng.uniform(0.0, 30.0), lambda work=work: self._ask(work))  # type: ignore[misc]
            if self.faults.hits("other_content"):
                sim.at(at_s + rng.uniform(0.0, 90.0), lambda work=work: self._other(work))  # type: ignore[misc]
            if stop_s is not None:
                sim.at(stop_s, lambda name=work.works[-1].name: self._stop(name))  # type: ignore[misc]
        for _ in range(rng.choice((0, 0, 2, 6))):
            sim.at(rng.uniform(0.0, 240.0), self._act)
        at_s = 0.0
        while at_s < FAULTS_UNTIL_S:
            at_s += rng.expovariate(1 / 10.0)
            sim.at(at_s, self._fault)
        sim.at(FAULTS_UNTIL_S, self._mend)

    def _other(self, work: Submit) -> None:
        if work.works[0].name in self.answered:
            self._ask(otherwise(work))

    def _stop(self, name: str) -> None:
        id = self.judge.folded.names.get(name)
        if id is not None:
            self._ask(StopWork(id, "somebody"))

    def _act(self) -> None:
        for in_s, request in acts(self.rng, self.nodes, self.ids):
            self.faults.counts[f"people: {type(request).__name__}"] += 1
            self.sim.at(self.sim.now_s() + in_s, lambda request=request: self._ask(request))  # type: ignore[misc]

    def _fault(self) -> None:
        faults, sim, rng = self.faults, self.sim, self.rng
        faults.now_s = sim.now_s()
        one: Node = rng.choice(self.nodes)
        back_s = sim.now_s() + rng.uniform(0.0, 40.0)
        running = [sim.attempts[key].launch.work.id for key in sorted(sim.attempts)]
        if faults.hits("node_kill"):
            sim.kill_node(one.id)
            sim.at(back_s, lambda: sim.add_node(one))
        if faults.hits("node_flap"):
            sim.kill_node(one.id)
            sim.at(sim.now_s() + rng.choice((0.0, 0.5, 2.0)), lambda: sim.add_node(one))
        if faults.hits("node_cut"):
            sim.cut_node(one.id)
            sim.at(back_s, lambda: sim.mend_node(one.id))
        if one.id in sim.nodes and faults.hits("drain"):
            sim.nodes[one.id] = replace(one, state=NodeState.DRAINING)
        if running and faults.hits("lost_attempt"):
            sim.lose_attempt(rng.choice(running))
        if running and faults.hits("user_error"):
            sim.fail_attempt(rng.choice(running))
        saved = [sim.attempts[key].uri for key in sorted(sim.attempts) if sim.attempts[key].uri]
        if saved and faults.hits("torn_checkpoint"):
            sim.torn.add(rng.choice(saved))

    def _mend(self) -> None:
        for one in self.nodes:
            self.sim.add_node(one)
