"""Dataset versions as engines read them: by what the kernel resolved, whatever the format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from aios.engines import Input, WorkloadFailed
from pipelines.data.address import Address
from pipelines.data.fingerprint import content_hash
from pipelines.data.manifest import manifest_of
from pipelines.data.parquet_folder import SIDE
from pipelines.data.table import Table, TableError, fingerprint_of, open_table
from pipelines.data.where import Where


def opened(uri: str) -> tuple[Table, int]:
    """Return the table of a dataset version, and which of the table's versions it is."""
    address = Address.parse(uri)
    return open_table(address), address.version


def of_side(uri: str, side: str | None) -> Where:
    """Return the condition for one side of the split; a version without a split is all training data."""
    table, version = opened(uri)
    if side is None or (side == "train" and SIDE not in table.schema(version).names):
        return ()
    return ((SIDE, "=", side),)


def read_input(data: Input, columns: Sequence[str] | None = None, where: Where = (), **options: Any) -> Any:
    """Return a Ray Dataset of an input; raises WorkloadFailed where it is gone or has no such column."""
    table, version = opened(data.uri)
    try:
        lacking = sorted(set(columns or ()) - set(table.schema(version).names))
        if lacking:
            there = ", ".join(table.schema(version).names[:20])
            raise WorkloadFailed(f"{data.reference} has no column {', '.join(map(repr, lacking))}: it has {there}")
        return table.read(version, columns, where, **options)
    except TableError as error:
        raise WorkloadFailed(f"{data.reference}: {error}") from None


def load(uri: str, columns: Sequence[str] | None = None, side: str | None = None) -> pa.Table:
    """Return a version, or one side of it, in this process's memory."""
    table, version = opened(uri)
    batches = list(table.scan(version, columns, of_side(uri, side)))
    if not batches:
        whole = table.schema(version)
        return (whole if columns is None else pa.schema(whole.field(name) for name in columns)).empty_table()
    return pa.Table.from_batches(batches)


def types_of(uri: str) -> dict[str, str]:
    """Return the Arrow type of each column of a version, as text."""
    table, version = opened(uri)
    return {field.name: str(field.type) for field in table.schema(version)}


def digest_of_version(uri: str) -> str:
    """Return the content hash of a version, as it was published."""
    table, version = opened(uri)
    if table.format == "parquet":
        return str(manifest_of(uri)["digest"])
    return content_hash(fingerprint_of(table, version), table.schema(version))
