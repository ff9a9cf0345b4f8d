"""The planner in a process of its own: a solve never holds up a turn, and one that hangs is ended.

The interpreter's lock is the reason: a plan takes seconds of pure computation, and in the control plane's own process
every submission would wait for it. The child holds nothing that counts. Where it dies, hangs or cannot be started, the
greedy planner answers here, and the plan says why.

Messages are pickles with their length before them, between two processes of one program over two pipes that nobody else
has.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any

import structlog

from aios.control.planning import PlannerFunction
from placement.model import Plan, Problem
from placement.planners.base import Budget

CHILD = "aios.control.solver"
BEGIN_S = 60.0
"""How long the child may take to load its libraries, on a busy machine."""

SLACK_S = 20.0
"""What an answer may take beyond three times the budget: the ladder has several planners, a judge and a score."""

LENGTH = struct.Struct("<Q")

_log = structlog.get_logger("aios.control")


class ChildPlanner:
    """A planner (``PlannerFunction``) that asks a child process, and answers by itself where that fails.

    Parameters
    ----------
    fallback : PlannerFunction
        What answers in this process where the child does not.
    patience_s : callable
        How long the child may take for a budget, in seconds.
    """

    name = "child"

    def __init__(
        self,
        fallback: PlannerFunction,
        patience_s: Callable[[Budget], float] = lambda budget: 3 * budget.wall_s + SLACK_S,
        child: str = CHILD,
    ) -> None:
        self._fallback, self._patience_s, self._module = fallback, patience_s, child
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def start(self) -> None:
        """Let the child load its libraries before the first question."""
        with self._lock, contextlib.suppress(OSError):
            self._started()

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        with self._lock:
            try:
                return self._asked(problem, budget)
            except (OSError, EOFError, ValueError, pickle.PickleError, TimeoutError) as error:
                self._end()
                why = f"planning process: {type(error).__name__}: {error}"
        _log.warning("planning_process_failed", detail=why)
        plan = self._fallback(problem, budget)
        return replace(plan, stats=replace(plan.stats, fallbacks=(why, *plan.stats.fallbacks)))

    def close(self) -> None:
        """End the child, in the middle of a solve too; what is asked later is answered here."""
        self._closed = True
        process = self._process
        if process is not None:
            process.kill()

    @property
    def pid(self) -> int | None:
        """The child's process, if there is one."""
        return None if self._process is None else self._process.pid

    def _asked(self, problem: Problem, budget: Budget) -> Plan:
        if self._closed:
            raise ValueError("it was closed")
        fresh = self._process is None or self._process.poll() is not None
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        until_s = time.monotonic() + self._patience_s(budget) + (BEGIN_S if fresh else 0.0)
        send(process.stdin, (problem, budget))
        answer = receive(process.stdout, until_s)
        if isinstance(answer, Exception):
            raise ValueError(f"{type(answer).__name__}: {answer}")
        assert isinstance(answer, Plan)
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def send(pipe: IO[bytes], message: Any) -> None:
    """Write one message whole."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    rest = memoryview(LENGTH.pack(len(body)) + body)
    while rest:
        rest = rest[pipe.write(rest) or 0 :]
    pipe.flush()


def receive(pipe: IO[bytes], until_s: float | None = None) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        The other side has gone.
    TimeoutError
        Nothing whole came until ``until_s`` on the monotonic clock.
    """
    (length,) = LENGTH.unpack(_read(pipe, LENGTH.size, until_s))
    return pickle.loads(_read(pipe, length, until_s))


def _read(pipe: IO[bytes], n: int, until_s: float | None) -> bytes:
    parts, left = list[bytes](), n
    while left:
        wait_s = None if until_s is None else max(0.0, until_s - time.monotonic())
        if not select.select([pipe], [], [], wait_s)[0]:
            raise TimeoutError("no answer in time: it was ended")
        part = os.read(pipe.fileno(), min(left, 1 << 20))
        if not part:
            raise EOFError("it ended without an answer")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
