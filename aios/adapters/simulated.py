"""What a simulated cluster holds: attempts with their progress, its pace, and what really happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from aios.kernel.actions import Launch
from aios.kernel.events import Artefact, Outcome, Work, WorkloadId
from aios.kernel.inputs import split
from aios.kernel.ports import Observed, Phase
from placement.model import NodeId

Runtime = Callable[[Work], float]
"""How long a workload runs from its beginning, in seconds of its whole gang at speed 1."""

UNKNOWN_S = 60.0


def estimated(work: Work) -> float:
    return UNKNOWN_S if work.estimate_s is None else work.estimate_s


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the simulated cluster is, in seconds.

    Attributes
    ----------
    restart_s : float
        What going on from a checkpoint costs, during which nothing is done.
    saves_wake : bool
        Whether the control plane looks each time that progress is saved; else when it looks next.
    """

    launch_s: float = 2.0
    ready_s: float = 3.0
    save_every_s: float = 10.0
    yield_s: float = 1.0
    restart_s: float = 0.0
    saves_wake: bool = True


@dataclass(slots=True)
class SimAttempt:
    """What the cluster holds of one attempt."""

    launch: Launch
    phase: Phase = Phase.LAUNCHING
    started_s: float | None = None
    works_from_s: float = 0.0
    rate: float = 1.0
    begun: float = 0.0  # work that was done when it began
    stored: float = 0.0  # work that its last checkpoint holds
    saved: int = 0
    uri: str = ""
    outcome: Outcome | None = None
    error: str = ""
    artefacts: tuple[Artefact, ...] = ()
    told: str = ""
    deaf: bool = False  # ignores what it is told
    size: int = 0  # bundles, where that was changed in place
    resizing: tuple[NodeId, ...] = ()
    resumed: str | None = None  # the checkpoint that it began at, where that is not the one it was given
    resumed_step: int = 0
    resumed_why: str = ""
    zombie: bool = False  # was cut off, and may run on beside its successor

    @property
    def key(self) -> tuple[WorkloadId, int]:
        return self.launch.work.id, self.launch.attempt

    @property
    def holds(self) -> bool:
        return self.phase not in (Phase.LAUNCHING, Phase.ENDED)

    def done(self, now_s: float) -> float:
        """Return the work that is done, in seconds of the whole gang at speed 1."""
        return self.begun + max(0.0, now_s - self.works_from_s) * self.rate


@dataclass
class Effects:
    """What really happened, counted where it happens."""

    n_started: int = 0
    n_refused: int = 0
    """Writes of attempts that were no longer current, which storage did not take."""
    n_finished: dict[WorkloadId, int] = field(default_factory=dict)
    wasted: float = 0.0
    """Accelerator-seconds (else CPU-seconds) spent on restarts, and on work that was not saved."""
    wrong: list[str] = field(default_factory=list)
    """What must never be seen: two runs of one workload at once, a node that is overfilled, lost progress."""


def made(work: Work, attempt: int, reference: str) -> Artefact:
    """Return what an attempt made under the name that its work gave it."""
    key, _ = split(reference)
    scheme, _, name = key.partition("://")
    return Artefact(scheme, name, f"sim://{work.id}/{attempt}/{name}")


def without(observed: Observed, nodes: frozenset[NodeId], attempts: frozenset[WorkloadId]) -> Observed:
    """Return what a cluster that answers in part would show."""
    return replace(
        observed,
        nodes=tuple(seen for seen in observed.nodes if seen.node.id not in nodes),
        attempts=tuple(seen for seen in observed.attempts if seen.workload not in attempts),
        complete=False,
    )
