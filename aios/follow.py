"""Following workloads to their end: what changes, and what they print, as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aios.views import LogsView, WaitView, WorkloadView

TICK_S = 0.5
_OWN_CODES = range(1, 256)
_STATES = re.compile(r" \([A-Z]+\)")
"""How those are that a workload waits for: they say so themselves."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line to show: of a workload's log, or about its state."""

    text: str
    workload: str
    log: bool = False


class Pollable(Protocol):
    """What a follower asks: ``aios.Client``."""

    def poll(self, ref: str, until: str = "changed", seen: str = "", timeout_s: float = 20.0) -> WaitView: ...

    def log_piece(self, ref: str, attempt: int = 0, offset: int = 0, timeout_s: float = 0.0) -> LogsView: ...


@dataclass(slots=True)
class _Reading:
    """How far a workload's log was read."""

    attempt: int = 1
    offset: int = 0
    rest: str = ""
    done: bool = False


@dataclass(slots=True)
class _Followed:
    view: WorkloadView
    seen: str = ""
    said: tuple[str, ...] = ()
    reading: _Reading = field(default_factory=_Reading)


class Follower:
    """Follows workloads until all are settled: over, or, being services, ready."""

    def __init__(self, client: Pollable, ids: Sequence[str], tick_s: float = TICK_S) -> None:
        self._client, self._tick_s = client, tick_s
        self._followed = {id: _Followed(client.poll(id, timeout_s=0.0).workloads[0]) for id in ids}
        self._width = max((len(one.view.name) for one in self._followed.values()), default=0)

    @property
    def workloads(self) -> tuple[WorkloadView, ...]:
        """The workloads as they were last seen."""
        return tuple(one.view for one in self._followed.values())

    def lines(self) -> Iterator[Line]:
        """Yield what changes and what is printed, until nothing more is to come."""
        waiting = list(self._followed)
        while waiting:
            for i, id in enumerate(list(waiting)):
                one = self._followed[id]
                answer = self._client.poll(id, "changed", one.seen, self._tick_s if i == 0 else 0.0)
                one.seen, one.view = answer.seen, answer.workloads[0]
                if one.view.over:  # last words come before the end
                    yield from self._printed(one)
                yield from self._told(one)
                yield from self._printed(one)
                if settled(one.view):
                    waiting.remove(id)
            waiting.sort(key=lambda id: self._followed[id].view.status == "QUEUED")  # wait where things happen

    def _told(self, one: _Followed) -> Iterator[Line]:
        view = one.view
        status = _word(view)
        saying = (status, view.reason, _STATES.sub("", view.message))
        if saying == one.said:
            return
        repeated = one.said[:1] == (status,) and status not in ("QUEUED", "PREEMPTED")
        one.said = saying
        if not repeated:
            yield Line(f"{view.name:<{self._width}}  {state_text(view)}", view.id)

    def _printed(self, one: _Followed) -> Iterator[Line]:
        view, reading = one.view, one.reading
        while view.attempts and not reading.done:
            piece = self._client.log_piece(view.id, reading.attempt, reading.offset)
            reading.offset = piece.next_offset
            reading.rest += piece.text
            *whole, reading.rest = reading.rest.split("\n")
            ended = piece.end or (not piece.text and piece.latest_attempt > reading.attempt)
            if ended and reading.rest:
                whole, reading.rest = [*whole, reading.rest], ""
            yield from (Line(self._prefixed(view, text), view.id, log=True) for text in whole)
            if ended and piece.latest_attempt > reading.attempt:
                one.reading = reading = _Reading(reading.attempt + 1)
            elif ended and piece.over:
                reading.done = True
            elif not piece.text:
                return

    def _prefixed(self, view: WorkloadView, text: str) -> str:
        return f"{view.name:<{self._width}} | {text}" if len(self._followed) > 1 else text


def settled(view: WorkloadView) -> bool:
    """Return whether following has come to its end: over, or a service that answers."""
    return view.over or (view.service and view.ready)


def state_text(view: WorkloadView) -> str:
    """Return a workload's state in one line, with why and where."""
    status = _word(view)
    if status in ("STARTING", "RUNNING") and view.planned_nodes:
        where = ", ".join(dict.fromkeys(view.actual_nodes or view.planned_nodes))
        again = f", attempt {len(view.attempts)}" if len(view.attempts) > 1 else ""
        step = f" from step {view.attempts[-1].resumed_step}" if again and view.attempts[-1].resumed_step else ""
        return f"{status} on {where}{again}{step}"
    if status == "READY":
        return f"READY at {view.url}" if view.url else "READY"
    if status in ("FAILED", "STOPPED"):
        return f"{status}: {view.error or view.message or view.reason}"
    return f"{status}{': ' + view.message if view.message and not view.over else ''}"


def _word(view: WorkloadView) -> str:
    return "READY" if view.ready and view.status == "RUNNING" else view.status


def exit_code(views: Sequence[WorkloadView]) -> int:
    """Return what a command exits with: the first failure's own code, 100, 103, 101, or 0.

    A workload that a signal ended (code below 0) counts as 128 plus the signal.
    """
    failed = [view for view in views if view.status == "FAILED"]
    failed.sort(key=lambda view: not view.attempts)  # those that ran say more than those that never could
    if failed:
        code = failed[0].exit_code
        if code is None or code == 0:
            return 100
        code = 128 - code if code < 0 else code
        return code if code in _OWN_CODES else 100
    if any(view.status == "STOPPED" for view in views):
        return 103
    return 0 if all(settled(view) for view in views) else 101
