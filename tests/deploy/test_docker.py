"""The image is built from the lock file, runs as nobody in particular, and its entry point refuses half a command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def instructions(root: Path) -> list[tuple[str, str]]:
    text = (root / "deploy/docker/Dockerfile").read_text()
    joined = re.sub(r"\\\n\s*", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


@pytest.fixture
def entry(root: Path) -> Path:
    return root / "deploy/docker/aios-node"


def _all(instructions: list[tuple[str, str]], word: str) -> list[str]:
    return [rest for name, rest in instructions if name == word]


def test_it_starts_from_the_python_that_the_lock_file_is_made_for(instructions: list[tuple[str, str]]) -> None:
    assert _all(instructions, "FROM") == ["python:3.11-slim"]


def test_everything_it_installs_is_locked(instructions: list[tuple[str, str]]) -> None:
    installs = [run for run in _all(instructions, "RUN") if "pip install" in run]
    assert len(installs) == 2
    assert all("-c /opt/aios/constraints.txt" in run and "--no-cache-dir" in run for run in installs)


def test_what_it_copies_exists_and_reaches_the_builder(instructions: list[tuple[str, str]], root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    copied = {word for rest in _all(instructions, "COPY") for word in rest.split()[:-1] if not word.startswith("--")}
    assert copied == allowed
    assert all((root / path).exists() for path in copied)


def test_it_runs_as_a_user_without_rights_and_wants_the_token(instructions: list[tuple[str, str]]) -> None:
    words = [word for word, _ in instructions]
    assert _all(instructions, "USER") == ["aios"]
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert "--uid 1000" in _all(instructions, "RUN")[0]
    assert "RAY_AUTH_MODE=token" in _all(instructions, "ENV")[0]


def test_it_offers_only_the_ports_between_nodes(instructions: list[tuple[str, str]], entry: Path) -> None:
    assert _all(instructions, "EXPOSE") == ["6379 8076"]
    assert "--dashboard-host=127.0.0.1" in entry.read_text()


def test_the_folders_are_those_that_the_manifest_mounts(instructions: list[tuple[str, str]], root: Path) -> None:
    settings = dict(pair.split("=", 1) for pair in _all(instructions, "ENV")[0].split())
    manifest = (root / "deploy/k8s/raycluster.yaml").read_text()
    for name in ("AIOS_HOME", "AIOS_STORAGE"):
        assert f"mountPath: {settings[name]}}}" in manifest


def _run(entry: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "AIOS_HOME": "/nowhere", **environment}
    return subprocess.run([str(entry), *arguments], env=env, capture_output=True, text=True, timeout=30, check=False)


def test_the_entry_point_is_a_program_that_bash_can_read(entry: Path) -> None:
    assert os.access(entry, os.X_OK)
    subprocess.run(["bash", "-n", str(entry)], check=True)


def test_a_worker_without_a_head_or_a_token_is_told_what_to_give(entry: Path) -> None:
    lost = _run(entry, "worker")
    assert (lost.returncode, "name the head, for example: aios-node worker 10.0.0.5:6379" in lost.stderr) == (2, True)
    keyless = _run(entry, "worker", "10.0.0.5:6379")
    assert (keyless.returncode, "set RAY_AUTH_TOKEN_PATH to a file" in keyless.stderr) == (2, True)


def test_any_other_command_is_run_as_it_is(entry: Path) -> None:
    assert _run(entry, "echo", "hello there").stdout == "hello there\n"


def test_a_head_makes_its_own_token_for_its_owners_eyes_alone(entry: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    home = tmp_path / "home"
    home.mkdir()
    # No ray is on this path, so that the head ends right after it has made its token.
    ended = _run(entry, "head", PATH=f"{tools}:/usr/bin:/bin", AIOS_HOME=str(home))
    assert (ended.returncode, "ray is not on the PATH" in ended.stderr) == (127, True)
    token = home / "ray_token"
    assert oct(token.stat().st_mode & 0o777) == "0o600"
    assert re.fullmatch(r"[0-9a-f]{64}", token.read_text())
