"""Kills on a cluster of its own, under load: nothing acknowledged is lost, nothing is recorded twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

PLANES, PROCESSES, SUBMISSIONS = 5, 3, 300


def test_no_promise_is_broken_by_kills_of_the_control_plane_workers_a_node_and_the_gcs() -> None:
    """
    1. Clients submit, stop, preempt and suspend; the control plane is killed, twice as a phase begins.
    2. Workers, a supervisor, a raylet and the GCS are killed too, and a node joins.
    3. All that was acknowledged has ended, once, as the log says; every fault really happened.
    """
    kills = {"kills": PLANES, "worker-kills": PROCESSES, "raylet-kills": 1, "gcs-kills": 1}
    others = {"replica-kills": 0, "freezes": 0, "submissions": SUBMISSIONS, "runs-every": 25, "threads": 4, "seed": 7}
    given = [f"--{name}={value}" for name, value in {**kills, **others, "pause-s": 0.3}.items()]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AIOS_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *given],
        cwd=Path(__file__).parents[2],
        env=env,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "broken promises: 0" in ran.stdout
    assert f"{SUBMISSIONS} submissions acknowledged, 0 refused" in ran.stdout
    struck = {what: int(n) for n, what in re.findall(r"(\d+) x (kill -9 of .+)", ran.stdout)}
    assert struck.pop("kill -9 of the control plane") == PLANES
    assert struck.pop("kill -9 of the GCS, and its restart") == 1
    assert struck.pop("kill -9 of a raylet, and a node that joins") == 1
    assert sum(struck.values()) == PROCESSES
