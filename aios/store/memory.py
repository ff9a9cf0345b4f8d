"""The event log in memory: for simulation and tests, with the same promises but durability."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from aios.kernel.events import Event
from aios.kernel.ports import StaleEpoch


class MemoryLog:
    """Events in a list; numbered from 1."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._epoch = 0
        self._lock = threading.Lock()

    def begin(self) -> int:
        with self._lock:
            self._epoch += 1
            return self._epoch

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        """Add all the events and return the number of the last one."""
        with self._lock:
            if epoch != self._epoch:
                raise StaleEpoch(f"epoch {epoch} is over, {self._epoch} writes now")
            self._events.extend(events)
            return len(self._events)

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        with self._lock:
            events = self._events[after:]
        return enumerate(events, start=after + 1).__iter__()

    def close(self) -> None:
        """Do nothing: there is nothing open."""
