"""What an ingest publishes, portion by portion: rows, and what is committed in the same transaction with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from aios.engines import RunContext, WorkloadFailed
from pipelines.ingest.rows import Clean, ReadSklearn, unique
from pipelines.ingest.spec import FORMATS, IngestSpec
from pipelines.run import Whereabouts

NAMED_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Invalid|Exception): \S")
NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal", "bool")
UNFIT = (pa.ArrowInvalid, ValueError, TypeError, KeyError)
"""What reading and cleaning raise about the user's data; anything else is not the user's."""
TARGET_OF_SKLEARN = "target"


@dataclass
class Portion:
    """Rows that are prepared and checked; ``committed`` is called once they are in the table."""

    rows: Any
    properties: dict[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    mode: str = "overwrite"
    quarantine: Any = None
    committed: Callable[[], None] = lambda: None


def portions(
    spec: IngestSpec, ctx: RunContext, options: Mapping[str, float], previous: Mapping[str, str]
) -> Iterator[Portion]:
    target = spec.target or TARGET_OF_SKLEARN
    rows = _read(spec, ctx, options)
    _check_columns(rows, spec, target)
    clean = Clean(target, spec.drop, spec.split.test, spec.split.seed, Whereabouts.of(ctx))
    rows = rows.map_batches(clean, batch_format="pandas", batch_size=None, **options)
    if spec.drop_duplicates:
        rows = rows.repartition(1).map_batches(unique, batch_format="pandas", batch_size=None, **options)
    yield Portion(
        rows,
        {
            "source": json.dumps(spec.source.model_dump(exclude_none=True)),
            "roles": json.dumps({"target": target}),
        },
    )


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
        raise WorkloadFailed(f"source.path {paths[0]}: not readable as {format_}: {first_line(error)}") from None


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
        raise WorkloadFailed(f"source {spec.source.path}: {first_line(error)}", detail=str(error)) from None
    if schema is None:
        raise WorkloadFailed(f"source {spec.source.path or spec.source.sklearn}: has no rows")
    return schema


def first_line(error: BaseException) -> str:
    """Return the line that names the first error of a chain of tracebacks, else the last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if NAMED_ERROR.match(line)]
    return (named[:1] or lines or [type(error).__name__])[-1]
