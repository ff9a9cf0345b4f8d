"""The address of one version of a table, as it stands in the catalogue: ``lance:LOCATION#VERSION``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FORMATS = ("lance", "delta")
PATTERN = re.compile(rf"({'|'.join(FORMATS)}):(.+)#(\d+)")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a dataset version is: a format, a path or URL, and the table's own version.

    ``parquet`` are the folders that versions were before they were tables; they have the one version 0.
    """

    format: str
    location: str
    version: int

    def __str__(self) -> str:
        return self.location if self.format == "parquet" else f"{self.format}:{self.location}#{self.version}"

    @classmethod
    def parse(cls, uri: str) -> Address:
        if match := PATTERN.fullmatch(uri):
            return cls(match[1], match[2], int(match[3]))
        return cls("parquet", uri, 0)


def location_of(root: str, name: str, format_: str) -> str:
    """Return where the table of a dataset is, below a folder or URL."""
    return f"{root.rstrip('/')}/{name}/table.{format_}"


def is_local(location: str) -> bool:
    return "://" not in location


def size_of(location: str) -> int:
    """Return the bytes of everything below a local path, 0 for a URL."""
    if not is_local(location):
        return 0
    return sum(path.stat().st_size for path in Path(location).rglob("*") if path.is_file())
