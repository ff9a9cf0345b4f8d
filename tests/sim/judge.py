"""The judge of a schedule: of events as they become durable, and of what control planes do to the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aios.kernel.actions import Action, Forget, Kill, Launch, Stop
from aios.kernel.events import CheckpointSaved, EpochStarted, Event, ResumedFrom, WorkloadId
from aios.kernel.invariants import History, harm, judged
from aios.kernel.state import Attempt, State, Workload

Saved = tuple[str, int]
"""Where a checkpoint is, and its step."""


class Judge:
    """Knows all that is durable, and notes in ``wrong`` what should not be."""

    def __init__(self, torn: set[str]) -> None:
        self.torn = torn
        self.folded, self.history = State(), History()
        self.epoch = 0
        self.wrong: list[str] = []
        self._saved: dict[WorkloadId, list[Saved]] = {}

    # -- what is written

    def events(self, epoch: int, events: Sequence[Event]) -> None:
        """Judge what has just become durable, against all that was before."""
        before = self.folded
        found, self.folded = judged(before, events)
        self.wrong += [*found, *harm(before, events), *self.history.read(events)]
        self.epoch = max([self.epoch, *(event.epoch for event in events if isinstance(event, EpochStarted))])
        if epoch != self.epoch:
            self.wrong.append(f"I12: epoch {epoch} wrote after epoch {self.epoch} had begun")
        for event in events:
            self._progress(event)

    def _progress(self, event: Event) -> None:
        """I9: where the latest checkpoint is torn, the one before it is used, and nothing earlier."""
        if isinstance(event, CheckpointSaved):
            saved = self._saved.setdefault(event.workload, [])
            if not saved or saved[-1][0] != event.uri:
                saved.append((event.uri, event.step))
        elif isinstance(event, ResumedFrom):
            saved = self._saved.pop(event.workload, [])
            before = saved[-2] if len(saved) > 1 else None
            if before is not None and before[0] not in self.torn and event.uri != before[0]:
                self.wrong.append(f"I9: {event.workload} began at {event.uri or 'its beginning'}, not at {before[0]}")
            if event.uri:
                self._saved[event.workload] = [(event.uri, event.step)]

    # -- what is done

    def actions(self, epoch: int, now_s: float, actions: Iterable[Action]) -> None:
        """Judge what a control plane is about to do at this time of the log."""
        if epoch != self.epoch:
            self.wrong.append(f"I12: the control plane of epoch {epoch} acts after epoch {self.epoch} had begun")
            return
        for action in actions:
            if isinstance(action, Launch):
                self._launch(action)
            elif isinstance(action, Kill | Forget):
                self._end(action, now_s)
            elif isinstance(action, Stop):
                self._stop(action)

    def _launch(self, launch: Launch) -> None:
        """I8, I9: only what was granted is launched, under its fence and from the latest that was saved."""
        workload, attempt = self._of(launch.work.id, launch.attempt)
        if workload is None or attempt is None or attempt.fence != launch.fence or attempt.nodes != launch.nodes:
            self.wrong.append(f"I8: attempt {launch.attempt} of {launch.work.id} is launched and was not granted so")
        elif attempt.ended_s is None and (launch.checkpoint, launch.step) != (workload.checkpoint, workload.step):
            was, now = launch.checkpoint or "nothing", workload.checkpoint
            self.wrong.append(f"I9: {workload.id} is launched from {was}, and {now or 'nothing'} is saved")

    def _end(self, action: Kill | Forget, now_s: float) -> None:
        """I13: what is recorded as running is killed only when its grace is over, and never forgotten."""
        _, attempt = self._of(action.workload, action.attempt)
        if attempt is None or attempt.ended_s is not None:
            return
        if isinstance(action, Forget) or attempt.deadline_s is None or now_s < attempt.deadline_s - 1e-6:
            what = f"attempt {action.attempt} of {action.workload}, which is open"
            self.wrong.append(f"I13: {type(action).__name__} of {what}, before its grace is over")

    def _stop(self, stop: Stop) -> None:
        """I13: nothing is told to end that the log does not say is to end; a preemption is not told as a stop."""
        workload, attempt = self._of(stop.workload, stop.attempt)
        if workload is None or attempt is None or attempt.ended_s is not None or attempt.deadline_s is None:
            self.wrong.append(f"I13: attempt {stop.attempt} of {stop.workload} is told to end, for no recorded reason")
        elif (stop.why == "stop") != (workload.stop_requested_s is not None):
            self.wrong.append(f"I13: {stop.workload} is told {stop.why!r}, which is not what was asked")

    def _of(self, id: WorkloadId, number: int) -> tuple[Workload | None, Attempt | None]:
        workload = self.folded.workloads.get(id)
        known = workload is not None and number <= len(workload.attempts)
        return workload, workload.attempts[number - 1] if workload is not None and known else None
