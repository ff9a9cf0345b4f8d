"""What the command line can do with model versions themselves, and how the package that knows them is found.

The catalogue is the control plane's; a model is loaded here, in the process of whoever asks, from the shared storage
that this machine must see. The tools are the entry point ``models`` in the group ``aios.models``.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Protocol

from aios.errors import Rejected

GROUP = "aios.models"


class ModelTools(Protocol):
    """Work on model versions by their folder. Raises ``Rejected`` with what to do about it; returns plain JSON."""

    def explain(self, folder: str, row: Any, at: tuple[str, int, str | None] | None, of: str | None) -> dict[str, Any]:
        """Explain the answer for one row: as given, or row number ``at[1]`` of a side of a dataset version."""


def model_tools() -> ModelTools:
    """Return the installed tools."""
    for entry in entry_points(group=GROUP):
        found: ModelTools = entry.load()()
        return found
    raise Rejected("no model tools are installed here", hint="install AIOS with its pipelines: pip install aios")
