"""What a simulated run left behind, job by job: the material of every measure."""

from __future__ import annotations

from dataclasses import dataclass

from placement.model import Bundle, Node, NodeId


@dataclass(frozen=True, slots=True)
class Stay:
    """One attempt: bundle i held its part of ``nodes[i]`` from ``from_s`` to ``until_s``."""

    nodes: tuple[NodeId, ...]
    from_s: float
    until_s: float
    bundles: tuple[Bundle, ...] = ()
    preempted: bool = False

    @property
    def lasted_s(self) -> float:
        return self.until_s - self.from_s


@dataclass(frozen=True, slots=True)
class Record:
    """What became of one job.

    Attributes
    ----------
    finished_s : float or None
        None: it never ended.
    isolated_s : float
        How long it would run alone, on the cluster's mix of accelerator types.
    units : float
        Accelerators that it asks for in all, or else CPUs.
    """

    id: str
    tenant: str
    submitted_s: float
    finished_s: float | None
    isolated_s: float
    units: float
    stays: tuple[Stay, ...] = ()

    @property
    def jct_s(self) -> float | None:
        """Job completion time: from submission to end."""
        return None if self.finished_s is None else self.finished_s - self.submitted_s

    @property
    def waited_s(self) -> float | None:
        """The part of its completion time in which it held nothing."""
        jct_s = self.jct_s
        return None if jct_s is None else max(0.0, jct_s - sum(stay.lasted_s for stay in self.stays))


@dataclass(frozen=True, slots=True)
class History:
    """A whole run: the cluster, every job, and how long each plan took to make (CPU seconds)."""

    nodes: tuple[Node, ...]
    records: tuple[Record, ...]
    wasted: float = 0.0
    """Accelerator-seconds spent on restarts and on work that was lost."""
    plan_s: tuple[float, ...] = ()
