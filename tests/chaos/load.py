"""Clients that submit and stop without a pause, and remember what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aios.client import Client
from aios.errors import AiosError

PAUSED, BUSY = "churn", "busy"
TENANTS = (
    {"kind": "tenant", "name": PAUSED},
    {"kind": "tenant", "name": BUSY},
)


@dataclass(slots=True)
class Ledger:
    """What clients were told; each list is added to by many threads."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Load:
    """``n`` submissions by several threads; one in ``runs_every`` runs, the others wait and are stopped."""

    connect: Callable[[], Client]
    effects: str
    seed: int
    n: int
    pace_s: float = 0.0
    runs_every: int = 60
    ledger: Ledger = field(default_factory=Ledger)
    stop: threading.Event = field(default_factory=threading.Event)
    _numbers: list[int] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, n_threads: int) -> None:
        self._numbers = list(range(self.n, 0, -1))
        for idx in range(n_threads):
            thread = threading.Thread(target=self._client, args=(random.Random(f"{self.seed}/{idx}"),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until all is submitted, or end the load when its time is over."""
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self.stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def n_left(self) -> int:
        return len(self._numbers)

    def _client(self, choice: random.Random) -> None:
        with self.connect() as client:
            while not self.stop.wait(self.pace_s):
                with self._lock:
                    if not self._numbers:
                        return
                    number = self._numbers.pop()
                self._one(client, number, choice)

    def _one(self, client: Client, number: int, choice: random.Random) -> None:
        runs = number % self.runs_every == 0
        document = self._runs(number, choice) if runs else self._waits(number)
        try:
            id = client.submit(document).workloads[0].id
            self.ledger.acknowledged.append(id)
            if choice.random() < 0.05:  # said twice: the same workload
                again = client.submit(document).workloads[0].id
                if again != id:
                    self.ledger.refused.append(f"{id} said again became {again}")
            if not runs:
                client.stop(id)
                self.ledger.stopped.append(id)
            elif choice.random() < 0.25:
                client.preempt(id)
        except AiosError as error:
            self.ledger.refused.append(f"{number}: {error.code}: {error.message}")

    def _waits(self, number: int) -> dict[str, Any]:
        return {"kind": "tick", "name": f"w{number}", "tenant": PAUSED, "effects": self.effects}

    def _runs(self, number: int, choice: random.Random) -> dict[str, Any]:
        document: dict[str, Any] = {
            "kind": "tick",
            "name": f"r{number}",
            "tenant": BUSY,
            "effects": self.effects,
            "ticks": choice.randint(1, 30),
            "grace": 5,
            "priority": choice.choice((0, 0, 10)),
        }
        if choice.random() < 0.5:
            workers = {"num_workers": 2, "resources_per_worker": {"CPU": 1}, "placement_strategy": "SPREAD"}
            document |= {"gang": True, "workers": workers}
        return document
