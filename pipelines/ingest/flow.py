"""The flow of an ingest: read, clean, split and write through Ray Data; then measure, describe and publish."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import ray.data
from ray.exceptions import RayTaskError

from aios.engines import Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.files import digest_of, name_by_content, sync_tree, write_json
from pipelines.ingest.rows import SIDE, Clean, Measure, ReadSklearn, combine, unique
from pipelines.ingest.spec import FORMATS, IngestSpec
from pipelines.roles import name_of
from pipelines.run import Whereabouts, ended_on_request, quiet, slice_context

MOST_CLASSES = 1000
NAMED_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Invalid|Exception): \S")
FEW = 20
NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal", "bool")
UNFIT = (pa.ArrowInvalid, ValueError, TypeError, KeyError)
"""What reading and cleaning raise about the user's data; anything else is not the user's."""
TARGET_OF_SKLEARN = "target"


def ingest(spec: IngestSpec, ctx: RunContext) -> Result:
    """Make a dataset version from ``spec.source``, working on the nodes of ``ctx`` alone; or leave nothing of it."""
    folder = ctx.artefact_dir("dataset", name_of(spec.outputs["data"]))
    try:
        with ended_on_request(ctx):
            return _ingest(spec, ctx, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _ingest(spec: IngestSpec, ctx: RunContext, folder: Path) -> Result:
    quiet()
    options = slice_context(ctx.nodes, ctx.bundles)
    target = spec.target or TARGET_OF_SKLEARN

    # 1. Read, clean, split and write.
    rows = _read(spec, ctx, options)
    _check_columns(rows, spec, target)
    clean = Clean(target, spec.drop, spec.split.test, spec.split.seed, Whereabouts.of(ctx))
    rows = rows.map_batches(clean, batch_format="pandas", batch_size=None, **options)
    if spec.drop_duplicates:
        rows = rows.repartition(1).map_batches(unique, batch_format="pandas", batch_size=None, **options)
    _write(rows, folder, options, spec)
    tables = {side: _settle(folder, side, spec) for side in ("train", "test")}

    # 2. Measure the train part.
    features = tuple(name for name in tables["train"].schema.names if name != target)
    statistics = _statistics(folder, features, ctx, options) if spec.normalise else None

    # 3. Describe, make durable, publish.
    manifest = {
        "format": 1,
        "name": name_of(spec.outputs["data"]),
        "source": spec.source.model_dump(exclude_none=True),
        "split": spec.split.model_dump(),
        "rows": {side: table.count_rows() for side, table in tables.items()},
        "target": target,
        "features": list(features),
        "schema": {field.name: str(field.type) for field in tables["train"].schema},
        **_task(tables, target, spec.task),
        "statistics": statistics,
        "digest": digest_of(folder),
    }
    sync_tree(folder)
    ctx.check_fence()
    write_json(folder / "manifest.json", manifest)
    meta = {k: v for k, v in manifest.items() if k not in ("digest", "format")}
    artefact = Artefact("dataset", manifest["name"], str(folder), manifest["digest"], json.dumps(meta, sort_keys=True))
    rows_by_side = {f"rows_{side}": n for side, n in manifest["rows"].items()}
    ctx.reporter.log(f"{manifest['name']}: {rows_by_side}")
    ctx.reporter.progress(rows_by_side)
    return Result((artefact,), rows_by_side)


def _read(spec: IngestSpec, ctx: RunContext, options: Mapping[str, float]) -> ray.data.Dataset:
    if spec.source.sklearn is not None:
        n_parts = len(ctx.nodes)
        parts = ray.data.from_items([{"part": i} for i in range(n_parts)], override_num_blocks=n_parts)
        read = ReadSklearn(spec.source.sklearn, n_parts)
        return parts.map_batches(read, batch_format="pandas", batch_size=None, **options)
    assert spec.source.path is not None
    paths, format_ = files_at(Path(spec.source.path))
    reader = getattr(ray.data, f"read_{format_}")
    try:
        return reader([str(path) for path in paths], **options)
    except UNFIT as error:
        raise WorkloadFailed(f"source.path {paths[0]}: not readable as {format_}: {_first_line(error)}") from None


def files_at(path: Path) -> tuple[list[Path], str]:
    """Return the data files at a path and their one format; raises WorkloadFailed that says what is wrong."""
    if not path.exists():
        raise WorkloadFailed(
            f"source.path {path}: no such file or folder on this node: give a path that every node can read"
        )
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix.lower() in FORMATS)
    found = [p for p in found if p.stat().st_size > 0]
    if not found:
        raise WorkloadFailed(f"source.path {path}: has no rows: it must have one of {', '.join(FORMATS)} with content")
    formats = {FORMATS.get(p.suffix.lower(), p.suffix) for p in found}
    if len(formats) > 1 or not formats <= set(FORMATS.values()):
        raise WorkloadFailed(f"source.path {path}: has files of {', '.join(sorted(formats))}: keep one format")
    return found, formats.pop()


def _check_columns(rows: ray.data.Dataset, spec: IngestSpec, target: str) -> None:
    """Refuse a missing target, unknown columns in ``drop`` and text features, by the columns' names."""
    schema = _schema(rows, spec)
    columns = dict(zip(schema.names, schema.types, strict=True))
    have = f"the columns are {', '.join(list(columns)[:20])}{', …' if len(columns) > 20 else ''}"
    if target not in columns:
        raise WorkloadFailed(f"target {target!r} is no column of the source: {have}")
    unknown = [name for name in spec.drop if name not in columns]
    if unknown:
        raise WorkloadFailed(f"drop has {', '.join(map(repr, unknown))}, no column of the source: {have}")
    features = {name: type_ for name, type_ in columns.items() if name != target and name not in spec.drop}
    others = {name: type_ for name, type_ in features.items() if not str(type_).startswith(NUMBERS)}
    if others:
        raise WorkloadFailed(
            f"columns {', '.join(f'{name!r} ({type_})' for name, type_ in others.items())} are no numbers, as features "
            f"must be: leave them out with drop: [{', '.join(others)}], or turn them into numbers first"
        )
    if not features:
        raise WorkloadFailed(f"no feature column is left beside the target {target!r}: {have}")


def _schema(rows: ray.data.Dataset, spec: IngestSpec) -> Any:
    try:
        schema = rows.schema()
    except Exception as error:  # whatever the reader of that format raises about the file's content
        raise WorkloadFailed(f"source {spec.source.path}: {_first_line(error)}", detail=str(error)) from None
    if schema is None:
        raise WorkloadFailed(f"source {spec.source.path or spec.source.sklearn}: has no rows")
    return schema


def _write(rows: ray.data.Dataset, folder: Path, options: Mapping[str, float], spec: IngestSpec) -> None:
    try:
        rows.write_parquet(str(folder), partition_cols=[SIDE], ray_remote_args=dict(options))
    except RayTaskError as error:
        if not isinstance(error.cause, UNFIT):
            raise
        where = spec.source.path or spec.source.sklearn
        raise WorkloadFailed(f"source {where}: {_first_line(error.cause)}", detail=str(error)) from None


def _settle(folder: Path, side: str, spec: IngestSpec) -> pyarrow.dataset.Dataset:
    """Give the written part its plain name and refuse an empty one."""
    written = folder / f"{SIDE}={side}"
    if not written.is_dir():
        raise WorkloadFailed(
            f"the {side} part has no rows after cleaning and the split (test: {spec.split.test}): "
            "give more rows, or another ratio"
        )
    written.rename(folder / side)
    name_by_content(folder / side, ".parquet")
    return pyarrow.dataset.dataset(str(folder / side), format="parquet")


def _statistics(
    folder: Path, features: tuple[str, ...], ctx: RunContext, options: Mapping[str, float]
) -> dict[str, list[float]]:
    train = ray.data.read_parquet(str(folder / "train"), columns=list(features), **options)
    measure = Measure(features, Whereabouts.of(ctx))
    return combine(train.map_batches(measure, batch_format="pandas", batch_size=None, **options).take_all())


def _task(tables: Mapping[str, pyarrow.dataset.Dataset], target: str, wanted: str | None) -> dict[str, Any]:
    """Say whether the target is a class or a quantity, and name the classes of both parts in order."""
    values: set[Any] = set()
    for table in tables.values():
        values |= set(table.to_table(columns=[target])[target].unique().to_pylist())
    task = wanted or task_of(values)
    if task == "regression":
        if any(isinstance(value, str) for value in values):
            raise WorkloadFailed(f"target {target!r} holds text: regression needs numbers; write task: classification")
        return {"task": task, "classes": None}
    if len(values) > MOST_CLASSES:
        raise WorkloadFailed(
            f"target {target!r} has {len(values)} different values: at most {MOST_CLASSES} classes; "
            "if it is a quantity, write task: regression"
        )
    return {"task": task, "classes": sorted(values, key=lambda value: (isinstance(value, str), value))}


def task_of(values: Collection[Any]) -> str:
    """Guess the task: fractions, and floats of many values, are quantities; all else are classes."""
    floats = [value for value in values if isinstance(value, float)]
    fractions = any(not value.is_integer() for value in floats)
    return "regression" if fractions or len(floats) > FEW else "classification"


def _first_line(error: BaseException) -> str:
    """Return the line that names the first error of a chain of tracebacks, else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if NAMED_ERROR.match(line)]
    return (named[:1] or lines or [type(error).__name__])[-1]
