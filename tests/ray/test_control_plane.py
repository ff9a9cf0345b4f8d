"""The control plane on a real cluster: what it starts outlives it, and its successor takes over."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from aios.client import Client
from aios.config import Settings
from aios.main import ClusterInfo, answers, up
from tests.support.polling import eventually

pytestmark = pytest.mark.ray


class Job:
    """A workload of the test engine, with its files."""

    def __init__(self, folder: Path, name: str, n: int = 1, **others: Any) -> None:
        self.name, self._effects, self._until = name, folder / f"{name}.effects", folder / f"{name}.until"
        self.document = {
            "kind": "probe",
            "name": name,
            "effects": str(self._effects),
            "until": str(self._until),
            "workers": {"num_workers": n, "resources_per_worker": {"CPU": 1}},
            **others,
        }

    def let_end(self) -> None:
        self._until.touch()

    def effects(self) -> list[str]:
        lines = self._effects.read_text(encoding="utf-8").splitlines() if self._effects.exists() else []
        return [line.split()[0] for line in lines]


def reaches(client: Client, job: Job, status: str) -> Any:
    def look() -> Any:
        view = client.get(job.name)
        assert view.status == status, f"{view.name} is {view.status}: {view.message}"
        return view

    return eventually(look, timeout_s=120)


def control_plane_pid() -> int:
    from aios.control import actor

    return int(actor.health()["pid"])


def test_work_runs_where_the_plan_says_and_its_log_is_read(client: Client, tmp_path: Path) -> None:
    job = Job(tmp_path, "placed", 2)
    client.submit(job.document)
    running = reaches(client, job, "RUNNING")
    assert running.actual_nodes == running.planned_nodes
    job.let_end()
    done = reaches(client, job, "SUCCEEDED")
    assert done.metrics == {"nodes": 2}
    assert "placed runs" in "".join(client.logs("placed"))
    assert job.effects() == ["start", "end"]


def test_a_killed_control_plane_comes_back_and_nothing_is_lost_or_run_twice(
    client: Client, info: ClusterInfo, tmp_path: Path
) -> None:
    """
    1. Two workloads run and a third waits for the room of one of them.
    2. The control plane is killed; while it is away, a fourth is submitted, and one of the two ends.
    3. It comes back at the same address under a new epoch: who runs goes on, who ended has ended, all get their turn.
    4. Each engine ran once.
    """
    jobs = [Job(tmp_path, name, 3) for name in ("first", "second")]
    third = Job(tmp_path, "third", workers={"num_workers": 1, "resources_per_worker": {"CPU": 2}})
    for job in jobs:
        client.submit(job.document)
    for job in jobs:
        reaches(client, job, "RUNNING")
    client.submit(third.document)
    epoch = client.status().epoch

    os.kill(control_plane_pid(), signal.SIGKILL)
    eventually(lambda: not answers(info.api_url), timeout_s=20, every_s=0.01, what="the control plane's death")
    jobs[0].let_end()
    fourth = Job(tmp_path, "fourth")
    submitting = threading.Thread(target=client.submit, args=(fourth.document,))
    submitting.start()

    eventually(lambda: answers(info.api_url), timeout_s=90, what="the control plane")
    submitting.join(120)
    assert client.status().epoch == epoch + 1
    reaches(client, jobs[0], "SUCCEEDED")
    assert reaches(client, jobs[1], "RUNNING").attempts[-1].number == 1
    for job in (jobs[1], third, fourth):
        job.let_end()
    for job in (*jobs, third, fourth):
        assert len(reaches(client, job, "SUCCEEDED").attempts) == 1
        assert job.effects() == ["start", "end"]


def gcs_pid() -> int:
    from aios.adapters.processes import descendants
    from tests.ray.test_adapter import _keeper_pid

    for pid in descendants(_keeper_pid()):
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].endswith(b"/gcs_server"):
            return pid
    raise AssertionError("no GCS runs")


def test_a_killed_gcs_comes_back_and_work_goes_on(client: Client, tmp_path: Path) -> None:
    running, later = Job(tmp_path, "over-gcs"), Job(tmp_path, "after-gcs")
    client.submit(running.document)
    reaches(client, running, "RUNNING")
    old = gcs_pid()
    os.kill(old, signal.SIGKILL)
    client.submit(later.document)
    reaches(client, later, "RUNNING")
    assert gcs_pid() != old
    for job in (running, later):
        job.let_end()
        assert len(reaches(client, job, "SUCCEEDED").attempts) == 1
        assert job.effects() == ["start", "end"]


def test_a_stop_ends_it_within_its_grace(client: Client, tmp_path: Path) -> None:
    job = Job(tmp_path, "stopped", grace=30)
    client.submit(job.document)
    reaches(client, job, "RUNNING")
    client.stop("stopped")
    reaches(client, job, "STOPPED")
    assert job.effects() == ["start", "yield"]


def test_an_urgent_gang_displaces_a_run_that_goes_on_from_its_checkpoint(client: Client, tmp_path: Path) -> None:
    calm = Job(tmp_path, "calm", workers={"num_workers": 3, "resources_per_worker": {"CPU": 2}})
    urgent = Job(tmp_path, "urgent", priority=100, workers={"num_workers": 2, "resources_per_worker": {"CPU": 2}})
    client.submit(calm.document)
    reaches(client, calm, "RUNNING")
    client.submit(urgent.document)
    reaches(client, urgent, "RUNNING")
    assert client.get("calm").attempts[0].outcome == "preempted"
    urgent.let_end()
    reaches(client, urgent, "SUCCEEDED")
    again = reaches(client, calm, "RUNNING")
    assert again.attempts[-1].resumed_step > 0
    calm.let_end()
    reaches(client, calm, "SUCCEEDED")
    assert calm.effects() == ["start", "yield", "start", "end"]


def test_up_again_says_that_it_runs_already(settings: Settings, info: ClusterInfo) -> None:
    said: list[str] = []
    assert up(settings, echo=said.append) == info
    assert "running already" in said[0]
