"""What the API needs of the control plane behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aios.kernel.events import Event, WorkloadId
from aios.kernel.ports import Reply, Request
from aios.kernel.state import State, Workload
from placement.model import Plan, Problem


class Service(Protocol):
    """The control plane as the API sees it; every method may be called from any thread.

    ``state``, ``now_s`` and ``info`` are cheap and never block: long polls call them on the event loop. The others
    may block for a moment and are called from worker threads.
    """

    @property
    def storage(self) -> Path:
        """Shared storage; packages lie in ``packages/<sha256>.zip`` below it."""

    def state(self) -> State: ...

    def now_s(self) -> float: ...

    def info(self) -> Mapping[str, Any]:
        """Return what ``aios status`` shows besides the state: ray_version, address, autoscaling (bool), ..."""

    def submit(self, request: Request) -> Reply:
        """Hand a request to the kernel and return its reply, recorded before it is given.

        Raises ``NoControlPlane`` where the loop does not answer in time; the same request may then be sent again.
        """

    async def hand_in(self, request: Request) -> Reply:
        """Do the same on an event loop: hundreds may wait for their replies at once, and no thread does."""

    def problem(self) -> Problem:
        """Return what the planner would be asked now."""

    def plan_now(self, problem: Problem) -> Plan:
        """Answer a question that is not the cluster's own, within a second or two, and adopt nothing."""

    def logs(self, workload: str, attempt: int, offset: int) -> bytes:
        """Return a piece (at most about 1 MiB) of an attempt's log from a byte on; empty where there is no more."""

    def events(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Return recorded events after a sequence number, in order."""

    def recall(self, workload: WorkloadId) -> Workload | None:
        """Return a workload that has left the state, from its events in the log; None where the log has none."""

    def metrics(self) -> str:
        """Return the metrics of now in Prometheus' text format."""
