"""What must hold of a whole log: what a state and a step cannot tell, for they do not remember it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from aios.kernel.events import (
    CheckpointSaved,
    Event,
    Finished,
    Granted,
    NodeChanged,
    PreemptionOrdered,
    ResumeRequested,
    TenantResumed,
    WorkloadId,
)

Pair = tuple[WorkloadId, WorkloadId]


class History:
    """Reads a log once, in order, and returns what is wrong with each event in the light of those before."""

    def __init__(self) -> None:
        self.n_events = self.n_preemptions = 0
        self._last_s = 0.0
        self._fences: dict[WorkloadId, int] = {}
        self._highest = 0
        self._over: set[WorkloadId] = set()
        self._ordered: dict[Pair, int] = {}
        self._luck: Counter[WorkloadId] = Counter()
        self._changes = 0
        self._saved: dict[WorkloadId, int] = {}
        self._attempts: dict[WorkloadId, int] = {}

    def read(self, events: Iterable[Event]) -> list[str]:
        found: list[str] = []
        for event in events:
            self.n_events += 1
            found.extend(self._of_time(event))
            match event:
                case Granted():
                    found.extend(self._granted(event))
                case PreemptionOrdered():
                    found.extend(self._ordered_to_yield(event))
                case Finished():
                    found.extend(self._finished(event))
                case CheckpointSaved():
                    found.extend(self._checkpoint(event))
                case NodeChanged() | TenantResumed():
                    self._changes += 1
                case ResumeRequested():
                    self._luck[event.workload] += 1
        return found

    def _of_time(self, event: Event) -> list[str]:
        """I4: the log's time never runs back, whoever writes it."""
        back, self._last_s = event.at_s < self._last_s, max(event.at_s, self._last_s)
        return [f"I4: {type(event).__name__} at {event.at_s:g} is older than what was written before"] if back else []

    def _granted(self, event: Granted) -> list[str]:
        """I7: no fence is given twice in the life of a log, and none below an earlier one; nothing over runs again."""
        found = [] if event.fence > self._highest else [f"I7: fence {event.fence} follows {self._highest}"]
        if event.workload in self._over:
            found.append(f"I4: {event.workload} is granted after its end")
        if event.attempt != self._attempts.get(event.workload, 0) + 1:
            found.append(f"I4: attempt {event.attempt} of {event.workload} is out of order")
        self._attempts[event.workload] = event.attempt
        self._fences[event.workload] = self._highest = max(event.fence, self._highest)
        self._luck[event.workload] += 1
        return found

    def _ordered_to_yield(self, event: PreemptionOrdered) -> list[str]:
        """I13: nobody yields twice for one that did not run in between, unless nodes or people changed something."""
        self.n_preemptions += 1
        found = []
        for id in event.beneficiaries:
            luck = self._luck[id] + self._changes
            if self._ordered.get((event.workload, id)) == luck:
                found.append(f"I13: {event.workload} yields for {id} again, which has not run since")
            self._ordered[event.workload, id] = luck
        return found

    def _finished(self, event: Finished) -> list[str]:
        """I6: an end is recorded once in the life of a log."""
        twice = event.workload in self._over
        self._over.add(event.workload)
        return [f"I6: {event.workload} finished twice"] if twice else []

    def _checkpoint(self, event: CheckpointSaved) -> list[str]:
        """I8: what is saved is saved by the newest attempt."""
        newest = self._attempts.get(event.workload, 0)
        return (
            [] if event.attempt == newest else [f"I8: attempt {event.attempt} of {event.workload} saved after {newest}"]
        )
