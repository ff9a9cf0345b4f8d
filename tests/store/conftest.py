"""Logs in every database that can hold one durably, and a disk that is soon full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.postgres import schema_of_its_own

NewUrl = Callable[[str], str]


@pytest.fixture
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewUrl]:
    """Return what gives the URL of a log that is not there yet, in the database that is named."""
    with ExitStack() as stack:

        def made(kind: str) -> str:
            if kind == "postgres":
                return stack.enter_context(schema_of_its_own(request.getfixturevalue("postgres_server")))
            return f"sqlite:///{tmp_path / f'{uuid4().hex}.db'}"

        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, new_url: NewUrl) -> str:
    return new_url(str(request.param))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB; skips where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    order = ["mount", "-t", "tmpfs", "-o", "size=1m", "aios-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(order, capture_output=True, check=False).returncode != 0:
        pytest.skip("no tmpfs may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)
