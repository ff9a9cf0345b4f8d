"""The cluster of our own: up, the loss of all of it, and down, after which nothing of ours is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from aios.adapters.embedded import EmbeddedShape, Keeper, NodeShape
from aios.adapters.processes import descendants, started_at
from aios.client import Client
from aios.config import Settings
from aios.errors import InvalidSpec
from aios.main import ClusterInfo, down, up
from tests.support.polling import eventually

SHAPE = EmbeddedShape(nodes=(NodeShape(name="one"),))


def begun(keeper: Keeper) -> dict[int, int]:
    """Return the processes of a cluster with their start times."""
    found = {pid: started_at(pid) for pid in (keeper.pid, *descendants(keeper.pid))}
    return {pid: started for pid, started in found.items() if started is not None}


def still_there(processes: dict[int, int]) -> list[int]:
    return [pid for pid, started in processes.items() if started_at(pid) == started]


def connect(info: ClusterInfo, settings: Settings) -> Client:
    return Client(info.api_url, settings.api_token_file.read_text(encoding="utf-8"))


@pytest.mark.ray
def test_work_outlives_its_cluster_and_down_leaves_nothing(tmp_path: Path) -> None:
    """
    1. Up; a workload runs.
    2. The keeper is killed, and the whole cluster with it.
    3. Up again: another cluster, the same log; the attempt was lost, and another one runs.
    4. Down, while it runs: no process, no socket directory and no cluster file is left; down again says so.
    """
    settings = Settings.from_env({"AIOS_HOME": str(tmp_path / "home"), "AIOS_API_PORT": "0"})
    said: list[str] = []
    try:
        info = up(settings, workers=SHAPE, echo=said.append)
        assert any(line.startswith("listens on ALL interfaces") for line in said)
        assert any(line.startswith("listens on 127.0.0.1") and "the AIOS API" in line for line in said)
        first = Keeper.read(settings.home)
        assert first is not None
        files = {"effects": str(tmp_path / "effects"), "until": str(tmp_path / "until")}
        with connect(info, settings) as client:
            client.submit({"kind": "probe", "name": "lasting", "max_retries": 3, **files})
            eventually(lambda: client.get("lasting").status == "RUNNING")
        processes = begun(first)

        os.kill(first.pid, signal.SIGKILL)
        eventually(lambda: not first.alive, every_s=0.01)
        info = up(settings, workers=SHAPE, echo=said.append)
        second = Keeper.read(settings.home)
        assert second is not None
        assert second.pid != first.pid
        eventually(lambda: not still_there(processes), timeout_s=20)
        assert not Path(first.tmp).exists()
        with connect(info, settings) as client:
            eventually(lambda: [a.outcome for a in client.get("lasting").attempts] == ["lost", None])
            eventually(lambda: client.get("lasting").status == "RUNNING")
        processes = begun(second)
    finally:
        down(settings, echo=said.append)
    assert not still_there(processes)
    assert not Path(second.tmp).exists()
    assert not settings.cluster_file.exists()
    down(settings, echo=said.append)
    assert said[-1] == "AIOS was not running"


def test_a_shape_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text("nodes:\n- {name: x, num_cpus: 3, labels: {zone: z9}}\n", encoding="utf-8")
    assert EmbeddedShape.from_file(path).nodes == (NodeShape(name="x", num_cpus=3, labels={"zone": "z9"}),)


@pytest.mark.parametrize(
    "text", ["nodes: []", "nodes: [{name: x, cpus: 3}]", "[", "nodes: [{name: x, memory: 3 apples}]"]
)
def test_a_wrong_shape_says_what_and_where(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nodes.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSpec, match=r"nodes\.yaml"):
        EmbeddedShape.from_file(path)
