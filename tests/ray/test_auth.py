"""Who may in: tokens of our own, readable by their owner alone, and clusters that we refuse to attach to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aios.adapters import embedded
from aios.adapters.embedded import EmbeddedShape, Keeper, NodeShape
from aios.adapters.processes import descendants
from aios.client import Client
from aios.config import Settings
from aios.errors import NoControlPlane, Unauthorized, VersionMismatch
from aios.main import answers, down, up
from tests.support.polling import eventually

pytestmark = pytest.mark.ray


def test_tokens_are_readable_by_their_owner_alone(settings: Settings, cluster: Keeper) -> None:
    assert settings.home.stat().st_mode & 0o777 == 0o700
    for path in (settings.ray_token_file, settings.api_token_file):
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(path.read_text(encoding="utf-8")) == 64


def test_the_token_is_in_no_process_environment_and_in_no_log(settings: Settings, cluster: Keeper) -> None:
    token = settings.ray_token_file.read_bytes()
    for pid in descendants(cluster.pid):
        try:
            assert token not in Path(f"/proc/{pid}/environ").read_bytes()
        except FileNotFoundError:  # it has ended
            continue
    files = [path for path in Path(cluster.tmp).rglob("*") if path.is_file() and not path.is_symlink()]
    assert files
    assert not [path for path in files if path.stat().st_size < 10**7 and token in path.read_bytes()]


def test_a_driver_without_the_token_is_refused(cluster: Keeper, tmp_path: Path) -> None:
    code = f"import ray; ray.init(address={cluster.address!r})"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert child.returncode != 0
    assert "AuthenticationError" in child.stderr


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 403)])
def test_the_dashboard_wants_the_token(cluster: Keeper, token: str, status: int) -> None:
    request = urllib.request.Request(f"{cluster.dashboard_url}/api/jobs/")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == status


@pytest.fixture
def other(settings: Settings, tmp_path: Path) -> Settings:
    """Another home, from which the same cluster is used."""
    return replace(settings, home=tmp_path / "home", storage=tmp_path / "storage", store_url=f"sqlite:///{tmp_path}/db")


def test_attaching_starts_a_control_plane_and_down_leaves_the_cluster(driver: Keeper, other: Settings) -> None:
    import ray

    info = up(other, driver.address, echo=lambda line: None)
    assert (info.embedded, info.address) == (False, driver.address)
    assert other.cluster_file.stat().st_mode & 0o777 == 0o600
    with Client(info.api_url, other.api_token_file.read_text(encoding="utf-8")) as client:
        assert client.status().info["ray_version"] == ray.__version__
    with Client(info.api_url, "wrong") as stranger, pytest.raises(Unauthorized):
        stranger.status()
    down(other, echo=lambda line: None)
    eventually(lambda: not answers(info.api_url), what="the end of the API")
    assert driver.alive
    assert not other.cluster_file.exists()


def test_a_cluster_of_another_version_is_refused(driver: Keeper, other: Settings) -> None:
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

    where = {"key": b"CLUSTER_METADATA", "namespace": b"cluster"}
    true = _internal_kv_get(**where)
    try:
        _internal_kv_put(
            value=json.dumps({**json.loads(true), "ray_version": "2.9.3"}).encode(), overwrite=True, **where
        )
        with pytest.raises(VersionMismatch, match=r"2\.9\.3.*2\.60\.0"):
            up(other, driver.address, echo=lambda line: None)
    finally:
        _internal_kv_put(value=true, overwrite=True, **where)
    assert not other.cluster_file.exists()


def test_nothing_at_the_address_is_said_at_once(other: Settings) -> None:
    with pytest.raises(NoControlPlane, match=r"nothing answers at 127\.0\.0\.1:9"):
        up(other, "127.0.0.1:9", echo=lambda line: None)


@pytest.fixture
def open_cluster(tmp_path: Path) -> Iterator[str]:
    """A cluster on which authentication is off."""
    home, tmp = tmp_path / "open", tmp_path / "r"
    home.mkdir()
    tmp.mkdir()
    shape = EmbeddedShape(nodes=(NodeShape(name="only", num_cpus=1),))
    command = [sys.executable, "-m", "aios.adapters.keeper", "--home", str(home), "--tmp", str(tmp)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": "/tmp"}
    child = subprocess.Popen([*command, "--shape", shape.model_dump_json()], env=environment)
    try:
        keeper = eventually(lambda: Keeper.read(home), timeout_s=120, what="the cluster")
        assert keeper is not None
        yield keeper.address
    finally:
        child.terminate()
        child.wait(60)
        embedded.stop(home)


def test_a_cluster_without_authentication_is_refused_unless_told(
    open_cluster: str, other: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(Unauthorized, match="authentication disabled") as refused:
        up(other, open_cluster, echo=lambda line: None)
    assert "--insecure" in refused.value.hint
    info = up(other, open_cluster, insecure=True, echo=lambda line: None)
    assert answers(info.api_url)
    down(other, echo=lambda line: None)
