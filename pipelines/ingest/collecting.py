"""Collect: from a bounded source to rows on the nodes, and what a version records of where they came from."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from aios.engines import RunContext
from pipelines.ingest.progress import Meter
from pipelines.ingest.rowset import RayRows
from pipelines.ingest.sources import generators, sql
from pipelines.ingest.sources.allowed import Allowed
from pipelines.ingest.sources.files import read_files
from pipelines.ingest.sources.listing import list_files
from pipelines.ingest.spec import IngestSpec
from pipelines.run import Whereabouts
from pipelines.workdir import working_dir


@dataclass(frozen=True, slots=True)
class Reading:
    """Rows of a bounded source; ``offsets`` say where the next run goes on, where it reads only what is newer."""

    rows: RayRows
    origin: Mapping[str, Any] = field(default_factory=dict)
    offsets: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "overwrite"


def collect(
    spec: IngestSpec, ctx: RunContext, options: Mapping[str, float], previous: Mapping[str, str], meter: Meter
) -> Reading | None:
    """Return what the source has; None where nothing is newer than ``previous``. Raises BadSource."""
    source, here = spec.source, Whereabouts.of(ctx)
    allowed = Allowed.from_env()
    match source.kind:
        case "path":
            files = list_files(source, allowed, ctx.dir / "fetched", lambda n: ctx.reporter.progress({"fetched": n}))
            for name in files.empty:
                ctx.reporter.log(f"skipped: {name}: empty, 0 bytes")
            n_cpus = max(1, sum(bundle.get("CPU") for bundle in ctx.bundles) // 1000)
            rows = read_files(source, files, options, n_cpus, here, meter)
            return Reading(RayRows(rows.dataset, options, rows.schema), files.origin())
        case "sql":
            return _records(spec, options, previous, allowed, here, meter)
        case "python":
            folder = working_dir(spec.working_dir, ctx)
            return Reading(RayRows(generators.read_python(source, folder, options, here), options).kept())
        case "host":
            return Reading(RayRows(generators.read_host(source, options, here), options).kept())
        case "huggingface":
            return Reading(RayRows(generators.read_huggingface(source), options))
    return Reading(_shipped(source.sklearn or "", ctx, options, here))


def _records(
    spec: IngestSpec,
    options: Mapping[str, float],
    previous: Mapping[str, str],
    allowed: Allowed,
    here: Whereabouts,
    meter: Meter,
) -> Reading | None:
    assert spec.source.sql is not None, "a source of rows in a database"
    before = json.loads(previous.get("offsets", "{}")).get("watermark")
    same = before is not None and before["column"] == spec.source.sql.watermark
    found = sql.look(spec.source, allowed, unpacked(before["value"]) if same else None, bool(spec.key))
    if found is None:
        return None
    rows = sql.read_sql(spec.source, found, allowed, options, here, meter)
    origin = {"rows": found.n_rows, "ranges": len(found.ranges)}
    if found.window is None:
        return Reading(RayRows(rows, options, found.schema), origin)
    offsets = {"watermark": {"column": found.window.column, "value": packed(found.window.upto)}}
    return Reading(RayRows(rows, options, found.schema), origin, offsets, "append" if same else "overwrite")


def _shipped(name: str, ctx: RunContext, options: Mapping[str, float], here: Whereabouts) -> RayRows:
    """Return a set that ships with scikit-learn, read in as many parts as there are bundles."""
    n = len(ctx.nodes)

    def read(batch: Mapping[str, np.ndarray[Any, Any]]) -> pa.Table:
        here.say()
        frame = generators.sklearn_frame(name)
        parts = [pa.Table.from_pandas(frame.iloc[int(i) :: n], preserve_index=False) for i in batch["part"]]
        return pa.concat_tables(parts).replace_schema_metadata()

    schema = pa.Schema.from_pandas(generators.sklearn_frame(name), preserve_index=False).remove_metadata()
    rows = ray.data.from_items([{"part": i} for i in range(n)], override_num_blocks=n)
    return RayRows(rows.map_batches(read, batch_size=None, **options), options, schema)


def packed(value: Any) -> Any:
    """Return a watermark as JSON that says its type."""
    if isinstance(value, dt.datetime):
        return {"time": value.isoformat()}
    return {"date": value.isoformat()} if isinstance(value, dt.date) else value


def unpacked(value: Any) -> Any:
    match value:
        case {"time": text}:
            return dt.datetime.fromisoformat(text)
        case {"date": text}:
            return dt.date.fromisoformat(text)
    return value
