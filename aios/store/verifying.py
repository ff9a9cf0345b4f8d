"""A whole log judged: its chain of checksums, epochs, every event's text, and whether it folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aios.errors import CorruptLog, UnreadableEvent
from aios.kernel.events import Event, Submitted
from aios.kernel.evolve import evolve
from aios.kernel.state import State
from aios.store.databases import RESTORE, display_name
from aios.store.sql import SqlLog


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. Events up to ``events`` are as they were written; what is wrong comes right after them."""

    store: str
    events: int = 0
    epoch: int = 0
    head_checksum: str = ""
    last_event_s: float | None = None
    workloads: int = 0
    snapshot: int | None = None
    """After which event the snapshot was taken; None where there is none that can be used."""
    broken_at: int | None = None
    problem: str = ""
    hint: str = ""

    @property
    def sound(self) -> bool:
        return not self.problem


def verify(url: str) -> Verdict:
    """Read a log from its first event to its last; it may be written meanwhile.

    Raises
    ------
    StoreError
        There is no log at ``url``, or it cannot be reached, or a newer version wrote it.
    """
    name = display_name(url)
    try:
        log = SqlLog(url, look=True)
    except CorruptLog as error:  # not even a database any more
        return Verdict(name, problem=error.message, hint=error.hint)
    try:
        return _judged(log, name)
    finally:
        log.close()


def _judged(log: SqlLog, name: str) -> Verdict:
    state, at_s = State(), None
    seq = works = 0
    wrong: dict[str, Any] = {}
    try:
        for seq, event in log.read():
            state, at_s = _folded(state, seq, event, name), event.at_s
            works += isinstance(event, Submitted)
        if damage := log.damage():
            wrong = {"problem": f"the file {name} is damaged: {damage}", "hint": RESTORE}
    except (CorruptLog, UnreadableEvent) as error:
        broken = error.seq if isinstance(error, CorruptLog) and error.seq else seq + 1
        wrong = {"broken_at": broken, "problem": error.message, "hint": error.hint or RESTORE}
        seq = min(seq, broken - 1)
    head, snapshot = log.head(), log.load_snapshot()
    return Verdict(
        name,
        events=seq,
        epoch=head.epoch,
        head_checksum=head.checksum,
        last_event_s=at_s,
        workloads=works,
        snapshot=None if snapshot is None else snapshot.sequence,
        **wrong,
    )


def _folded(state: State, seq: int, event: Event, name: str) -> State:
    try:
        return evolve(event, state)
    except Exception as error:  # whatever is wrong with it, the event is what is named
        raise CorruptLog(
            f"event {seq} of the log {name} does not fold: {type(error).__name__}: {error}", seq=seq, hint=RESTORE
        ) from error
