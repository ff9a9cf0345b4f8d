"""Simulations run in silence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.silence import silence


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with silence():
        yield
