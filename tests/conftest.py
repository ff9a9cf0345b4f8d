"""For all tests: properties draw the same examples each time, unless ``AIOS_HYPOTHESIS=random`` asks for new ones."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if os.environ.get("AIOS_HYPOTHESIS") == "random" else "same")
