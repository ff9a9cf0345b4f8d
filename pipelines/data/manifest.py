"""What a dataset version says about itself: kept in the table's own commit, so that the table is complete alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aios.engines import WorkloadFailed
from pipelines.data.address import Address
from pipelines.data.table import TableError, open_table
from pipelines.files import read_json

MANIFEST = "aios.manifest"
"""The property of a commit that holds the manifest as JSON."""
FILE = "manifest.json"
"""Where a version of before there were tables has it."""


def manifest_of(uri: str) -> dict[str, Any]:
    """Return what is known of the dataset version at an address; raises WorkloadFailed where there is none."""
    address = Address.parse(uri)
    if address.format == "parquet":
        path = Path(uri) / FILE
        if not path.is_file():
            raise WorkloadFailed(f"no dataset at {uri}: {FILE} is missing; was its ingest finished?")
        found: dict[str, Any] = read_json(path)
        return found
    try:
        text = open_table(address).properties(address.version).get(MANIFEST)
    except TableError as error:
        raise WorkloadFailed(str(error)) from None
    if text is None:
        raise WorkloadFailed(f"no dataset at {uri}: that commit was never published")
    known: dict[str, Any] = json.loads(text)
    return known
