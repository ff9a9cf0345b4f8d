"""What the command line can do with the rows of versions, and how the package that knows tables is found.

The catalogue is the control plane's; rows are read here, in the process of whoever asks, from the shared storage that
this machine must see. The tools are the entry point ``tables`` in the group ``aios.tables``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from aios.errors import Rejected

GROUP = "aios.tables"


class Tables(Protocol):
    """Work on table versions by their address (``uri`` of an artefact). Raises ``Rejected`` with what to do about it.

    What is returned is plain JSON values.
    """

    def sample(self, uri: str, n: int, seed: int, where: Sequence[str]) -> list[dict[str, Any]]: ...

    def columns(self, uri: str) -> dict[str, dict[str, Any]]:
        """Return each column's type, nulls, range, mean, spread and number of values."""

    def diff(self, before: str, after: str) -> dict[str, Any]:
        """Return what changed: columns, rows, statistics and drift per column."""

    def profile(self, uri: str, path: Path, name: str) -> None:
        """Write a page with distributions, missing values, correlations and examples."""

    def export(self, uri: str, path: Path, where: Sequence[str]) -> int:
        """Write the rows as CSV, JSON lines or Parquet, by the path's ending; returns their number."""

    def verify(self, uri: str, digest: str) -> dict[str, Any]:
        """Compute the content hash anew and compare it."""

    def erase(self, uri: str, where: Sequence[str], by: str) -> dict[str, Any]:
        """Commit the version without the rows that match, their bytes gone from its files; nothing is published yet.

        Returns ``rows`` (erased) and the fields of the new artefact: uri, digest, meta.
        """

    def protect(self, uris: Mapping[str, str]) -> None:
        """Keep versions from ``collect``: address by the name of what keeps it."""

    def collect(self, uri: str, keep: Sequence[str], apply: bool, leftovers: bool) -> dict[str, Any]:
        """Take the bytes of every version away that is not in ``keep``, for the table of ``uri``.

        ``leftovers``: also files of attempts that never committed, however young; no writer may be at work then.
        """

    def find_text(self, uri: str, text: str) -> list[str]:
        """Return the files of the table that hold a text as it is, to show that it is gone."""


def tables() -> Tables:
    """Return the installed tools."""
    for entry in entry_points(group=GROUP):
        found: Tables = entry.load()()
        return found
    raise Rejected("no table tools are installed here", hint="install AIOS with its pipelines: pip install aios")
