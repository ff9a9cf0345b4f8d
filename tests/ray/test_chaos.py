"""Kills on a cluster of its own, under load: nothing acknowledged is lost, nothing is recorded twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray


def test_no_promise_is_broken_by_kills_of_the_control_plane_workers_a_node_and_the_gcs() -> None:
    kills = ["--kills", "5", "--worker-kills", "3", "--raylet-kills", "1", "--gcs-kills", "1", "--freezes", "0"]
    load = ["--submissions", "300", "--runs-every", "25", "--threads", "2", "--seed", "7", "--pause-s", "1"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AIOS_"))}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.chaos", *kills, *load],
        cwd=Path(__file__).parents[2],
        env=env,
        capture_output=True,
        text=True,
        timeout=420,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "broken promises: 0" in ran.stdout
    assert re.search(r"5 x kill -9 of the control plane", ran.stdout)
