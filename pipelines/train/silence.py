"""Watches a user's loop that does not report: says so, and ends it where its author set a limit."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aios.engines import Reporter
from pipelines.failure import is_users
from pipelines.files import write_json

SILENT = "silent"
TELL_AFTER_S = 600.0
LOOK_S = 1.0


@dataclass(slots=True)
class Silence:
    """Since when a loop has not reported; ``heard`` ends the silence.

    After ``limit_s`` it leaves word in the outcome's file and ends this process, wherever the loop stands.
    """

    outcome: Path
    reporter: Reporter
    limit_s: float | None
    thread_id: int = field(default_factory=threading.get_ident)
    tell_after_s: float = TELL_AFTER_S
    since_s: float = field(default_factory=time.monotonic)
    n_heard: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def heard(self) -> None:
        self.since_s, self.n_heard = time.monotonic(), self.n_heard + 1

    def watch(self) -> None:
        threading.Thread(target=self._watch, name="aios-silence", daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        told_of = -1.0
        while not self._over.wait(min(LOOK_S, (self.limit_s or LOOK_S) / 4)):
            silent_s = time.monotonic() - self.since_s
            if self.limit_s is not None and silent_s > self.limit_s:
                write_json(self.outcome, self.word(silent_s))
                os._exit(1)
            if silent_s > self.tell_after_s and told_of != self.since_s:
                told_of = self.since_s
                self.reporter.log(f"the loop has not reported for {silent_s:.0f} s; it stands at {self.place()}")

    def word(self, silent_s: float) -> dict[str, Any]:
        return {"ended": SILENT, "silent_s": round(silent_s, 1), "reports": self.n_heard, "place": self.place()}

    def place(self) -> str:
        """Return the deepest line of the user's own on which the loop stands."""
        frame = sys._current_frames().get(self.thread_id)
        own = ""
        while frame is not None and not own:
            if is_users(frame.f_code.co_filename):
                own = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            frame = frame.f_back
        return own or "code that is not its own"
