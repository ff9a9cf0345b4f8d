"""One served control plane per module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.plane import Served, served


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home")) as one:
        yield one
