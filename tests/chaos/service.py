"""A real endpoint under faults: a network is trained by Ray Train, served by Ray Serve, and asked without a pause."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aios.client import Client
from aios.errors import AiosError
from tests.support.polling import eventually

N_FEATURES = 30
BEGIN_S = 600.0
EVERY_S = 0.1
_WORKERS = {"num_workers": 2, "resources_per_worker": {"CPU": 1}, "placement_strategy": "SPREAD"}
_DATA = {"inputs": {"data": "dataset://cancer"}, "workers": _WORKERS, "batch_size": 32}
_STAGES: list[dict[str, Any]] = [
    {
        "kind": "ingest",
        "name": "ingest",
        "source": {"sklearn": "breast_cancer"},
        "split": {"test": 0.25, "seed": 7},
        "outputs": {"data": "dataset://cancer"},
    },
    {"kind": "train", "name": "train", "outputs": {"model": "model://cancer"}, "epochs": 3, **_DATA},
    {
        "kind": "serve",
        "name": "serve",
        "inputs": {"model": "model://cancer"},
        "num_replicas": 3,
        "min_replicas": 1,
        "num_cpus": 1,
        "grace": 10,
    },
]


@dataclass(slots=True)
class Endpoint:
    """The endpoint, the trainings beside it, and what clients were answered."""

    client: Client
    url: str = ""
    codes: Counter[int] = field(default_factory=Counter)
    _ids: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _asking: threading.Thread | None = None

    def start(self) -> None:
        """Train, serve, and begin to ask once it answers."""
        found = self.client.submit({"kind": "pipeline", "name": "cancer", "stages": _STAGES}).workloads
        self._ids = [view.id for view in found]

        def url() -> str:
            failed = [view for view in map(self.client.get, self._ids) if view.status == "FAILED"]
            if failed:
                raise RuntimeError(f"{failed[0].id} failed: {failed[0].message}")
            return next((one.uri for one in self.client.endpoints() if one.name == "cancer-serve"), "")

        self.url = eventually(url, timeout_s=BEGIN_S, what="the endpoint")
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._asking.start()

    def train(self, number: int) -> str:
        """Submit a training of some minutes on two workers: something to kill."""
        document = {"kind": "train", "name": f"t{number}", "epochs": 200, "grace": 20, **_DATA}
        id = self.client.submit({**document, "outputs": {"model": f"model://t{number}"}}).workloads[0].id
        self._ids.append(id)
        return id

    def end(self) -> list[str]:
        """Stop all of it; return the ids that were acknowledged."""
        self._over.set()
        if self._asking is not None:
            self._asking.join()
        for id in self._ids:
            try:
                self.client.stop(id)
            except AiosError as error:
                if error.code != "rejected":  # it is over
                    raise
        return self._ids

    def _ask(self) -> None:
        while not self._over.wait(EVERY_S):
            body = json.dumps({"rows": [[0.0] * N_FEATURES]}).encode()
            request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    self.codes[response.status] += 1
            except urllib.error.HTTPError as error:
                self.codes[error.code] += 1
            except OSError:
                self.codes[0] += 1
