"""The control plane as a plain object: the loop in one thread, the API's server in another, nothing of Ray in it."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn

from aios.control.loop import Loop
from aios.control.planning import PlannerFunction
from aios.errors import NoControlPlane
from aios.kernel import queue
from aios.kernel.actions import Action
from aios.kernel.events import Event, WorkloadId
from aios.kernel.evolve import replay
from aios.kernel.ports import Executor, Log, Observed, Reply, Request
from aios.kernel.state import State, Workload
from placement.model import Plan, Problem
from placement.planners.base import Budget

REPLY_S = 20.0
"""How long a request waits for the loop to record it."""
LOG_PIECE = 2**20
SWITCH_S = 0.0005
"""How long a thread of this process may keep the interpreter from others: the planner's would hold up every turn."""
WHAT_IF = Budget(wall_s=2.0, deterministic_s=0.5)

_log = structlog.get_logger("aios.control")


class Watched:
    """An executor that keeps what was seen last, for questions from outside of the loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.last = Observed(complete=False)
        self.now_s, self.wait, self.wake = executor.now_s, executor.wait, executor.wake

    def observe(self) -> Observed:
        self.last = self._executor.observe()
        return self.last

    def apply(self, actions: Sequence[Action]) -> None:
        self._executor.apply(actions)


@dataclass(slots=True)
class Plane:
    """One control plane: what the API asks of it (``aios.api.service.Service``), and its two threads.

    Parameters
    ----------
    log_file : callable
        Returns where an attempt's log lies.
    render : callable
        Returns the metrics of a state in Prometheus' text format.
    facts : mapping
        What ``info`` returns besides the epoch.
    news : callable
        Returns what else ``info`` tells and may change.
    """

    log: Log
    executor: Watched
    loop: Loop
    planner: PlannerFunction
    storage: Path
    log_file: Callable[[str, int], Path]
    render: Callable[[State], str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    news: Callable[[], Mapping[str, Any]] = dict
    _server: uvicorn.Server | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self, app: Any, host: str, port: int, on_end: Callable[[], None]) -> None:
        """Take over, then turn and serve in threads; ``on_end`` is called when either ends."""
        sys.setswitchinterval(SWITCH_S)
        self.loop.start()
        self._server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False))
        for name, run in (("loop", lambda: self.loop.run(self._stop)), ("api", self._server.run)):
            threading.Thread(target=self._until_end, args=(name, run, on_end), name=name, daemon=True).start()

    def stop(self) -> None:
        self._stop.set()
        self.executor.wake()
        if self._server is not None:
            self._server.should_exit = True

    def _until_end(self, name: str, run: Callable[[], None], on_end: Callable[[], None]) -> None:
        try:
            run()
        except BaseException:  # SystemExit is how the server says that its port is taken
            _log.exception("thread_failed", thread=name)
        on_end()

    # What the API asks.

    def state(self) -> State:
        return self.loop.state

    def now_s(self) -> float:
        return self.loop.now_s()

    def info(self) -> Mapping[str, Any]:
        return {
            **self.facts,
            **self.news(),
            "epoch": self.loop.state.epoch,
            "cluster_answers": self.executor.last.complete,
        }

    def submit(self, request: Request) -> Reply:
        try:
            return self.loop.submit(request).result(REPLY_S)
        except FutureTimeout:
            raise _no_reply() from None

    async def hand_in(self, request: Request) -> Reply:
        try:
            async with asyncio.timeout(REPLY_S):
                return await asyncio.wrap_future(self.loop.submit(request))
        except TimeoutError:
            raise _no_reply() from None

    def problem(self) -> Problem:
        return queue.problem(self.state(), self.now_s(), self.executor.last)

    def plan_now(self, problem: Problem) -> Plan:
        return self.planner(problem, WHAT_IF)

    def logs(self, workload: str, attempt: int, offset: int) -> bytes:
        try:
            with open(self.log_file(workload, attempt), "rb") as file:
                file.seek(offset)
                return file.read(LOG_PIECE)
        except FileNotFoundError:
            return b""

    def events(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        return list(itertools.islice(self.log.read(after), limit))

    def recall(self, workload: WorkloadId) -> Workload | None:
        known = State(nodes=self.state().nodes)  # how fast it was depends on where it ran
        return replay((event for _, event in self.log.read_workload(workload)), known).workloads.get(workload)

    def metrics(self) -> str:
        return self.render(self.state())


def _no_reply() -> NoControlPlane:
    return NoControlPlane(
        f"the control plane did not record the request within {REPLY_S:g} s",
        hint="send it again with the same idempotency key",
    )
