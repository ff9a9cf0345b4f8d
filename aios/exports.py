"""What the command line can do with the files of models, and how the package that knows networks is found.

The tools are the entry point ``exports`` in the group ``aios.exports``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from aios.errors import Rejected

GROUP = "aios.exports"
TARGETS = ("onnx",)


@dataclass(frozen=True, slots=True)
class Imported:
    """A version's folder that was made of a file from elsewhere, complete and not yet published."""

    uri: str
    digest: str
    meta: Mapping[str, Any]


class Exports(Protocol):
    """Work on the folders of model versions. Raises ``Rejected`` with what to do about it."""

    def write(self, folder: Path, reference: str, to: Path, key: bytes) -> int:
        """Write what runs at the edge into the empty folder ``to``; return the sample's rows.

        ``key`` is the public half of the key that will sign it, in PEM form.
        """

    def tested(self, folder: Path) -> str:
        """Run an exported folder's self-test in a process of its own; return what it said. Raises Rejected."""

    def take(self, file: Path, name: str, said: Mapping[str, Any], storage: Path, by: str) -> Imported:
        """Make a version's folder below ``storage`` of an ONNX file and what its author says of it."""


def exports() -> Exports:
    """Return the installed tools."""
    for entry in entry_points(group=GROUP):
        found: Exports = entry.load()()
        return found
    raise Rejected("no export tools are installed here", hint="install AIOS with its pipelines: pip install aios")
