"""The shell around the kernel: observe, step, record, answer, act, ask; then wait.

Theory of operation. One thread turns. Requests come from any thread through ``submit`` and are answered once their
events are durable. Nothing is done before it is recorded, so that a control plane that dies at any point leaves either
nothing or a record that its successor acts upon; and nothing is done before the log has confirmed that this is still
the one writer. What is remembered between turns (the state, which question was asked) can be had again from the log or
costs one more solve.

Its time is the executor's, but never before the log's: durations go on rightly where a clock was set back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import structlog

from aios.control.planning import Planning
from aios.control.retiring import Retiring
from aios.control.snapshots import Snapshots
from aios.errors import StoreAnswerLost, StoreError
from aios.kernel.adopt import Judge
from aios.kernel.events import EpochStarted, Event, WorkloadId
from aios.kernel.evolve import evolve
from aios.kernel.invariants import violations as state_violations
from aios.kernel.ports import Asked, Executor, Log, Observed, Refused, Reply, Request, StaleEpoch
from aios.kernel.queue import Proposed, Question
from aios.kernel.retention import Keep
from aios.kernel.state import State
from aios.kernel.step import POLICY, Turn, step
from placement.check import violations
from placement.model import Policy

POLL_S = 1.0
RETRY_PLANNER_S = 5.0
LONGEST_PATIENCE_S = 3600.0
LONGEST_TROUBLE_S = 30.0
CONFIRM_S = 5.0
"""How often a loop that has nothing to record asks whether it is still the writer."""

Listener = Callable[[Sequence[Event], State], None]
"""Gets the events of a turn once they are durable, and the state after them."""

_log = structlog.get_logger("aios.control")


class Loop:
    """One writer of one log.

    Parameters
    ----------
    poll_s : float
        The longest time between two looks at the cluster.
    snapshots : Snapshots or None
        Where the state is kept now and then, and begun from; None: the whole log is folded.
    keep : Keep or None
        How long what is over stays in the state; None: for ever.
    """

    def __init__(
        self,
        log: Log,
        executor: Executor,
        planning: Planning,
        *,
        policy: Policy = POLICY,
        judge: Judge = violations,
        poll_s: float = POLL_S,
        version: str = "",
        snapshots: Snapshots | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._log, self._executor, self._planning = log, executor, planning
        self._policy, self._judge, self._poll_s, self._version = policy, judge, poll_s, version
        self._snapshots = snapshots
        self._retiring = Retiring(keep)
        self._requests: deque[tuple[Request, Future[Reply]]] = deque()
        self._listeners: list[Listener] = []
        self._state = State()
        self._epoch = 0
        self._sequence = 0
        self._ahead_s = self._logged_s = 0.0
        self._confirmed_s: float | None = None
        self._asked: Question | None = None
        self._retry_s: float | None = None
        self._trouble_s = self._patience_s = 0.0
        self._troubled = self._behind = False
        self._stopped = threading.Event()

    @property
    def state(self) -> State:
        """The state after the last recorded turn; may be read by any thread."""
        return self._state

    @property
    def stopped(self) -> bool:
        """Whether this loop has ended, or another one has taken over."""
        return self._stopped.is_set()

    def now_s(self) -> float:
        """Return the time of the log; the executor's, where no earlier clock was ahead of it."""
        return max(self._logged_s, self._executor.now_s() + self._ahead_s)

    def on_events(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def submit(self, request: Request) -> Future[Reply]:
        """Hand in a request from any thread; the reply comes once it is durable."""
        future: Future[Reply] = Future()
        self._requests.append((request, future))
        if self.stopped:
            self._refuse_all()
        self._executor.wake()
        return future

    def start(self) -> None:
        """Take over: begin an epoch, fold the log from its latest snapshot on, record the epoch."""
        self._epoch = self._log.begin()
        saved = None if self._snapshots is None else self._snapshots.load(self._log)
        if saved is not None:
            self._state, self._logged_s = saved
            self._sequence = self._state.version
        for _ in self._rest():
            pass
        self._ahead_s = max(0.0, self._logged_s - self._executor.now_s())
        began = EpochStarted(self.now_s(), self._epoch, self._version)
        self._record([began], evolve(began, self._state))

    def run(self, stop: threading.Event | None = None) -> None:
        """Turn until ``stop`` is set or another control plane has taken over; ``start`` comes first."""
        try:
            while not (stop is not None and stop.is_set()) and not self.stopped:
                self._executor.wait(self.idle_s(self.turn()))
        finally:
            self._stopped.set()
            self._refuse_all()
            self._planning.close()

    def turn(self) -> Turn | None:
        """Turn once; None where nothing could be recorded, and after a take-over."""
        try:
            return self._turn()
        except StaleEpoch as stale:
            _log.warning("taken_over", epoch=self._state.epoch, detail=str(stale))
            self._stopped.set()
            self._refuse_all()
            return None

    def idle_s(self, turn: Turn | None) -> float:
        """Return how long nothing is due after a turn."""
        if turn is None:  # whatever is due, nothing came of it just now
            return min(self._poll_s, self._trouble_s)
        now_s = self.now_s()
        trouble_s = now_s + self._trouble_s if self._trouble_s else None
        due = (turn.wake_s, self._planning.due_s(), self._retry_s, trouble_s)
        return max(0.0, min([self._poll_s, *(due_s - now_s for due_s in due if due_s is not None)]))

    def _turn(self) -> Turn | None:
        # 1. Look.
        self._troubled = False
        if self._behind and not self._come_level():
            return None
        observed, now_s = self._observe(), self.now_s()
        batch = self._take_requests()
        asked = [Asked(idx, request) for idx, (request, _) in enumerate(batch)]
        proposed = self._planning.poll(now_s)
        # 2. Decide.
        try:
            turn = step(
                self._state,
                now_s,
                asked,
                observed,
                proposed,
                policy=self._policy,
                judge=self._judge,
                keep=self._retiring.keep,
                retiring=self._retiring.next(self._state, now_s),
            )
        except Exception as error:  # a bug of ours must not take the workloads' control plane down
            _log.exception("step_failed", requests=len(batch))
            self._step_failed(batch, error)
            return None
        # 3. Record.
        try:
            self._record(turn.events, turn.state)
            self._confirm(turn, now_s)
        except StaleEpoch:
            self._requests.extendleft(reversed(batch))
            raise
        except Exception as error:
            _log.exception("store_failed", events=len(turn.events))
            self._store_failed(batch, error)
            return None
        # 4. Answer.
        for answer in turn.answers:
            _answer([batch[answer.id]], answer.reply)
        # 5. Act.
        self._act(turn)
        # 6. Ask.
        if proposed is not None:
            self._weigh(turn, proposed, now_s)
            if proposed.ask.question != self._asked:
                self._asked = None  # what was asked meanwhile was passed over
        self._ask(turn, now_s)
        if not self._troubled:
            self._trouble_s = 0.0
        return turn

    def _observe(self) -> Observed:
        try:
            return self._executor.observe()
        except Exception:
            _log.exception("observe_failed")
            self._in_trouble()
            return Observed(complete=False)

    def _take_requests(self) -> list[tuple[Request, Future[Reply]]]:
        batch = []
        while self._requests:
            batch.append(self._requests.popleft())
        return batch

    def _record(self, events: Sequence[Event], after: State) -> None:
        if not events:
            return
        self._sequence = self._log.append(self._epoch, events)
        self._state = after
        self._confirmed_s = self._logged_s = max(self._logged_s, events[-1].at_s)
        self._check(events)
        self._tell(events)
        if self._snapshots is not None:
            self._snapshots.consider(self._log, self._epoch, self._state, self._logged_s)

    def _confirm(self, turn: Turn, now_s: float) -> None:
        """Ask the log whether this is still the writer, before anything is done that no new record stands for."""
        due = self._confirmed_s is None or now_s >= self._confirmed_s + CONFIRM_S
        if not turn.events and (turn.actions or due):
            self._log.append(self._epoch, ())
            self._confirmed_s = now_s

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in self._listeners:
            try:
                listener(events, self._state)
            except Exception:
                _log.exception("listener_failed")

    def _check(self, events: Sequence[Event]) -> None:
        for wrong in state_violations(self._state, touched(events)):
            _log.error("invariant_broken", what=wrong, version=self._state.version)

    def _step_failed(self, batch: list[tuple[Request, Future[Reply]]], error: Exception) -> None:
        self._asked = None
        self._in_trouble()
        _answer(batch, Refused("error", f"the control plane failed on this: {error}", "see its log"))

    def _store_failed(self, batch: list[tuple[Request, Future[Reply]]], error: Exception) -> None:
        """Go back to what the log holds. Requests of which nothing was written are refused with the reason, so that
        their senders know at once; where that is not certain, they are tried again with the next turn."""
        if isinstance(error, StoreError) and not isinstance(error, StoreAnswerLost):
            _answer(batch, Refused(error.code, error.message, error.hint))
        else:
            self._requests.extendleft(reversed(batch))
        self._asked = None
        self._in_trouble()
        self._come_level()

    def _come_level(self) -> bool:
        """Return whether the state is again what the log holds; nothing may be decided before it is."""
        self._behind = True
        try:
            written = list(self._rest())
        except Exception:
            _log.exception("store_unreadable")
            self._in_trouble()
            return False
        self._behind = False
        if written:  # it was written after all, only the answer was lost
            self._tell(written)
        return True

    def _rest(self) -> Iterator[Event]:
        """Fold what the log holds beyond the state, and give it."""
        for sequence, event in self._log.read(self._sequence):
            self._state, self._sequence = evolve(event, self._state), sequence
            self._logged_s = max(self._logged_s, event.at_s)
            yield event

    def _act(self, turn: Turn) -> None:
        if not turn.actions:
            return
        try:
            self._executor.apply(turn.actions)
        except Exception:
            _log.exception("apply_failed", actions=len(turn.actions))
            self._in_trouble()

    def _weigh(self, turn: Turn, proposed: Proposed, now_s: float) -> None:
        """Where the planner failed, or its plan could not be used, ask the same again later, and later each time."""
        unused = turn.ask is not None and not turn.settled and turn.ask.question == proposed.ask.question
        if proposed.failed or unused:
            self._patience_s = min(max(RETRY_PLANNER_S, 2 * self._patience_s), LONGEST_PATIENCE_S)
            self._retry_s = now_s + self._patience_s
        else:
            self._patience_s, self._retry_s = 0.0, None

    def _ask(self, turn: Turn, now_s: float) -> None:
        """Ask what was not asked yet, or is due to be asked again."""
        question = None if turn.ask is None else turn.ask.question
        again = self._retry_s is not None and now_s >= self._retry_s
        if again or turn.ask is None:
            self._retry_s = None
        if turn.ask is not None and not turn.settled and (again or question != self._asked):
            self._planning.ask(turn.ask, now_s)
        self._asked = question

    def _in_trouble(self) -> None:
        self._troubled = True
        self._trouble_s = min(max(0.1, 2 * self._trouble_s), LONGEST_TROUBLE_S)

    def _refuse_all(self) -> None:
        refused = Refused("no_control_plane", "this control plane has stopped", "try again: another one takes over")
        _answer(self._take_requests(), refused)


def _answer(batch: Sequence[tuple[Request, Future[Reply]]], reply: Reply) -> None:
    for _, future in batch:
        if future.set_running_or_notify_cancel():
            future.set_result(reply)


def touched(events: Sequence[Event]) -> frozenset[WorkloadId]:
    """Return the workloads that events are about."""
    return frozenset(id for event in events if (id := getattr(event, "workload", None)) is not None)
