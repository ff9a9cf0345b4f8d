"""The cluster on virtual time: nodes and attempts in memory, one seed, and every fault that is asked for.

It starts nothing real and replaces the executor and nothing else. Like the real one it is level-triggered: what it
shows is what is there. An attempt works one step per second at speed 1 with all its bundles; it saves its progress now
and then, and when it is told to yield. What runs is kept by the cluster, not by the control plane, so a crash of the
latter changes nothing here.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count

from aios.adapters.simulated import Effects, Pace, Runtime, SimAttempt, estimated, made
from aios.kernel.actions import Action, Forget, Kill, Launch, Resize, Stop
from aios.kernel.events import Artefact, Outcome, Work, WorkloadId
from aios.kernel.ports import Observed, ObservedAttempt, ObservedNode, Phase
from aios.kernel.queue import placed
from placement.model import Node, NodeId, Resources
from placement.throughput import throughput, units

TICK_S = 1e-6
"""What a wait takes that would be lost in rounding: without it virtual time would stand still."""


class SimExecutor:
    """An executor whose clock is ``now_s`` and whose randomness is one seed.

    Faults are methods (``kill_node``, ``lose_attempt``, ...), and ``at`` plans a call at a time. ``wait`` moves the
    clock to the next thing that happens, at most by the timeout.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        seed: int = 0,
        runtime: Runtime = estimated,
        pace: Pace | None = None,
    ) -> None:
        self.nodes: dict[NodeId, Node] = {node.id: node for node in nodes}
        self.foreign: dict[NodeId, Resources] = {}
        self.attempts: dict[tuple[WorkloadId, int], SimAttempt] = {}
        self.cut: set[NodeId] = set()
        self.effects = Effects()
        self.deaf: Callable[[Work], bool] = lambda work: False
        """Which workloads ignore what they are told."""
        self.random = random.Random(seed)
        self._runtime, self._pace = runtime, Pace() if pace is None else pace
        self._now_s, self._woken = 0.0, False
        self._order = count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._silent: list[tuple[float, int, Callable[[], None]]] = []
        self._checkpoints: dict[str, float] = {}
        self._fences: dict[WorkloadId, int] = {}  # of what storage takes, by workload
        self.torn: set[str] = set()
        """Checkpoints that can no longer be read."""
        self._held: dict[NodeId, Resources] = {}
        self._shown: dict[NodeId, ObservedNode] = {}

    # -- the executor's port

    def now_s(self) -> float:
        return self._now_s

    def wait(self, timeout_s: float) -> None:
        """Move to the next thing that happens, but no further than the timeout; not at all when woken."""
        if not self._woken:
            until_s = self._now_s + timeout_s
            if until_s == self._now_s and timeout_s > 0:
                until_s += TICK_S
            if self._due and self._due[0][0] <= until_s:
                until_s = self._due[0][0]
            self.advance(until_s)
        self._woken = False

    def wake(self) -> None:
        self._woken = True

    def observe(self) -> Observed:
        nodes = tuple(self._seen_node(id) for id in sorted(self.nodes) if id not in self.cut)
        shown = (self.attempts[key] for key in sorted(self.attempts))
        return Observed(nodes, tuple(self._seen(attempt) for attempt in shown if self._supervised(attempt.launch)))

    def apply(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self.do(action)

    # -- time

    def at(self, at_s: float, call: Callable[[], None], silent: bool = False) -> None:
        """Plan a call at a time that is not past; at a silent one nobody looks."""
        heapq.heappush(self._silent if silent else self._due, (max(at_s, self._now_s), next(self._order), call))

    def next_s(self) -> float | None:
        """Return when something happens next, None when nothing does."""
        return self._due[0][0] if self._due else None

    def advance(self, until_s: float) -> None:
        """Let everything happen that is due by then."""
        while self._due or self._silent:
            first = min((heap for heap in (self._due, self._silent) if heap), key=lambda heap: heap[0][:2])
            if first[0][0] > until_s:
                break
            at_s, _, call = heapq.heappop(first)
            self._now_s = max(self._now_s, at_s)
            call()
        if until_s != float("inf"):
            self._now_s = max(self._now_s, until_s)

    # -- actions

    def do(self, action: Action) -> None:
        """Do one action; a second time it does nothing new."""
        match action:
            case Launch():
                self._launch(action)
            case Resize():
                self._resize(action)
            case Stop():
                self._stop(action)
            case Kill():
                self._kill((action.workload, action.attempt))
            case Forget():
                self._kill((action.workload, action.attempt))
                self._drop((action.workload, action.attempt))

    def _launch(self, launch: Launch) -> None:
        key = (launch.work.id, launch.attempt)
        if key in self.attempts or any(node not in self.nodes for node in launch.nodes):
            return
        attempt = self._from_checkpoint(launch)
        attempt.deaf, attempt.zombie = self.deaf(launch.work), not self._reachable(launch)
        self.attempts[key] = attempt
        self.at(self._now_s + self._pace.launch_s, lambda: self._begin(key))

    def _from_checkpoint(self, launch: Launch) -> SimAttempt:
        """Return an attempt at its checkpoint; where that is torn, at the one before, or at its beginning."""
        uri, step = launch.checkpoint, launch.step
        if torn := uri in self.torn:
            uri, step = launch.before_checkpoint, launch.before_step
        if torn and uri in self.torn:
            uri, step = "", 0
        begun = self._checkpoints.get(uri, float(step))
        attempt = SimAttempt(launch, begun=begun, stored=begun, saved=step, uri=uri)
        if torn:
            attempt.resumed, attempt.resumed_step, attempt.resumed_why = uri, step, f"{launch.checkpoint} is torn"
        return attempt

    def _begin(self, key: tuple[WorkloadId, int]) -> None:
        """Start a gang where all its bundles have room; else try again a little later, as a placement group does."""
        attempt = self.attempts.get(key)
        if attempt is None or attempt.phase is not Phase.LAUNCHING:
            return
        launch = attempt.launch
        if not self._has_room(launch) or not self._reachable(launch):
            self.at(self._now_s + 1.0, lambda: self._begin(key))
            return
        self._note_wrongs(attempt)
        attempt.phase, attempt.started_s = Phase.RUNNING, self._now_s
        attempt.works_from_s = self._now_s + (self._pace.restart_s if launch.attempt > 1 else 0.0)
        attempt.rate = throughput(launch.work.demand, [self.nodes[id] for id in launch.nodes])
        self._hold(launch)
        self._fences[launch.work.id] = max(launch.fence, self._fences.get(launch.work.id, 0))
        self.effects.n_started += 1
        if launch.work.service:
            self.at(self._now_s + self._pace.ready_s, lambda: self._ready(key))
            return
        left_s = max(0.0, self._runtime(launch.work) - attempt.begun) / attempt.rate
        self.at(attempt.works_from_s + left_s, lambda: self._end(key, Outcome.SUCCEEDED))
        self._save_later(key)

    def _stop(self, stop: Stop) -> None:
        key = (stop.workload, stop.attempt)
        attempt = self.attempts.get(key)
        if attempt is None or attempt.told or attempt.phase is Phase.ENDED:
            return
        attempt.told = stop.why
        if attempt.phase is not Phase.LAUNCHING:
            attempt.phase = Phase.STOPPING
        if not attempt.deaf:
            self.at(self._now_s + self._pace.yield_s, lambda: self._yield(key))

    def _yield(self, key: tuple[WorkloadId, int]) -> None:
        attempt = self.attempts.get(key)
        if attempt is None or not self._reachable(attempt.launch):
            return
        if attempt.told == "preempt" and attempt.holds:
            self._save(attempt)
        self._end(key, Outcome.PREEMPTED if attempt.told == "preempt" else Outcome.STOPPED)

    def _resize(self, resize: Resize) -> None:
        """Let bundles go once their requests are answered, or start further ones where there is room."""
        key = (resize.workload, resize.attempt)
        attempt = self.attempts.get(key)
        if attempt is None or not attempt.holds or attempt.told or attempt.resizing == resize.nodes:
            return
        attempt.resizing = resize.nodes
        after_s = self._pace.yield_s if len(resize.nodes) < len(attempt.launch.nodes) else self._pace.ready_s
        if not attempt.deaf:
            self.at(self._now_s + after_s, lambda: self._resized(key, resize.nodes))

    def _resized(self, key: tuple[WorkloadId, int], nodes: tuple[NodeId, ...]) -> None:
        attempt = self.attempts.get(key)
        if attempt is None or not attempt.holds or attempt.resizing != nodes or not self._reachable(attempt.launch):
            return
        before, after = attempt.launch, replace(attempt.launch, nodes=nodes)
        self._free(before)
        if len(nodes) > len(before.nodes) and not self._has_room(after):
            self._hold(before)
            self.at(self._now_s + 1.0, lambda: self._resized(key, nodes))
            return
        self._hold(after)
        attempt.launch, attempt.size = after, len(nodes)

    def _kill(self, key: tuple[WorkloadId, int]) -> None:
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.phase is not Phase.ENDED and self._reachable(attempt.launch):
            self._ended(attempt, Outcome.LOST, "killed")

    def _ready(self, key: tuple[WorkloadId, int]) -> None:
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.phase is Phase.RUNNING:
            attempt.phase = Phase.READY
            url = f"http://sim/{attempt.launch.work.name}"
            attempt.artefacts = (Artefact("endpoint", attempt.launch.work.name, url),)

    def _end(self, key: tuple[WorkloadId, int], outcome: Outcome, error: str = "") -> None:
        attempt = self.attempts.get(key)
        if attempt is None or attempt.phase is Phase.ENDED:
            return
        if outcome is Outcome.SUCCEEDED and self._is_old(attempt):
            self.effects.n_refused += 1
            outcome, error = Outcome.LOST, "StaleFence: a newer attempt is current"
        self._ended(attempt, outcome, error)
        if outcome is Outcome.SUCCEEDED:
            work = attempt.launch.work
            self.effects.n_finished[work.id] = self.effects.n_finished.get(work.id, 0) + 1
            attempt.artefacts = tuple(made(work, attempt.launch.attempt, ref) for _, ref in work.outputs)

    def _ended(self, attempt: SimAttempt, outcome: Outcome, error: str) -> None:
        if attempt.holds:
            self._let_go(attempt, outcome)
        attempt.phase, attempt.outcome, attempt.error = Phase.ENDED, outcome, error

    def _drop(self, key: tuple[WorkloadId, int]) -> None:
        """Forget an attempt, whatever it does."""
        attempt = self.attempts.pop(key, None)
        if attempt is not None and attempt.holds:
            self._let_go(attempt, Outcome.LOST)

    def _hold(self, launch: Launch) -> None:
        for id, amount in placed(launch.work.demand, launch.nodes).items():
            self._held[id] = self._held.get(id, Resources()) + amount

    def _free(self, launch: Launch) -> None:
        for id, amount in placed(launch.work.demand, launch.nodes).items():
            self._held[id] = self._held[id] - amount

    def _let_go(self, attempt: SimAttempt, outcome: Outcome) -> None:
        """Free what an attempt holds, and count what it did in vain."""
        launch = attempt.launch
        self._free(launch)
        assert attempt.started_s is not None, f"{launch.work.id}: what holds its nodes has begun"
        vain_s = min(self._now_s, attempt.works_from_s) - attempt.started_s
        if outcome is not Outcome.SUCCEEDED and not launch.work.service:
            vain_s += (attempt.done(self._now_s) - attempt.stored) / attempt.rate
        self.effects.wasted += vain_s * units(launch.work.demand.resources(len(launch.nodes)))

    # -- progress

    def _save_later(self, key: tuple[WorkloadId, int]) -> None:
        self.at(
            self._now_s + self._pace.save_every_s, lambda: self._save_regularly(key), silent=not self._pace.saves_wake
        )

    def _save_regularly(self, key: tuple[WorkloadId, int]) -> None:
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.phase is Phase.RUNNING:
            self._save(attempt)
            self._save_later(key)

    def _save(self, attempt: SimAttempt) -> None:
        work = attempt.done(self._now_s)
        step = int(work)
        if self._is_old(attempt):
            self.effects.n_refused += 1
        elif step > attempt.saved:
            attempt.saved, attempt.stored = step, work
            attempt.uri = f"sim://{attempt.launch.work.id}/{attempt.launch.attempt}/{step}"
            self._checkpoints[attempt.uri] = work

    def _is_old(self, attempt: SimAttempt) -> bool:
        """Return whether a newer attempt has begun: what this one writes is refused by storage."""
        return attempt.launch.fence < self._fences.get(attempt.launch.work.id, 0)

    # -- faults

    def kill_node(self, id: NodeId) -> None:
        """A node dies: attempts with their first bundle there vanish, others stay without one of their workers."""
        self.nodes.pop(id, None)
        self.cut.discard(id)
        for key in sorted(self.attempts):
            if self.attempts[key].launch.nodes[0] == id:
                self._drop(key)
            elif id in self.attempts[key].launch.nodes:
                self.at(self._now_s + 1.0, lambda key=key: self._end(key, Outcome.LOST, "a worker died"))  # type: ignore[misc]

    def add_node(self, node: Node) -> None:
        """A node joins, or comes back."""
        self.nodes[node.id] = node
        self.cut.discard(node.id)

    def cut_node(self, id: NodeId) -> None:
        """A node cannot be reached; what runs there goes on unseen until it is back."""
        if id in self.nodes:
            self.cut.add(id)
            for attempt in self.attempts.values():
                attempt.zombie |= id in attempt.launch.nodes

    def mend_node(self, id: NodeId) -> None:
        self.cut.discard(id)

    def lose_attempt(self, id: WorkloadId) -> None:
        """A supervisor dies with all its workers, and leaves no word."""
        for key in sorted(self.attempts):
            if key[0] == id and self.attempts[key].holds and self._reachable(self.attempts[key].launch):
                self._drop(key)

    def fail_attempt(self, id: WorkloadId, error: str = "ValueError: simulated") -> None:
        """The user's code raises."""
        for key in sorted(self.attempts):
            if key[0] == id and self.attempts[key].holds and self._reachable(self.attempts[key].launch):
                self._end(key, Outcome.FAILED, error)

    # -- what is there

    def _supervised(self, launch: Launch) -> bool:
        return launch.nodes[0] not in self.cut

    def _reachable(self, launch: Launch) -> bool:
        return not self.cut.intersection(launch.nodes)

    def _seen_node(self, id: NodeId) -> ObservedNode:
        node, foreign, before = self.nodes[id], self.foreign.get(id, Resources()), self._shown.get(id)
        if before is None or before.node is not node or before.foreign != foreign:
            before = self._shown[id] = ObservedNode(node, str(id), foreign)
        return before

    def _seen(self, attempt: SimAttempt) -> ObservedAttempt:
        launch = attempt.launch
        phase = Phase.STOPPING if attempt.told and attempt.phase is not Phase.ENDED else attempt.phase
        return ObservedAttempt(
            launch.work.id,
            launch.attempt,
            launch.fence,
            phase,
            launch.nodes if attempt.started_s is not None else (),
            attempt.uri,
            attempt.saved,
            attempt.outcome,
            attempt.error,
            {Outcome.SUCCEEDED: 0, Outcome.FAILED: 1}.get(attempt.outcome) if attempt.outcome else None,
            attempt.artefacts,
            size=attempt.size,
            resumed=attempt.resumed,
            resumed_step=attempt.resumed_step,
            resumed_why=attempt.resumed_why,
        )

    def _has_room(self, launch: Launch) -> bool:
        for id, amount in placed(launch.work.demand, launch.nodes).items():
            free = self.nodes[id].resources - self._held.get(id, Resources()) if id in self.nodes else Resources()
            if not amount.fits_in(free):
                return False
        return True

    def _note_wrongs(self, attempt: SimAttempt) -> None:
        """Note what must never be: two reachable runs of one workload, or a run that forgot its progress."""
        id = attempt.launch.work.id
        if attempt.zombie:
            return  # nobody can hold back what cannot be reached; its word counts for nothing
        for key in sorted(self.attempts):
            other = self.attempts[key]
            if key[0] == id and other is not attempt and other.holds and not other.zombie:
                self.effects.wrong.append(f"I7: attempts {key[1]} and {attempt.launch.attempt} of {id} run at once")
            if key[0] == id and other.launch.fence > attempt.launch.fence:
                self.effects.wrong.append(f"I7: attempt {attempt.launch.attempt} of {id} starts under an old fence")
