"""What an ingest publishes, portion by portion: rows, and what is committed in the same transaction with them."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray.data
from ray.exceptions import RayTaskError

from aios.engines import RunContext, WorkloadFailed
from pipelines.data.reading import load, opened, read_input
from pipelines.ingest.checking import Checked, Checker
from pipelines.ingest.collecting import collect
from pipelines.ingest.joining import Other
from pipelines.ingest.prepare.recipe import Recipe
from pipelines.ingest.prepare.spec import Step, Unique
from pipelines.ingest.preparing import Preparer
from pipelines.ingest.progress import NO_METER, figures, metered
from pipelines.ingest.quality.rules import edges_of
from pipelines.ingest.rows import SIDE, Finish, Split
from pipelines.ingest.rowset import LocalRows, Rowset, distinct
from pipelines.ingest.sources.errors import BadSource, listed
from pipelines.ingest.sources.files import type_of
from pipelines.ingest.sources.messages import Parser, Stream, schema_from, schema_text
from pipelines.ingest.spec import IngestSpec
from pipelines.workdir import working_dir

NAMED_ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Invalid|Exception): \S")
NUMBERS = ("int", "uint", "float", "double", "halffloat", "decimal", "bool")
METERED = ("path", "sql")
"""Sources whose tasks say how far they are."""
UNFIT = (BadSource, pa.ArrowInvalid, ValueError, TypeError, KeyError)
"""What reading and cleaning raise about the user's data; anything else is not the user's."""


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
    """Yield what is to be committed, one transaction each: all of a bounded source, or a stream's micro-batches.

    Parameters
    ----------
    previous : mapping
        The properties of the version that is built on: where a stream or an incremental source goes on.
    """
    ray.data.DataContext.get_current().raise_original_map_exception = True
    try:
        if spec.source.stream is None:
            yield from _bounded(spec, ctx, options, previous)
        else:
            yield from _streamed(spec, ctx, previous)
    except BadSource as error:
        raise _failed(spec, error) from None
    except RayTaskError as error:
        if not isinstance(error.cause, UNFIT):
            raise
        raise _failed(spec, error.cause, str(error)) from None


def _failed(spec: IngestSpec, error: BaseException, detail: str = "") -> WorkloadFailed:
    report = getattr(error, "report", None)
    detail = json.dumps(report, indent=1) if report is not None else detail
    return WorkloadFailed(f"source {spec.source}: {first_line(error)}", detail=detail)


def _bounded(
    spec: IngestSpec, ctx: RunContext, options: Mapping[str, float], previous: Mapping[str, str]
) -> Iterator[Portion]:
    with metered(ctx.reporter, ctx.nodes) if spec.source.kind in METERED else nullcontext(NO_METER) as meter:
        reading = collect(spec, ctx, options, previous, meter)
        if reading is None:
            return
        mode = spec.mode or reading.mode
        known = _recipe(previous) if mode != "overwrite" else None
        made = _made(spec, ctx, reading.rows, known)
        properties = {**made.properties(spec), "source": json.dumps(_source(spec, reading.origin), default=str)}
        if reading.offsets:
            properties["offsets"] = json.dumps(reading.offsets)
        aside = made.checked.quarantine
        yield Portion(made.rows.rows, properties, spec.key, mode, aside.rows if aside is not None else None)


def _streamed(spec: IngestSpec, ctx: RunContext, previous: Mapping[str, str]) -> Iterator[Portion]:
    """Yield micro-batches; each carries the position behind it, the first one's statistics hold for all."""
    offsets = json.loads(previous.get("offsets", "{}"))
    same = offsets.get("stream") == str(spec.source)
    position = offsets.get("position", {}) if same else {}
    known = _recipe(previous)
    types = {name: type_of(type_) for name, type_ in spec.source.types.items()}
    assert spec.source.stream is not None, "a source that streams"
    parser = Parser(spec.source.stream, types, ctx.reporter.log, schema_from(previous.get("stream_schema", "")))
    stream = _open(spec, ctx, parser)
    n_rows = n_bytes = n_seen = 0
    began = time.monotonic()
    try:
        for batch in stream.batches(position, ctx.stop_event.is_set):
            rows = distinct(batch.rows, spec.key) if spec.key and batch.rows.num_rows else batch.rows
            n_seen += batch.n_messages
            if not rows.num_rows:
                continue  # nothing but messages that were skipped: the next commit carries the position
            made = _made(spec, ctx, LocalRows(rows), known)
            known = known or made.recipe
            properties = {
                **made.properties(spec),
                "source": json.dumps(_source(spec, {"messages": n_seen}), default=str),
                "offsets": json.dumps({"stream": str(spec.source), "position": batch.position}),
                "stream_schema": schema_text(parser.schema),
            }
            aside = made.checked.quarantine
            mode = spec.mode or ("insert" if spec.key else "append")
            yield Portion(
                made.rows.rows, properties, spec.key, mode, aside.rows if aside else None, committed=batch.committed
            )
            n_rows, n_bytes = n_rows + rows.num_rows, n_bytes + batch.n_bytes
            ctx.reporter.progress({**figures(n_rows, n_bytes, 0.0, time.monotonic() - began), "messages": n_seen})
    finally:
        stream.close()


def _open(spec: IngestSpec, ctx: RunContext, parser: Parser) -> Stream:
    """Connect to the broker; the one place that knows which streams there are."""
    try:
        if spec.source.kafka is not None:
            from pipelines.ingest.sources.kafka import KafkaStream

            return KafkaStream(spec.source.kafka, parser)
        from pipelines.ingest.sources.mqtt import MqttStream
        from pipelines.ingest.sources.spool import Spool
    except ModuleNotFoundError as error:
        raise BadSource(f"the library {error.name!r} is not on this node: install aios[streams]") from None
    assert spec.source.mqtt is not None, "the other stream"
    name = spec.outputs["data"].partition("://")[2]
    mark = hashlib.sha256(f"{ctx.storage}\0{name}\0{spec.source}".encode()).hexdigest()[:12]
    client_id = spec.source.mqtt.client_id or f"aios-{mark}"
    spool = Spool(ctx.storage / "streams" / f"{name}-{mark}", f"{ctx.workload}.{ctx.attempt}")
    return MqttStream(spec.source.mqtt, client_id, spool, parser)


@dataclass(frozen=True, slots=True)
class _Made:
    """Rows that are ready, and all that is said of them."""

    rows: Rowset
    recipe: Recipe
    checked: Checked
    features: tuple[str, ...]

    def properties(self, spec: IngestSpec) -> dict[str, str]:
        out = {"roles": json.dumps({"target": spec.wanted, "features": list(self.features)})}
        if self.recipe.steps:
            out["recipe"] = json.dumps(self.recipe.to_json())
        if spec.check:
            out["checks"] = json.dumps(self.checked.report())
        return out


def _made(spec: IngestSpec, ctx: RunContext, rows: Rowset, known: Recipe | None) -> _Made:
    """Prepare, check and split rows, and settle which columns are features."""
    checked: list[Checked] = []
    checker = Checker(spec.check, _edges(spec, ctx)) if spec.check else None

    def check(rows: Rowset) -> Rowset:
        checked.append(checker.check(rows) if checker is not None else Checked(rows, ()))
        for finding in checked[0].failed:
            ctx.reporter.log(f"check, {finding.on_fail}: {finding.sentence()}")
        if checked[0].n_quarantined:
            ctx.reporter.log(f"check: {checked[0].n_quarantined} of {checked[0].n_rows} rows are set aside")
        return checked[0].rows

    def split(rows: Rowset) -> Rowset:
        return rows.map(Split(spec.splits)) if spec.splits is not None else rows

    folder = working_dir(spec.working_dir, ctx) if any(step.key == "python" for step in spec.prepare) else ""
    steps = steps_of(spec)
    preparer = Preparer(steps, check, split, _others(spec, ctx), known if known and known.steps else None, str(folder))
    rows, recipe = preparer.prepare(rows)
    features: tuple[str, ...] = ()
    if spec.wanted is not None:
        features = features_of(rows, spec)
        rows = rows.map(Finish(spec.wanted, features))
    return _Made(rows, recipe, checked[0], features)


def steps_of(spec: IngestSpec) -> tuple[Step, ...]:
    """Return all steps: what is dropped comes first, doubles go last but before anything is measured on rows."""
    steps = [Step(drop=spec.drop)] if spec.drop else []
    if spec.drop_duplicates:
        steps.append(Step(unique=Unique()))
    return (*steps, *spec.prepare)


def features_of(rows: Rowset, spec: IngestSpec) -> tuple[str, ...]:
    """Return the columns that are features; refuses a missing target and features that are no numbers, by name."""
    schema = rows.schema()
    if schema is None:
        raise BadSource("has no rows")
    columns = {name: type_ for name, type_ in zip(schema.names, schema.types, strict=True) if name != SIDE}
    target, have = spec.wanted, f"the columns are {listed(list(columns), 20)}"
    if target not in columns:
        raise BadSource(f"target {target!r} is no column of the source: {have}")
    if unknown := [name for name in spec.features if name not in columns]:
        raise BadSource(f"features has {unknown[0]!r}, no column of the source: {have}")
    carried = {target, *spec.key, *(spec.splits.by if spec.splits is not None else ())}
    features = spec.features or tuple(name for name in columns if name not in carried)
    others = {name: columns[name] for name in features if not str(columns[name]).startswith(NUMBERS)}
    if others:
        raise BadSource(
            f"columns {', '.join(f'{name!r} ({type_})' for name, type_ in others.items())} are no numbers, as features "
            f"must be: leave them out with drop: [{', '.join(others)}], name the features, or prepare them by one_hot, "
            "label or hash"
        )
    if not features:
        raise BadSource(f"no feature column is left beside the target {target!r}: {have}")
    return tuple(features)


def _others(spec: IngestSpec, ctx: RunContext) -> dict[str, Other]:
    """Return the versions that steps join with."""
    out = {}
    for step in spec.prepare:
        if step.key == "join":
            given = ctx.inputs[step.value.role]
            table, version = opened(given.uri)
            size = sum(batch.nbytes for batch in table.scan(version)) if table.count(version) < 10_000_000 else 1 << 62
            out[step.value.role] = Other(
                given.reference,
                table.schema(version),
                size,
                lambda columns, uri=given.uri: load(uri, columns),
                lambda columns, given=given: read_input(given, columns),
            )
    return out


def _edges(spec: IngestSpec, ctx: RunContext) -> dict[str, Any]:
    """Return how the columns that rules compare are distributed in the earlier versions."""
    edges = {}
    for index, rule in enumerate(spec.check):
        if rule.like is not None and rule.column is not None:
            edges[str(index)] = edges_of(load(ctx.inputs[rule.like.role].uri, [rule.column])[rule.column])
    return edges


def _recipe(previous: Mapping[str, str]) -> Recipe | None:
    return Recipe.from_json(json.loads(previous["recipe"])) if "recipe" in previous else None


def _source(spec: IngestSpec, origin: Mapping[str, Any]) -> dict[str, Any]:
    return {**spec.source.model_dump(mode="json", exclude_unset=True), **({"read": dict(origin)} if origin else {})}


def first_line(error: BaseException) -> str:
    """Return the line that names the first error of a chain of tracebacks, else the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, BadSource):
        return " ".join(lines)
    named = [line for line in lines if NAMED_ERROR.match(line)]
    return (named[:1] or lines or [type(error).__name__])[-1]
