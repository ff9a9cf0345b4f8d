"""Keeping what the log folds to, now and then, so that recovery folds only what came since.

The log stays whole and is the truth: a snapshot that is missing, torn, or of another fold is passed over, and one that
cannot be saved is saved the next time. The state is immutable, so that it is written beside the turns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from aios.kernel.ports import Log, StaleEpoch
from aios.kernel.state import State

EVERY = 25_000
"""Events from one snapshot to the next: folding them takes two seconds."""

_log = structlog.get_logger("aios.control")


class Snapshots:
    """Saves states to a log, and finds them there again.

    Parameters
    ----------
    dumps, loads : callable
        From a state and the latest time of its events to bytes, and back; ``loads`` raises where it cannot.
    every : int
        Events from one snapshot to the next.
    beside : bool
        Save in a thread of its own; one that is still at work is not joined by another.
    """

    def __init__(
        self,
        dumps: Callable[[State, float], bytes],
        loads: Callable[[bytes], tuple[State, float]],
        *,
        every: int = EVERY,
        beside: bool = True,
    ) -> None:
        self._dumps, self._loads, self._every, self._beside = dumps, loads, every, beside
        self.sequence = 0
        """After which event the latest was taken, whether or not it could be saved."""
        self._thread: threading.Thread | None = None

    def load(self, log: Log) -> tuple[State, float] | None:
        """Return the latest state that was saved and can be used; raises only where the log cannot be read."""
        saved = log.load_snapshot()
        if saved is None:
            return None
        try:
            state, logged_s = self._loads(saved.body)
        except Exception as error:  # it only saves time
            _log.warning("snapshot_ignored", sequence=saved.sequence, why=str(error))
            return None
        if state.version != saved.sequence:
            why = f"it counts {state.version} events"
            _log.warning("snapshot_ignored", sequence=saved.sequence, why=why)
            return None
        self.sequence = saved.sequence
        return state, logged_s

    def consider(self, log: Log, epoch: int, state: State, logged_s: float) -> None:
        """Save a state that the log holds, where the last one was taken long enough ago."""
        if state.version < self.sequence + self._every or (self._thread is not None and self._thread.is_alive()):
            return
        self.sequence = state.version
        if not self._beside:
            self._save(log, epoch, state, logged_s)
            return
        self._thread = threading.Thread(
            target=self._save, args=(log, epoch, state, logged_s), name="aios-snapshot", daemon=True
        )
        self._thread.start()

    def _save(self, log: Log, epoch: int, state: State, logged_s: float) -> None:
        try:
            log.save_snapshot(epoch, state.version, self._dumps(state, logged_s))
        except StaleEpoch:
            return  # another control plane saves its own
        except Exception:
            _log.exception("snapshot_failed", sequence=state.version)
