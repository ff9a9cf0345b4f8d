"""Reads a source of files in this process, the way the tasks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.ingest.sources.allowed import Allowed
from pipelines.ingest.sources.files import ReadParts, deal, schema_of
from pipelines.ingest.sources.listing import list_files
from pipelines.ingest.sources.spec import SourceSpec

ANYWHERE = Allowed(hosts=("127.0.0.1:*",))


def batches(source: SourceSpec, folder: Path, allowed: Allowed = ANYWHERE, n: int = 4) -> list[Any]:
    """Return all that the tasks would yield."""
    files = list_files(source, allowed, folder)
    dealt = deal(files, n)
    read = ReadParts(source, files, tuple(dealt), schema_of(source, files))
    return [batch for i in range(len(dealt)) for batch in read({"part": [i]})]


def table(path: Any, folder: Path | None = None, allowed: Allowed = ANYWHERE, **settings: Any) -> pa.Table:
    """Return the rows of tabular files."""
    paths = [str(p) for p in path] if isinstance(path, list) else str(path)
    source = SourceSpec.model_validate({"path": paths, **settings})
    return pa.concat_tables(batches(source, folder or Path("unused"), allowed))
