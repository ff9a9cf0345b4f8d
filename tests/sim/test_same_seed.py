"""The same seed gives the same log, byte for byte, whatever order hashes come in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.sim.schedules import digest

ROOT = Path(__file__).parents[2]
SEEDS = (3, 7, 42)


def test_the_same_seed_gives_the_same_log_under_other_hash_seeds() -> None:
    code = f"from tests.sim.schedules import digest\nprint('digests', *map(digest, {SEEDS}))"
    logs = set()
    for hash_seed in ("0", "1", "4711"):
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        logs.add(next(line for line in ran.stdout.splitlines() if line.startswith("digests")))
    assert logs == {" ".join(["digests", *map(digest, SEEDS)])}


def test_another_seed_gives_another_log() -> None:
    assert digest(3) != digest(7)
