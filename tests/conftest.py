"""For all tests: properties draw the same examples each time, unless ``AIOS_HYPOTHESIS=random`` asks for new ones.

A test that asks for ``postgres_server`` gets a real one, started once for all workers and ended with them.
"""

from __future__ import annotations

import os

from hypothesis import settings

from tests.support.postgres import postgres_server, pytest_configure

__all__ = ["postgres_server", "pytest_configure"]

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if os.environ.get("AIOS_HYPOTHESIS") == "random" else "same")
