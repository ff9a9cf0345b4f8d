"""From rows to a dataset version: one transaction in the table, and the artefact that the kernel publishes.

The order is what makes it safe. The table's commit carries who made it and passes the fence right before; nobody reads
it yet. The attempt's end carries the address of the commit, and the kernel takes the end only under the current fence
and, where the version was built on another one, only while that is the newest. A commit whose end was not taken is
never seen: the next writer starts from the last dataset version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed
from typing import Any

import pyarrow as pa

from aios.engines import RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.data.address import Address, location_of
from pipelines.data.fingerprint import content_hash
from pipelines.data.manifest import MANIFEST, manifest_of
from pipelines.data.table import Commit, Mode, Table, TableError, Write, fingerprint_of, open_table

MOST_COLUMNS = 500
"""Columns whose types are recorded in the catalogue; the table has them all."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a new version of a dataset is built on, and where its table is.

    ``reference`` is exact (``dataset://name@4``), empty where there is no version yet; ``base`` is its table version.
    """

    name: str
    table: Table
    reference: str = ""
    base: int | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Committed:
    """Rows that are in the table and not published yet."""

    place: Place
    mode: Mode
    commit: Commit
    properties: Mapping[str, str]
    n_new: int = 0

    @property
    def address(self) -> Address:
        return Address(self.place.table.format, self.place.table.location, self.commit.version)


def place_of(ctx: RunContext, role: str = "data", *, format_: str | None = None, root: str | None = None) -> Place:
    """Return where the next version of an output goes; the table of an earlier version is gone on with."""
    name = ctx.outputs[role].partition("://")[2]
    before = ctx.bases.get(role)
    if before is not None and (address := Address.parse(before.uri)).format != "parquet":
        if format_ is not None and format_ != address.format:
            raise WorkloadFailed(
                f"{before.reference} is a table in the format {address.format}: write format: {address.format}, or "
                "give the dataset another name"
            )
        return Place(name, open_table(address), before.reference, address.version, manifest_of(before.uri))
    location = location_of(root or str(ctx.storage / "datasets"), name.partition("@")[0], format_ or "lance")
    return Place(name, open_table(Address(format_ or "lance", location, 0)))


def commit(
    ctx: RunContext,
    place: Place,
    rows: Any,
    mode: Mode = "overwrite",
    *,
    key: Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
    schema: pa.Schema | None = None,
    **options: Any,
) -> Committed:
    """Write a Ray Dataset (or an Arrow table) in one transaction, under the attempt's fence.

    Parameters
    ----------
    mode : str
        ``overwrite`` stands for itself; ``append``, ``upsert`` and ``delete`` (by ``key``) build on ``place.base``.
    properties : mapping
        Committed with the rows: offsets of streams, watermarks.
    options
        For Ray's tasks, as ``slice_context`` returns them.
    """
    made = {"aios.run": ctx.run_name, "aios.fence": str(ctx.fence), "aios.base": place.reference, **(properties or {})}
    write = Write(mode, place.base, made, tuple(key), schema, ctx.check_fence)
    ctx.check_fence()
    try:
        done = place.table.write(rows, write, **options)
    except TableError as error:
        raise WorkloadFailed(f"dataset {place.name}: {error}") from None
    place.table.protect(tag_of(ctx), done.version)
    before = 0 if mode == "overwrite" or place.base is None else fingerprint_of(place.table, place.base).rows
    return Committed(place, mode, done, made, max(0, done.fingerprint.rows - before))


def side_table(ctx: RunContext, place: Place, rows: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write rows that were set aside beside the dataset's table; return where they are, for the manifest."""
    location = f"{place.table.location.removesuffix(place.table.format)}quarantine.{place.table.format}"
    table = open_table(Address(place.table.format, location, 0))
    try:
        done = table.write(rows, Write("overwrite", None, {"aios.run": ctx.run_name}, guard=ctx.check_fence), **options)
    except TableError:  # none were set aside
        return {}
    table.protect(tag_of(ctx), done.version)
    return {"uri": str(Address(table.format, location, done.version)), "rows": done.fingerprint.rows}


def artefact(ctx: RunContext, committed: Committed, manifest: Mapping[str, Any], spec: Any = None) -> Artefact:
    """Describe what was committed, in the table and for the catalogue, and return what the attempt ends with.

    Parameters
    ----------
    manifest : mapping
        What readers need beside the rows (JSON): target, features, classes, statistics, source.
    """
    place, done = committed.place, committed.commit
    columns = {column.name: str(column.type) for column in list(done.schema)[:MOST_COLUMNS]}
    whole = {
        "format": 2,
        "name": place.name,
        "mode": committed.mode,
        "base": place.reference or None,
        "total_rows": done.fingerprint.rows,
        "schema": columns,
        "fingerprint": str(done.fingerprint),
        "properties": {name: value for name, value in committed.properties.items() if not name.startswith("aios.")},
        "made": {
            "workload": ctx.workload,
            "attempt": ctx.attempt,
            "tenant": ctx.tenant,
            "inputs": sorted(one.reference for one in ctx.inputs.values()),
            "parameters": parameters(spec),
            "code": code_version(),
        },
        **manifest,
    }
    properties = {**committed.properties, MANIFEST: json.dumps(whole, sort_keys=True, default=str)}
    described = place.table.annotate(Write("append", done.version, properties, guard=ctx.check_fence))
    place.table.protect(tag_of(ctx), described.version)
    address = replace(committed.address, version=described.version)
    return Artefact(
        "dataset",
        place.name,
        str(address),
        content_hash(done.fingerprint, done.schema),
        json.dumps(whole, sort_keys=True, default=str),
        None if committed.mode == "overwrite" else place.reference,
    )


def publish(
    ctx: RunContext, rows: Any, mode: Mode = "overwrite", *, role: str = "data", manifest: Mapping[str, Any], **how: Any
) -> Artefact:
    """Write rows and return the artefact to end with: ``place_of``, ``commit`` and ``artefact`` in one."""
    return artefact(ctx, commit(ctx, place_of(ctx, role), rows, mode, **how), manifest)


def tag_of(ctx: RunContext) -> str:
    """Return the name under which an attempt keeps its commit from clean-ups."""
    return f"{ctx.workload}.{ctx.attempt}"


def parameters(spec: Any) -> dict[str, Any]:
    """Return what the user wrote, passwords left out: a value under such a name, or inside a URL."""
    return {} if spec is None else _hidden(spec.model_dump(mode="json", exclude_unset=True))


def code_version() -> dict[str, str]:
    return {name: installed(name) for name in ("aios", "ray", "pyarrow")}


SECRET = ("password", "secret", "token", "credential", "key_file")


def _hidden(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "***" if any(word in name.lower() for word in SECRET) and inner is not None else _hidden(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_hidden(inner) for inner in value]
    if isinstance(value, str) and "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
        scheme, _, rest = value.partition("://")
        return f"{scheme}://***@{rest.partition('@')[2]}"
    return value
