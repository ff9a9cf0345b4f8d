"""A served control plane, and the command as a user has it: its home, its streams, its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aios.cli.__main__ import run
from tests.support.plane import Served, served


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Aios = Callable[..., Ran]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Served]:
    home = tmp_path / "home"
    home.mkdir()
    with served(home) as one:
        yield one


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Aios:
    """Return the command where nothing runs."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name in ("AIOS_ADDRESS", "AIOS_TOKEN", "AIOS_STORAGE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIOS_HOME", str(home))
    monkeypatch.setenv("AIOS_RETRY_S", "1")

    def aios(*args: str) -> Ran:
        capsys.readouterr()
        code = run(list(args))
        streams = capsys.readouterr()
        return Ran(code, streams.out, streams.err)

    return aios


@pytest.fixture
def aios(plane: Served, alone: Aios) -> Aios:
    """Return the command with a control plane to talk to."""
    return alone
