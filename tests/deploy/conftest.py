"""What the tests of deployment files share: where the files are, and the versions that they must name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import aios


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the checkout."""
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def locked(root: Path) -> Callable[[str], str]:
    """Return the version that ``constraints.txt`` gives a package."""

    def version(package: str) -> str:
        found = re.search(rf"^{package}==(\S+)$", (root / "constraints.txt").read_text(), re.MULTILINE)
        assert found is not None, f"constraints.txt does not name {package}"
        return found[1]

    return version


@pytest.fixture(scope="session")
def image_tag() -> str:
    return aios.__version__
