"""The faults of a run in an order that its seed gives, some at any instant, some aimed at a phase."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, islice

from aios.adapters.heartbeat import SUPERVISOR, WORKER
from tests.chaos.aims import PHASES, Aim
from tests.chaos.world import World

AIM_S = 30.0
"""How long a fault waits for its phase, or for somebody to kill; then it strikes at any instant, or whom it finds."""
FROZEN_S = 25.0


@dataclass(frozen=True, slots=True)
class Fault:
    """``what`` is done, once ``phase`` has begun ("": at once)."""

    what: str
    phase: str = ""


@dataclass(slots=True)
class Faults:
    """Does one fault after another to a world."""

    world: World
    choice: random.Random
    aim: Aim
    done: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    recovered_s: list[float] = field(default_factory=list)

    def order(self, planes: int, workers: int, replicas: int, raylets: int, gcs: int, freezes: int) -> list[Fault]:
        """Return all faults, shuffled. Half of the kills are aimed, at each phase as often as at the others."""
        roles = islice(cycle((WORKER, WORKER, SUPERVISOR)), workers)
        faults = [Fault("plane", phase) for phase in _aimed(planes)]
        faults += [Fault(role, phase) for role, phase in zip(roles, _aimed(workers), strict=True)]
        for what, n in (("replica", replicas), ("raylet", raylets), ("gcs", gcs), ("freeze", freezes)):
            faults += [Fault(what)] * n
        self.choice.shuffle(faults)
        return faults

    def do(self, fault: Fault) -> None:
        match fault.what:
            case "plane":
                self._plane(fault.phase)
            case "worker" | "supervisor":
                self._process(fault.what, fault.phase)
            case "replica":
                self._replica()
            case "raylet":
                self.world.kill_node(self.choice.choice(sorted(self.world.nodes)))
                self.world.join()
                self.done["kill -9 of a raylet, and a node that joins"] += 1
            case "gcs":
                self.world.kill_gcs(self.choice.choice((0.5, 5.0)))
                self.done["kill -9 of the GCS, and its restart"] += 1
            case "freeze":
                self._freeze()

    def _await(self, phase: str) -> str:
        """Wait for the phase; return where the fault strikes, for the report."""
        if phase and self.aim.wait(phase, AIM_S):
            return phase
        return "any instant"

    def _plane(self, phase: str) -> None:
        pid = self.world.plane_pid()  # known before: the kill follows the record at once
        where = self._await(phase)
        self.recovered_s.append(self.world.kill_plane(pid))
        self.done["kill -9 of the control plane"] += 1
        self.phases[where] += 1

    def _process(self, role: str, phase: str) -> None:
        """Kill a worker of a gang or a supervisor; one of the other role where none of this one comes up."""
        where = self._await(phase)
        deadline_s = time.monotonic() + AIM_S
        while time.monotonic() < deadline_s:
            living = self.world.living()
            if not any(one.role == role for one in living) and time.monotonic() < deadline_s - AIM_S / 4:
                time.sleep(0.05)
                continue
            wanted = [one for one in living if one.role == role] or living
            if wanted:
                one = self.choice.choice(wanted)
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
                    self.done[f"kill -9 of a {one.role}"] += 1
                    self.phases[where] += 1
                    return
            time.sleep(0.05)

    def _replica(self) -> None:
        deadline_s = time.monotonic() + AIM_S
        while time.monotonic() < deadline_s:
            if pids := self.world.replica_pids():
                with suppress(ProcessLookupError):
                    os.kill(self.choice.choice(pids), signal.SIGKILL)
                    self.done["kill -9 of a Serve replica"] += 1
                    return
            time.sleep(0.2)

    def _freeze(self) -> None:
        """Stop a node for longer than anybody waits, and let it go on when its work is elsewhere."""
        frozen = self.world.freeze_node(self.choice.choice(sorted(self.world.nodes)))
        self.world.join()
        time.sleep(FROZEN_S)
        self.world.thaw(frozen)
        self.done[f"SIGSTOP of a node for {FROZEN_S:g} s, and SIGCONT"] += 1


def _aimed(n: int) -> Iterator[str]:
    """Give ``n`` phases: every second one is none, the others go round."""
    phases = cycle(PHASES)
    return (next(phases) if idx % 2 else "" for idx in range(n))
