"""The main job from its command: two tenants, an urgent job, real data, real training, real requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_demo_ends_as_it_should_with_every_worker_where_it_was_planned(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "examples.demo", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=580
    )
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-3000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"]
    assert report["problems"] == []
    attempts = [attempt for row in report["workloads"] for attempt in row["every_attempt"]]
    assert sum(row["attempts"] for row in report["workloads"]) > len(report["workloads"])
    assert len(attempts) > len(report["workloads"]) // 2  # an attempt may end before it was ever seen running
    assert all(attempt["planned_nodes"] == attempt["actual_nodes"] for attempt in attempts)
    assert report["resumed"]["from_step"] >= 20
    assert all(answer["right"] for answer in report["endpoints"])
    assert all(scores["accuracy"] > 0.9 for scores in report["scores"].values())
