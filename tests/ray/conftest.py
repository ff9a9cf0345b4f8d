"""One embedded Ray cluster for all tests here: four nodes on this machine, with a token and a home of their own.

Ray reads its authentication from the environment when it is first imported, so the environment is set before that.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOME = Path(tempfile.mkdtemp(prefix="aios-home-"))
for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
    os.environ.pop(name, None)
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(HOME / "ray_token")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["AIOS_EXTRA_ENGINES"] = "tests.ray.probe:ProbeEngine"

import pytest  # noqa: E402

from aios.adapters import embedded  # noqa: E402
from aios.adapters.embedded import EmbeddedShape, Keeper, NodeShape  # noqa: E402
from aios.config import Settings  # noqa: E402
from aios.main import ClusterInfo, up  # noqa: E402

SHAPE = EmbeddedShape(
    nodes=(
        NodeShape(name="a-1", num_gpus=1, labels={"ray.io/accelerator-type": "H100", "zone": "z1"}),
        NodeShape(name="a-2", num_gpus=1, labels={"ray.io/accelerator-type": "H100", "zone": "z2"}),
        NodeShape(name="b-1", num_gpus=1, labels={"ray.io/accelerator-type": "A100", "zone": "z1"}),
        NodeShape(name="doomed", num_cpus=1, resources={"doomed": 1}),
    )
)


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    yield Settings.from_env({"AIOS_HOME": str(HOME), "AIOS_API_PORT": "0"})
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(settings: Settings) -> Iterator[Keeper]:
    """The cluster, without a control plane."""
    embedded.make_private(settings.home)
    settings.storage.mkdir(parents=True, exist_ok=True)
    keeper = embedded.start(settings, SHAPE)
    yield keeper
    embedded.stop(settings.home)


@pytest.fixture(scope="session")
def driver(cluster: Keeper) -> Iterator[Keeper]:
    """The cluster, with this process connected to it."""
    from aios.control.actor import attached

    with attached(cluster.address):
        yield cluster


@dataclass(frozen=True, slots=True)
class Api:
    """The control plane's API as a plain HTTP client sees it."""

    info: ClusterInfo
    token: str

    def call(self, path: str, body: Any = None, *, key: str = "", token: str | None = None) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; 0 where nothing answers."""
        headers = {
            "Authorization": f"Bearer {self.token if token is None else token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key or uuid.uuid4().hex,
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.info.api_url}/api/v1{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")
        except OSError:
            return 0, None

    def submit(self, key: str = "", **document: Any) -> tuple[int, Any]:
        return self.call("/workloads", {"documents": [{"kind": "probe", **document}]}, key=key)

    def workload(self, name: str) -> dict[str, Any]:
        status, answer = self.call("/workloads")
        found = [one for one in answer["workloads"] if one["name"] == name] if status == 200 else []
        return found[-1] if found else {}


@pytest.fixture(scope="module")
def api(settings: Settings, driver: Keeper) -> Iterator[Api]:
    """A control plane on the cluster, for one module of tests."""
    from aios.control import actor

    info = up(settings, workers=SHAPE, echo=lambda line: None)
    yield Api(info, settings.api_token_file.read_text(encoding="utf-8"))
    actor.end()
    settings.cluster_file.unlink()
