"""Progress: a live table on a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from aios.views import WorkloadView


class Screen(Protocol):
    """Where progress is shown."""

    def say(self, line: str) -> None: ...

    def show(self, views: Sequence[WorkloadView]) -> None: ...

    def close(self) -> None: ...


class Lines:
    """One line for each change, with the seconds since the start."""

    def __init__(self, begun_s: float) -> None:
        self._begun_s = begun_s
        self._last: dict[str, str] = {}

    def say(self, line: str) -> None:
        print(f"{time.monotonic() - self._begun_s:6.1f}s  {line}", flush=True)

    def show(self, views: Sequence[WorkloadView]) -> None:
        for view in views:
            line = state_of(view)
            if self._last.get(view.id) != line:
                self._last[view.id] = line
                self.say(f"{view.name:<18} {line}")

    def close(self) -> None:
        pass


class LiveTable:
    """A table that is drawn anew at each change; what is said stands above it."""

    def __init__(self, begun_s: float) -> None:
        self._begun_s = begun_s
        self._live = Live(Table(), console=Console(), refresh_per_second=4)
        self._live.start()

    def say(self, line: str) -> None:
        self._live.console.print(f"[dim]{time.monotonic() - self._begun_s:6.1f}s[/dim]  {line}", highlight=False)

    def show(self, views: Sequence[WorkloadView]) -> None:
        table = Table("workload", "tenant", "prio", "state")
        for view in views:
            table.add_row(view.name, view.tenant, str(view.priority), state_of(view))
        self._live.update(table)

    def close(self) -> None:
        self._live.stop()


def screen(begun_s: float) -> Screen:
    return LiveTable(begun_s) if sys.stdout.isatty() else Lines(begun_s)


def state_of(view: WorkloadView) -> str:
    """Return a workload's state in a few words."""
    if view.over:
        return view.status if not view.message else f"{view.status}: {view.message}"
    if view.status in ("QUEUED", "PREEMPTED", "PAUSED"):
        return f"{view.status}: {view.message or view.reason}"
    where = ", ".join(view.actual_nodes or view.planned_nodes)
    attempt = f", attempt {len(view.attempts)}" if len(view.attempts) > 1 else ""
    return f"{'READY' if view.ready else view.status} on {where}{attempt}"
