"""Simulations run in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.support.silence import silence


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    silence()
    yield
    structlog.configure(**before)
