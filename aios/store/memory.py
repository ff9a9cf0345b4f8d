"""The event log in memory: for simulation and tests, with the same promises but durability."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from aios.kernel.events import Event, WorkloadId
from aios.kernel.ports import Snapshot, StaleEpoch
from aios.store.chain import workload_of


class MemoryLog:
    """Events in a list; numbered from 1."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._epoch = 0
        self._snapshot: Snapshot | None = None
        self._lock = threading.Lock()

    def begin(self) -> int:
        with self._lock:
            self._epoch += 1
            return self._epoch

    def append(self, epoch: int, events: Sequence[Event]) -> int:
        """Add all the events and return the number of the last one."""
        with self._lock:
            self._refuse_stale(epoch)
            self._events.extend(events)
            return len(self._events)

    def read(self, after: int = 0) -> Iterator[tuple[int, Event]]:
        with self._lock:
            events = self._events[after:]
        return enumerate(events, start=after + 1).__iter__()

    def read_workload(self, workload: WorkloadId) -> Iterator[tuple[int, Event]]:
        """Give (number, event) of one workload in order."""
        return ((n, event) for n, event in self.read() if workload_of(event) == workload)

    def save_snapshot(self, epoch: int, sequence: int, body: bytes) -> None:
        """Keep what folding the log up to event ``sequence`` gave, in place of the snapshot before it."""
        with self._lock:
            self._refuse_stale(epoch)
            if not 0 < sequence <= len(self._events):
                raise ValueError(f"there is no event {sequence} in the log to keep a snapshot of")
            self._snapshot = Snapshot(sequence, body)

    def load_snapshot(self) -> Snapshot | None:
        with self._lock:
            return self._snapshot

    def close(self) -> None:
        """Do nothing: there is nothing open."""

    def _refuse_stale(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise StaleEpoch(f"epoch {epoch} is over, {self._epoch} writes now")
