"""Instants to strike at: wait until the log shows that a phase of some workload has just begun."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from aios.errors import StoreError
from aios.kernel.events import (
    AttemptEnded,
    AttemptResized,
    Event,
    Granted,
    Outcome,
    PreemptionOrdered,
    ResizeOrdered,
    Submitted,
)
from aios.store.sql import SqlLog

LOOK_S = 0.005


def _is_resize(event: Event) -> bool:
    """In place (services), or by a stop and a start with another number of workers."""
    return isinstance(event, (ResizeOrdered, AttemptResized)) or (
        isinstance(event, PreemptionOrdered) and event.cause == "resize"
    )


PHASES: Mapping[str, Callable[[Event], bool]] = {
    "submit": lambda event: isinstance(event, Submitted),
    "start": lambda event: isinstance(event, Granted),
    "preempt": lambda event: isinstance(event, PreemptionOrdered) and event.cause != "resize",
    "resize": _is_resize,
    "finish": lambda event: isinstance(event, AttemptEnded) and event.outcome is Outcome.SUCCEEDED,
}
"""What the log shows when a phase has begun and is not yet acted upon."""


class Aim:
    """Follows the log from where it stands."""

    def __init__(self, store_url: str) -> None:
        self._log = SqlLog(store_url, look=True)
        self._seen = 0

    def wait(self, phase: str, timeout_s: float) -> bool:
        """Wait until ``phase`` begins somewhere; False where that does not happen in time."""
        begins = PHASES[phase]
        self._new()
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if any(begins(event) for event in self._new()):
                return True
            time.sleep(LOOK_S)
        return False

    def _new(self) -> list[Event]:
        found = []
        try:
            for sequence, event in self._log.read(self._seen):
                found.append(event)
                self._seen = sequence
        except StoreError:  # locked for a moment
            pass
        return found
