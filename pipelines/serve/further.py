"""The replicas above a service's minimum: an application of its own for each, so that one comes and goes by itself.

What answers at the route stays as it is deployed; a file in the attempt's folder tells it which further replicas there
are. A replica that goes is left out of the file first and then has its grace to answer what it was given before.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from aios.engines import RunContext
from pipelines.files import write_json

FILE = "replicas.json"
READ_EVERY_S = 0.25
HEARD_S = 1.0
"""How long what answers at the route may take to notice that a replica goes."""
START_S = 120.0


class Further:
    """Keeps as many further replicas as are wanted; bundle ``n_fixed + k`` is the k-th of them.

    Parameters
    ----------
    application : callable
        Returns the application of the replica of a bundle on a node.
    """

    def __init__(
        self, ctx: RunContext, name: str, n_fixed: int, application: Callable[[int, str], serve.Application]
    ) -> None:
        self._ctx, self._name, self._application = ctx, name, application
        self.n_fixed = n_fixed
        self._there: dict[int, str] = {}
        self._tell()

    def fit(self, nodes: Sequence[str]) -> bool:
        """Have bundle i on ``nodes[i]``; returns False when asked to stop on the way, or where one does not start."""
        wanted = {i: node for i, node in enumerate(nodes) if i >= self.n_fixed}
        going = [i for i, node in self._there.items() if wanted.get(i) != node]
        self._there = {i: node for i, node in self._there.items() if i not in going}
        self._tell()
        if going:
            self._ctx.stop_event.wait(HEARD_S)
            for i in going:
                serve.delete(self._app(i), _blocking=True)
        coming = {i: node for i, node in wanted.items() if i not in self._there}
        for i, node in coming.items():
            target = serve.RunTarget(target=self._application(i, node), name=self._app(i), route_prefix=None)
            serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        if not self._run(list(coming)):
            return False
        self._there |= coming
        self._tell()
        return True

    def remove(self) -> None:
        for i in self._there:
            serve.delete(self._app(i), _blocking=False)

    def _run(self, bundles: Sequence[int]) -> bool:
        until_s = time.monotonic() + START_S
        while bundles:
            apps = serve.status().applications
            states = [apps[self._app(i)].status if self._app(i) in apps else None for i in bundles]
            if all(state == ApplicationStatus.RUNNING for state in states):
                return True
            late = time.monotonic() > until_s or ApplicationStatus.DEPLOY_FAILED in states
            if late or self._ctx.stop_event.wait(READ_EVERY_S):
                for i in bundles:
                    serve.delete(self._app(i), _blocking=False)
                return False
        return True

    def _app(self, bundle: int) -> str:
        return f"{self._name}+{bundle}"

    def _tell(self) -> None:
        write_json(self._ctx.dir / FILE, [self._app(i) for i in sorted(self._there)])


class Choice:
    """In what answers at the route: which further replicas there are now, each with one share of the requests."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_s = 0.0
        self._names: list[str] = []
        self._handles: dict[str, DeploymentHandle] = {}

    def pick(self, n_own: int) -> DeploymentHandle | None:
        """Return whom to pass a request on to; None: keep it."""
        self._read()
        k = random.randrange(n_own + len(self._names))
        if k < n_own:
            return None
        name = self._names[k - n_own]
        try:
            if name not in self._handles:
                self._handles[name] = serve.get_app_handle(name)
            return self._handles[name]
        except RayServeException:  # it went just now
            return None

    def _read(self) -> None:
        now_s = time.monotonic()
        if now_s < self._read_s + READ_EVERY_S:
            return
        self._read_s = now_s
        try:
            names: Any = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        self._names = list(names)
        self._handles = {name: handle for name, handle in self._handles.items() if name in self._names}
