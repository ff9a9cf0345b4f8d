"""The folder of one attempt on shared storage: what is known of it, and outlives its supervisor and the control plane.

::

    <storage>/attempts/
        .live/<workload>@<n>     there from the launch until the attempt is forgotten
        .changed                 touched at each change, so that one who waits can look
        <workload>/fence         the highest fence that was granted
        <workload>/<n>/
            launch.json          what was asked for (bundles, nodes, fence)
            claimed              made once by the supervisor: no second one runs the engine
            status.json          the latest report, replaced at each change
            stop.json            the request to end: why, until when, and when it was written
            resize.json          the nodes on which it shall go on, and until when
            ended.json           how it ended; made once, the first word is the last
            beats/               a file for each process that gives signs of life (``aios.adapters.heartbeat``)
            forgotten            released by the control plane
            log.txt              output of the engine and lines of its workers
            work/                the engine's own
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aios.adapters.fence import check_fence, raise_fence, read_fence, write_atomically, write_once
from aios.errors import StaleFence
from aios.kernel.events import Artefact, Outcome, WorkloadId
from aios.kernel.ports import ObservedAttempt, Phase
from placement.model import NodeId, Resources


@dataclass(frozen=True, slots=True)
class Report:
    """What a supervisor knows of its attempt, as it stands in ``status.json`` and ``ended.json``."""

    phase: str = Phase.LAUNCHING.value
    nodes: tuple[str, ...] = ()
    checkpoint: str = ""
    step: int = 0
    outcome: str | None = None
    error: str = ""
    exit_code: int | None = None
    artefacts: tuple[Artefact, ...] = ()
    metrics: str = "{}"
    size: int = 0
    resumed: str | None = None
    resumed_step: int = 0
    resumed_why: str = ""

    @classmethod
    def from_json(cls, text: str) -> Report:
        raw = json.loads(text)
        return cls(**{**raw, "nodes": tuple(raw["nodes"]), "artefacts": tuple(Artefact(**a) for a in raw["artefacts"])})

    def to_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Held:
    """What an attempt was launched with: its fence, and what it holds on which node."""

    fence: int
    nodes: tuple[NodeId, ...]
    bundles: tuple[Resources, ...]

    def resized(self, asked: Sequence[str], seen: ObservedAttempt) -> Held:
        """Return what is held on the way to, and after, a change of size: what comes counts at once.

        The bundles of what can change its size are alike.
        """
        size = seen.size or len(self.nodes)
        others = seen.nodes if seen.size else self.nodes
        nodes = (*map(NodeId, asked), *others[len(asked) : size])
        return Held(self.fence, nodes, (self.bundles[0],) * len(nodes))


@dataclass(frozen=True, slots=True)
class Folder:
    """One attempt's folder under ``storage``."""

    storage: Path
    workload: str
    attempt: int

    @property
    def path(self) -> Path:
        return self.storage / "attempts" / self.workload / str(self.attempt)

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def beats(self) -> Path:
        return self.path / "beats"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def fence_file(self) -> Path:
        return self.path.parent / "fence"

    @property
    def _live(self) -> Path:
        return self.storage / "attempts" / ".live" / f"{self.workload}@{self.attempt}"

    def prepare(self, held: Held) -> int:
        """Make the folder and raise the fence; returns the fence that is current now."""
        if (self.path / "forgotten").exists():  # of an earlier life of this storage, under an event log that is gone
            self.path.rename(_unused(self.path))
        self.work.mkdir(parents=True, exist_ok=True)
        bundles = [dict(bundle.items()) for bundle in held.bundles]
        write_once(self.path / "launch.json", json.dumps([held.fence, held.nodes, bundles]))
        return raise_fence(self.fence_file, held.fence)

    def held_now(self, seen: ObservedAttempt) -> Held:
        """Return what it holds, after changes of its size."""
        asked = self.asked_to_resize()
        return self.held() if asked is None else self.held().resized(asked[0], seen)

    def held(self) -> Held:
        fence, nodes, bundles = json.loads((self.path / "launch.json").read_text(encoding="utf-8"))
        return Held(fence, tuple(map(NodeId, nodes)), tuple(map(Resources.of, bundles)))

    def mark_live(self) -> None:
        self._live.parent.mkdir(parents=True, exist_ok=True)
        self._live.touch()

    def is_live(self) -> bool:
        return self._live.exists()

    def claim(self, by: str) -> bool:
        """Return whether the caller is the one supervisor that may run the engine."""
        return write_once(self.path / "claimed", by)

    def launched(self) -> bool:
        return (self.path / "launch.json").exists()

    def closed(self) -> bool:
        """Return whether nothing may begin here any more."""
        return (self.path / "forgotten").exists() or (self.path / "ended.json").exists()

    def report(self, report: Report) -> None:
        """Replace the latest report."""
        write_atomically(self.path / "status.json", report.to_json())
        self._changed()

    def end(self, report: Report) -> bool:
        """Say how it ended; returns False where that has been said before, which then stands."""
        first = write_once(self.path / "ended.json", report.to_json())
        self._changed()
        return first

    def ended(self) -> Report | None:
        return self._read("ended.json")

    def latest(self) -> Report:
        """Return the last word there is, final or not."""
        return self._read("ended.json") or self._read("status.json") or Report()

    def ask_to_end(self, why: str, now_s: float, grace_s: float) -> None:
        """Leave the request to end; asked again, the earlier deadline and a stop (over a preemption) stand."""
        deadline_s = now_s + grace_s
        if (before := self._stop()) is not None:
            why = "stop" if "stop" in (why, before[0]) else why
            deadline_s = min(deadline_s, before[1])
        if before is None or (why, deadline_s) != before[:2]:
            write_atomically(self.path / "stop.json", json.dumps([why, deadline_s, now_s]))

    def asked_to_end(self) -> tuple[str, float] | None:
        """Return why it was asked to end, and how many seconds it had left then, whatever this machine's clock says."""
        stop = self._stop()
        return None if stop is None else (stop[0], stop[1] - stop[2])

    def ask_to_resize(self, nodes: Sequence[str], grace_s: float) -> None:
        """Leave the request to go on with bundle i on ``nodes[i]``; asked again with the same nodes, nothing is new."""
        before = self.asked_to_resize()
        if before is None or before[0] != tuple(nodes):
            write_atomically(self.path / "resize.json", json.dumps([list(nodes), grace_s]))

    def asked_to_resize(self) -> tuple[tuple[str, ...], float] | None:
        """Return the nodes that it shall go on with, and how long what goes may take."""
        try:
            nodes, grace_s = json.loads((self.path / "resize.json").read_text(encoding="utf-8"))
            return tuple(map(str, nodes)), float(grace_s)
        except (FileNotFoundError, ValueError, TypeError):  # damaged: it will be asked again
            return None

    def _stop(self) -> tuple[str, float, float] | None:
        try:
            why, deadline_s, asked_s = json.loads((self.path / "stop.json").read_text(encoding="utf-8"))
            return str(why), float(deadline_s), float(asked_s)
        except (FileNotFoundError, ValueError, TypeError):  # damaged: it will be asked again
            return None

    def forget(self) -> None:
        if self.path.exists():
            (self.path / "forgotten").touch()
        self._live.unlink(missing_ok=True)

    def current_fence(self) -> int:
        return read_fence(self.fence_file)

    def check_fence(self, fence: int) -> None:
        """Raise ``StaleFence`` where a newer attempt has been granted, or this one was ended from outside."""
        name = f"aios/{self.workload}/{self.attempt}"
        check_fence(self.fence_file, fence, name)
        if self.closed():
            raise StaleFence(
                f"{name} with fence {fence} was ended before this write",
                hint="what was written until then stands; the workload goes on as a new attempt or is over",
            )

    def observed(self) -> ObservedAttempt:
        """Return the attempt as the folder shows it."""
        report = self.latest()
        return ObservedAttempt(
            workload=WorkloadId(self.workload),
            attempt=self.attempt,
            fence=self.held().fence,
            phase=Phase(report.phase),
            nodes=tuple(map(NodeId, report.nodes)),
            checkpoint=report.checkpoint,
            step=report.step,
            outcome=None if report.outcome is None else Outcome(report.outcome),
            error=report.error,
            exit_code=report.exit_code,
            artefacts=report.artefacts,
            metrics=report.metrics,
            size=report.size,
            resumed=report.resumed,
            resumed_step=report.resumed_step,
            resumed_why=report.resumed_why,
        )

    def _read(self, name: str) -> Report | None:
        try:
            return Report.from_json((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def _changed(self) -> None:
        (self.storage / "attempts" / ".changed").touch()


def live_folders(storage: Path) -> tuple[Folder, ...]:
    """Return the folders of all attempts that were launched and not yet forgotten."""
    try:
        names = sorted(os.listdir(storage / "attempts" / ".live"))
    except FileNotFoundError:
        return ()
    pairs = (name.rpartition("@") for name in names)
    return tuple(Folder(storage, workload, int(attempt)) for workload, _, attempt in pairs if attempt.isdecimal())


def last_change_ns(storage: Path) -> int:
    """Return when anything last changed in any attempt, in the storage's own time."""
    try:
        return (storage / "attempts" / ".changed").stat().st_mtime_ns
    except OSError:  # not there yet; or the storage does not answer, which the next look will say
        return 0


def json_of(metrics: Mapping[str, Any]) -> str:
    """Return metrics as JSON; what JSON cannot hold becomes text."""
    return json.dumps(dict(metrics), default=str)


def _unused(path: Path) -> Path:
    for number in range(1, 10_000):
        if not (moved := path.with_name(f"{path.name}.before-{number}")).exists():
            return moved
    raise AssertionError(f"{path} was moved aside 10,000 times")
