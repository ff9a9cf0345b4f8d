"""A whole control plane in one process: the real loop, API and server over a simulated cluster that runs fast."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import httpx

from aios.adapters.embedded import EmbeddedShape
from aios.adapters.sim import SimExecutor
from aios.api.app import create_app
from aios.cli.simulating import nodes_of
from aios.client import Client
from aios.control.loop import Loop
from aios.control.plane import Plane, Watched
from aios.control.planning import InlinePlanning
from aios.kernel.actions import Action, Launch
from aios.kernel.events import Outcome
from aios.kernel.ports import Log, Observed, ObservedAttempt
from aios.kernel.retention import Keep
from aios.kernel.state import State
from aios.models.registrar import Registrar
from aios.store.memory import MemoryLog
from aios.telemetry.metrics import Metrics
from placement.explain import explain_plan
from placement.model import Node, Plan, Problem
from placement.planners.base import Budget
from placement.planners.greedy import Greedy

TOKEN = "a-token-for-tests"
ERROR = "ValueError: no such column\n\nTraceback (most recent call last):\n  frames of the framework"
SPEED = 100.0
"""Seconds of the cluster's clock in one real second."""


class QuickExecutor(SimExecutor):
    """The simulated cluster on a clock that follows the real one, a hundred times as fast.

    A workload prints a line when it starts. A script whose command is ``exit N`` fails with that code, and one whose
    command is ``raise`` fails as user code does.
    """

    def __init__(self, nodes: Sequence[Node], logs: Path) -> None:
        super().__init__(nodes)
        self._logs = logs
        self._bell = threading.Event()

    def wait(self, timeout_s: float) -> None:
        due_s = self.next_s()
        until_s = self.now_s() + timeout_s if due_s is None else min(self.now_s() + timeout_s, due_s)
        if not self._bell.wait(max(0.0, until_s - self.now_s()) / SPEED):
            self.advance(until_s)
        self._bell.clear()

    def wake(self) -> None:
        self._bell.set()

    def log_file(self, workload: str, attempt: int) -> Path:
        return self._logs / f"{workload}-{attempt}.txt"

    def apply(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Launch):
                self._print(action)
        super().apply(actions)
        for action in actions:
            if isinstance(action, Launch) and _command(action)[:1] in (["exit"], ["raise"]):
                self.at(self.now_s() + 3.0, partial(self.fail_attempt, action.work.id, ERROR))

    def observe(self) -> Observed:
        seen = super().observe()
        return replace(seen, attempts=tuple(self._with_code(one) for one in seen.attempts))

    def _with_code(self, one: ObservedAttempt) -> ObservedAttempt:
        if one.outcome is not Outcome.FAILED:
            return one
        command = _command(self.attempts[one.workload, one.attempt].launch)
        return replace(one, exit_code=int(command[1]) if command[:1] == ["exit"] else None)

    def _print(self, launch: Launch) -> None:
        path = self.log_file(launch.work.id, launch.attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"hello from {launch.work.name}, try {launch.attempt}\n", encoding="utf-8")


def _command(launch: Launch) -> list[str]:
    found = json.loads(launch.work.spec).get("entrypoint", [])
    return [str(word) for word in found]


@dataclass(slots=True)
class Served:
    """A control plane that serves on a port of its own, and its home directory."""

    plane: Plane
    executor: QuickExecutor
    url: str
    home: Path
    clients: list[Client] = field(default_factory=list)

    @property
    def state(self) -> State:
        return self.plane.state()

    def client(self) -> Client:
        client = Client(self.url, TOKEN, retry_s=2.0)
        self.clients.append(client)
        return client

    def http(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build(
    home: Path, nodes: Sequence[Node] | None = None, log: Log | None = None, keep: Keep | None = None
) -> tuple[Plane, QuickExecutor]:
    """Return a control plane that does not run yet, on the cluster of ``aios up``; by default its log is in memory."""
    executor = QuickExecutor(nodes_of(EmbeddedShape.demo()) if nodes is None else nodes, home / "logs")
    watched, log = Watched(executor), MemoryLog() if log is None else log
    loop = Loop(log, watched, InlinePlanning(plan), poll_s=1.0, keep=keep)
    metrics = Metrics()
    loop.on_events(metrics)
    loop.on_events(Registrar(home, home / "storage", loop.submit))
    return Plane(log, watched, loop, plan, home / "storage", executor.log_file, metrics.render), executor


def plan(problem: Problem, budget: Budget) -> Plan:
    return explain_plan(problem, Greedy()(problem, budget))


@contextmanager
def served(
    home: Path, nodes: Sequence[Node] | None = None, log: Log | None = None, keep: Keep | None = None
) -> Iterator[Served]:
    """Serve a control plane until the block ends; its home has what clients look for."""
    plane, executor = build(home, nodes, log, keep)
    ended = threading.Semaphore(0)
    port = free_port()
    plane.start(create_app(plane, TOKEN), "127.0.0.1", port, on_end=ended.release)
    one = Served(plane, executor, f"http://127.0.0.1:{port}", home)
    (home / "cluster.json").write_text(json.dumps({"api_url": one.url}), encoding="utf-8")
    (home / "api_token").write_text(TOKEN, encoding="utf-8")
    try:
        _await_nodes(one)
        yield one
    finally:
        for client in one.clients:
            client.close()
        plane.stop()
        assert ended.acquire(timeout=10)
        assert ended.acquire(timeout=10)


def _await_nodes(one: Served) -> None:
    """Return once it serves and has seen its nodes."""
    with Client(one.url, TOKEN, retry_s=20.0) as client:
        while client.status().nodes_total == 0:
            client.events(after=one.state.version, timeout_s=1.0)
