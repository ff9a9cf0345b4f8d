"""One embedded Ray cluster for all tests here: four nodes on this machine, with a token and a home of their own.

Ray reads its authentication from the environment when it is first imported, so the environment is set before that.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="aios-home-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN"):
    os.environ.pop(name, None)
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(HOME / "ray_token")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["AIOS_EXTRA_ENGINES"] = "tests.ray.probe:ProbeEngine,tests.ray.publisher:PublisherEngine"

import pytest  # noqa: E402

from aios.adapters import embedded  # noqa: E402
from aios.adapters.embedded import EmbeddedShape, Keeper, NodeShape  # noqa: E402
from aios.client import Client  # noqa: E402
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
def settings() -> Settings:
    return Settings.from_env({"AIOS_HOME": str(HOME), "AIOS_API_PORT": "0"})


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


@pytest.fixture(scope="module")
def info(settings: Settings, driver: Keeper) -> Iterator[ClusterInfo]:
    """A control plane on the cluster, for one module of tests."""
    from aios.control import actor

    yield up(settings, workers=SHAPE, echo=lambda line: None)
    actor.end()
    settings.cluster_file.unlink()


@pytest.fixture(scope="module")
def client(settings: Settings, info: ClusterInfo) -> Iterator[Client]:
    with Client(info.api_url, settings.api_token_file.read_text(encoding="utf-8"), retry_s=90.0) as client:
        yield client
