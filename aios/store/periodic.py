"""Backups now and then, beside the control plane: a thread that waits, and a process that does the work.

Nothing of it runs in the loop's process but the waiting, so that no turn is ever held up by a backup.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from aios.store.backups import backups_in

FIRST_S = 300.0
"""When the first backup of a log that has none is made; after a failed one, the next try."""
LONGEST_S = 3600.0

_log = structlog.get_logger("aios.store")


class Backups:
    """Keeps the last ``keep`` backups of the log at ``url`` in a folder, one every ``every_s`` seconds; 0: none.

    A log that has not changed needs no new one. Who restarts goes on with the same rhythm: it is the age of the newest
    backup that counts.
    """

    def __init__(
        self, url: str, folder: Path, every_s: float, keep: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._url, self._folder, self._every_s, self._keep, self._clock = url, folder, every_s, keep, clock
        self._began_s = clock()
        self._failed_s: float | None = None
        self._problem = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="aios-backups", daemon=True)

    def start(self) -> None:
        if self._every_s > 0:
            self._thread.start()

    def close(self) -> None:
        """Make no more backups; one that is being made is finished by its own process."""
        self._closed.set()

    def info(self) -> Mapping[str, Any]:
        """Return what there is to know at a glance: the newest backup, its age, and what went wrong since."""
        newest = next(iter(backups_in(self._folder)), None)
        found: dict[str, Any] = {"backups": str(self._folder) if self._every_s > 0 else "off"}
        if newest is not None:
            found |= {"backup": str(newest), "backup_age_s": round(max(0.0, self._clock() - _made_s(newest)))}
        return found | ({"backup_problem": self._problem} if self._problem else {})

    def due_s(self) -> float:
        """Return when the next backup is due, on the clock."""
        newest = next(iter(backups_in(self._folder)), None)
        first_s = min(FIRST_S, self._every_s)
        due_s = self._began_s + first_s if newest is None else _made_s(newest) + self._every_s
        return due_s if self._failed_s is None else max(due_s, self._failed_s + first_s)

    def make(self) -> None:
        """Make one now, whatever is due; what goes wrong is logged, and told by ``info``."""
        order = {"url": self._url, "folder": str(self._folder), "keep": self._keep}
        began_s = self._clock()
        try:
            child = subprocess.run(
                [sys.executable, "-m", "aios.store"],
                input=json.dumps(order), capture_output=True, text=True, check=False,
                timeout=LONGEST_S,
            )  # fmt: skip
            answer = json.loads(child.stdout) if child.returncode == 0 else {"problem": _last_line(child.stderr)}
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            answer = {"problem": f"{type(error).__name__}: {error}"}
        self._problem = str(answer.get("problem", ""))
        if self._problem:
            self._failed_s = self._clock()
            _log.error("backup_failed", why=self._problem)
        else:
            self._failed_s = None
            _log.info("backup_made", path=answer["path"], seq=answer["seq"], took_s=round(self._clock() - began_s, 2))

    def _work(self) -> None:
        while not self._closed.wait(max(0.0, self.due_s() - self._clock())):
            self.make()


def _made_s(path: Path) -> float:
    """Return when a backup had everything; 0 for one that has just gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it ended without a word"])[-1]
