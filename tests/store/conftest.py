"""Logs in every database that can hold one durably."""

from __future__ import annotations

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
