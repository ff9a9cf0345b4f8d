"""The flow of an ingest: take what the source gives, commit it in one transaction, measure, describe, publish."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ray.exceptions import RayTaskError

from aios.engines import Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.data.describe import rows_by_side, statistics, task_and_classes
from pipelines.data.parquet_folder import SIDE
from pipelines.data.publish import Committed, Place, artefact, commit, place_of, side_table
from pipelines.ingest.portions import UNFIT, Portion, first_line, portions
from pipelines.ingest.spec import IngestSpec
from pipelines.run import ended_on_request, quiet, slice_context

TEXTS = ("source", "offsets", "recipe", "checks", "roles")
"""Properties of a commit that are JSON and that readers find in the manifest."""


def ingest(spec: IngestSpec, ctx: RunContext) -> Result:
    """Make a dataset version from ``spec.source``, working on the nodes of ``ctx`` alone; or publish nothing."""
    with ended_on_request(ctx):
        return _ingest(spec, ctx)


def _ingest(spec: IngestSpec, ctx: RunContext) -> Result:
    quiet()
    options = slice_context(ctx.nodes, ctx.bundles)
    place = place_of(ctx, format_=spec.table.format, root=spec.table.url)
    previous: Mapping[str, str] = place.manifest.get("properties", {})

    # 1. Commit what the source gives, with its offsets in the same transaction.
    last: Committed | None = None
    quarantined: dict[str, Any] = {}
    n_rows = 0
    for portion in portions(spec, ctx, options, previous):
        last = _commit(spec, ctx, place, portion, options)
        ctx.check_fence()  # an attempt that was fenced off meanwhile tells no broker that its rows are safe
        portion.committed()
        if portion.quarantine is not None:
            quarantined = side_table(ctx, place, portion.quarantine, options)
        place = replace(place, base=last.commit.version)
        n_rows += last.n_new
        ctx.reporter.progress({"rows": n_rows, "rows_in_dataset": last.commit.fingerprint.rows})
    if last is None:
        ctx.reporter.log(f"{place.name}: the source has nothing new since {place.reference or 'the beginning'}")
        return Result(metrics={"rows": 0})

    # 2. Measure, describe, publish.
    made = _describe(spec, ctx, last, quarantined, options)
    rows = {f"rows_{side}": n for side, n in json.loads(made.meta)["rows"].items()}
    ctx.reporter.log(f"{place.name}: {rows}")
    ctx.reporter.progress(rows)
    return Result((made,), rows)


def _commit(
    spec: IngestSpec, ctx: RunContext, place: Place, portion: Portion, options: Mapping[str, float]
) -> Committed:
    mode = spec.mode or ("insert" if portion.mode == "append" and portion.key else portion.mode)
    key = spec.key or portion.key
    try:
        return commit(ctx, place, portion.rows, mode, key=key, properties=portion.properties, **options)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, WorkloadFailed):
            raise cause from None
        if not isinstance(cause, UNFIT):
            raise
        raise WorkloadFailed(f"source {_source(spec)}: {first_line(cause)}", detail=str(error)) from None


def _describe(
    spec: IngestSpec, ctx: RunContext, last: Committed, quarantined: Mapping[str, Any], options: Mapping[str, float]
) -> Artefact:
    table, version = last.place.table, last.commit.version
    said = {name: json.loads(last.properties[name]) for name in TEXTS if name in last.properties}
    roles = said.pop("roles", {})
    rows = rows_by_side(table, version)
    for side, n in rows.items():
        if not n:
            raise WorkloadFailed(
                f"the {side} part has no rows after cleaning and the split (test: {spec.split.test}): "
                "give more rows, or another ratio"
            )
    target = roles.get("target")
    names = [name for name in last.commit.schema.names if name not in (target, SIDE)]
    features = list(roles.get("features") or (names if target is not None else ()))
    measured: dict[str, Any] = {"task": None, "classes": None, "statistics": None}
    if target is not None:
        measured.update(task_and_classes(table, version, target, spec.task))
    if spec.normalise and features:
        measured["statistics"] = statistics(table, version, features, ctx, options)
    manifest = {
        "source": spec.source.model_dump(mode="json", exclude_none=True),
        "split": spec.split.model_dump() if SIDE in last.commit.schema.names else None,
        "rows": rows,
        "target": target,
        "features": features,
        **said,
        **measured,
        **({"quarantine": dict(quarantined)} if quarantined else {}),
    }
    return artefact(ctx, last, manifest, spec)


def _source(spec: IngestSpec) -> str:
    written = spec.source.model_dump(mode="json", exclude_unset=True)
    return str(written.get("path") or ", ".join(f"{name}: {value}" for name, value in written.items()))
