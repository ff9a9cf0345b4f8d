"""Clients that submit, stop, preempt and suspend by several threads, and remember what was acknowledged."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
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
DISTURB_EVERY = 20
"""One in so many submissions is followed by a preemption or a suspension of something that runs."""
AGAIN = 0.05
"""The share of submissions that are sent twice with one key."""


STEADY = 2
"""Gangs that run throughout: somebody to kill at any time."""


@dataclass(slots=True)
class Ledger:
    """What clients were told; each list is added to by many threads."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    submit_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Load:
    """``n`` submissions by several threads; one in ``runs_every`` runs, the others wait and are stopped.

    They are let go in pieces (``let``), so that the load lasts as long as the faults do, and ends by itself.
    """

    connect: Callable[[], Client]
    effects: str
    seed: int
    n: int
    runs_every: int = 60
    ledger: Ledger = field(default_factory=Ledger)
    _next: int = 0
    _let: int = 0
    _over: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, n_threads: int) -> None:
        for idx in range(n_threads):
            thread = threading.Thread(target=self._client, args=(random.Random(f"{self.seed}/{idx}"),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def steady(self, number: int) -> dict[str, Any]:
        """Return a gang of one to three that does not end by itself."""
        workers = {"num_workers": 3, "min_workers": 1, "resources_per_worker": {"CPU": 1}}
        document = {"kind": "tick", "name": f"s{number}", "tenant": BUSY, "effects": self.effects, "ticks": 10**6}
        return {**document, "gang": True, "grace": 5, "max_retries": 100, "workers": workers}

    def let(self, share: float) -> None:
        """Let this share of all submissions go."""
        with self._changed:
            self._let = max(self._let, min(self.n, round(share * self.n)))
            self._changed.notify_all()

    def sent(self, timeout_s: float) -> bool:
        """Wait until all that was let go is on its way."""
        with self._changed:
            return self._changed.wait_for(lambda: self._next >= self._let, timeout_s)

    def join(self, timeout_s: float) -> int:
        """Wait until all is submitted, or end the load when its time is over; return how many were never sent."""
        self.let(1.0)
        deadline_s = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        with self._changed:
            self._over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        return self.n - self._next

    def _client(self, choice: random.Random) -> None:
        with self.connect() as client:
            while (number := self._taken()) is not None:
                self._one(client, number, choice)

    def _taken(self) -> int | None:
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._next < self._let or self._next >= self.n)
            if self._over or self._next >= self.n:
                return None
            self._next += 1
            self._changed.notify_all()
            return self._next

    def _one(self, client: Client, number: int, choice: random.Random) -> None:
        runs = number % self.runs_every == 0
        document = self._runs(number, choice) if runs else self._waits(number)
        key, began_s = f"{self.seed}-{number}", time.monotonic()
        try:
            id = client.submit(document, key=key).workloads[0].id
        except AiosError as error:
            self.ledger.refused.append(f"{number}: {error.code}: {error.message}")
            return
        self.ledger.submit_s.append(time.monotonic() - began_s)
        self.ledger.acknowledged.append(id)
        if choice.random() < AGAIN:
            self._tell("sent twice", lambda: self._again(client, document, key, id))
        if not runs:
            self._tell("stopped while it waits", lambda: client.stop(id))
        if number % DISTURB_EVERY == 0:
            self._disturb(client, choice)

    def _again(self, client: Client, document: dict[str, Any], key: str, id: str) -> None:
        again = client.submit(document, key=key).workloads[0].id
        if again != id:
            self.ledger.doubled.append(f"{id} said again became {again}")

    def _disturb(self, client: Client, choice: random.Random) -> None:
        """Preempt something that runs, or suspend it and let it go on."""
        try:
            running = [view.id for view in client.workloads(tenant=BUSY, status="RUNNING") if view.kind == "tick"]
        except AiosError:
            return
        if not running:
            return
        id = choice.choice(running)
        if choice.random() < 0.5:
            self._tell("preempted by hand", lambda: client.preempt(id))
        else:
            self._tell("suspended", lambda: client.suspend(id))
            self._tell("resumed", lambda: client.resume(id))

    def _tell(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except AiosError as error:  # most often: it is over by now
            what = f"{what}: {error.code}"
        self.ledger.done[what] += 1

    def _waits(self, number: int) -> dict[str, Any]:
        return {"kind": "tick", "name": f"w{number}", "tenant": PAUSED, "effects": self.effects}

    def _runs(self, number: int, choice: random.Random) -> dict[str, Any]:
        """One process; or a gang of two, whole or not at all; or one to four workers, as there is room."""
        document: dict[str, Any] = {
            "kind": "tick",
            "name": f"r{number}",
            "tenant": BUSY,
            "effects": self.effects,
            "ticks": choice.randint(5, 60),
            "grace": 5,
            "priority": choice.choice((0, 0, 10)),
        }
        workers = {"num_workers": 2, "resources_per_worker": {"CPU": 1}, "placement_strategy": "SPREAD"}
        match choice.randrange(4):
            case 0 | 1:
                document |= {"gang": True, "workers": workers}
            case 2:
                document |= {"gang": True, "workers": {**workers, "num_workers": 4, "min_workers": 1}, "priority": 0}
        return document
