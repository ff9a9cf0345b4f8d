"""Sends what a script and its workers print to the attempt's log."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

LOG = "AIOS_LOG"
CHILD_HOOK = {"__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "pipelines.script.output.to_log"}
"""Makes Ray call ``to_log`` in every worker that the script's tasks and actors start.

What ``ray.init(runtime_env={"worker_process_setup_hook": ...})`` sets for a whole job; a Ray that does not know the
variable leaves the workers' output in its own logs, and nothing else changes.
"""


_MARKS = (":job_id:", ":actor_name:", ":task_name:")
"""Lines that Ray prints for its own log reader."""


class _Stream(io.TextIOWrapper):
    """A line-buffered stream to a descriptor that leaves out Ray's marks."""

    def __init__(self, fd: int) -> None:
        raw = os.fdopen(fd, "wb", closefd=False)
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        return len(text) if text.startswith(_MARKS) and text.count("\n") <= 1 else super().write(text)


def to_log() -> None:
    """Point this process's standard output and error at the file in ``AIOS_LOG``, for all that it runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    fd = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    sys.stdout, sys.stderr = _Stream(1), _Stream(2)


class Follow:
    """Passes on the whole lines that were added to a file."""

    def __init__(self, path: Path, pass_to: Callable[[str], None]) -> None:
        self.path, self.pass_to = path, pass_to
        self.at = 0

    def pass_on(self, to_the_end: bool = False) -> None:
        """Pass on what is new; an unfinished line waits unless this is the end."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.at)
            new = file.read()
        whole = len(new) if to_the_end else new.rfind(b"\n") + 1
        self.at += whole
        for line in new[:whole].decode(errors="backslashreplace").splitlines():
            self.pass_to(line)
