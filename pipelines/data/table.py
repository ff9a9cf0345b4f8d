"""What the rest of the system needs from a table format: one small protocol, and the one list of formats.

A *table version* is a commit of the format; most are never seen. A *dataset version* ``name@N`` exists once the
kernel has recorded it, and its address says which table version it is. A writer starts from the table version of the
last dataset version, whatever else stands in the table: what a killed or fenced attempt committed is stepped over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa

from pipelines.data.address import Address
from pipelines.data.fingerprint import Fingerprint
from pipelines.data.where import Where

Mode = Literal["append", "insert", "overwrite", "upsert", "delete"]
ROWS = "aios.rows"
"""The property of a commit that holds the fingerprint of the rows that it makes visible."""


class TableError(Exception):
    """What a caller asked of a table that cannot be; the message says what, which and what now."""


class Conflict(TableError):
    """Another writer was faster too often; nothing was written."""


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction.

    Attributes
    ----------
    base : int or None
        The table version to start from, None where there is no dataset version yet.
    properties : mapping
        Text that is committed together with the rows (lineage, offsets of streams, statistics).
    mode : str
        ``insert`` appends the rows whose key is not there yet; ``delete`` takes those away whose key is given.
    key : tuple of str
        Columns that identify a row, for ``insert``, ``upsert`` and ``delete``, whose rows must fit in one process.
    schema : pyarrow.Schema or None
        What the rows must be cast to; None takes them as they come, which must be alike in every block.
    guard : callable
        Called right before the commit; raises where this writer is no longer the one.
    """

    mode: Mode = "overwrite"
    base: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    schema: pa.Schema | None = None
    guard: Callable[[], None] = lambda: None
    rows_per_file: int | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """What a transaction left."""

    version: int
    fingerprint: Fingerprint
    schema: pa.Schema
    bytes: int


@dataclass(frozen=True, slots=True)
class TableVersion:
    """One commit in a table's own history."""

    version: int
    at_s: float
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Collected:
    """What a clean-up took away."""

    versions: int
    bytes: int


class Table(Protocol):
    """A table at a location, which may not exist yet.

    Every ``version`` is a table version. ``write`` and ``delete`` are one transaction each: a reader sees all of it or
    nothing, whoever dies meanwhile; two at once end in two commits, each from its own base. ``protect`` keeps a version
    from ``collect``; only versions that are protected, and the newest, outlive it.
    """

    format: str
    location: str

    def write(self, rows: Any, write: Write, **options: Any) -> Commit:
        """Write a Ray Dataset, or an Arrow table from this process; ``options`` go to Ray's tasks (``num_cpus``)."""

    def delete(self, where: Where, write: Write) -> Commit:
        """Delete the rows that match, starting from ``write.base``."""

    def read(self, version: int, columns: Sequence[str] | None = None, where: Where = (), **options: Any) -> Any:
        """Return a Ray Dataset of the rows, read only as it is consumed."""

    def scan(
        self, version: int, columns: Sequence[str] | None = None, where: Where = (), batch_size: int = 16_384
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows in this process."""

    def take(self, version: int, rows: Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Return rows by their position, in the order asked for; fast whatever the size where the format can."""

    def schema(self, version: int) -> pa.Schema: ...

    def count(self, version: int, where: Where = ()) -> int: ...

    def versions(self) -> tuple[TableVersion, ...]:
        """Return every commit that is still readable, oldest first; empty where the table does not exist."""

    def properties(self, version: int) -> Mapping[str, str]: ...

    def protect(self, name: str, version: int) -> None: ...

    def release(self, name: str) -> None: ...

    def protected(self) -> Mapping[str, int]: ...

    def annotate(self, write: Write) -> Commit:
        """Commit ``write.base`` again with other properties and no row changed."""

    def compact(self, write: Write) -> Commit:
        """Rewrite the files of ``write.base`` with no deleted row left in them; the rows stay the same."""

    def collect(self, leftovers: bool = False) -> Collected:
        """Take away every commit that is neither protected nor the newest.

        With ``leftovers`` also the files that belong to no commit; no writer may be at work then.
        """


def fingerprint_of(table: Table, version: int) -> Fingerprint:
    """Return the fingerprint that a commit carries; that of foreign commits is computed from all their rows."""
    from pipelines.data.fingerprint import fingerprint

    known = table.properties(version).get(ROWS)
    if known is not None:
        return Fingerprint.parse(known)
    return sum((fingerprint(batch) for batch in table.scan(version)), Fingerprint())


def open_table(address: Address) -> Table:
    """Return the table at an address; the one place that knows the formats."""
    match address.format:
        case "lance":
            from pipelines.data.lance_table import LanceTable

            return LanceTable(address.location)
        case "delta":
            from pipelines.data.delta_table import DeltaLake

            return DeltaLake(address.location)
        case "parquet":
            from pipelines.data.parquet_folder import ParquetFolder

            return ParquetFolder(address.location)
    raise TableError(f"{address}: no table format {address.format!r}: use lance or delta")
