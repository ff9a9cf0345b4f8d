"""The flow of batch inference: portions of rows are predicted on the planned nodes and committed one by one.

Each commit carries how many rows are done, so a later attempt goes on behind the last one. The version is published at
the end, whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from pipelines.batch.spec import BatchSpec
from pipelines.data.feed import Feed
from pipelines.data.parquet_folder import SIDE
from pipelines.data.publish import Committed, Place, artefact, commit, place_of
from pipelines.data.reading import opened, types_of
from pipelines.models.rows import BATCH, features_of, is_raw, loaded, read_from
from pipelines.models.signature import misfits, told
from pipelines.models.verified import verified
from pipelines.run import Whereabouts, ended_on_request, quiet, slice_context
from pipelines.train.network import predict, read_card

DONE = "batch.rows"
RUN = "batch.run"
TASK_ROWS = 50_000


def predict_rows(spec: BatchSpec, ctx: RunContext) -> Result:
    """Predict every row of ``inputs.data`` with ``inputs.model``; what an earlier attempt committed stands."""
    quiet()
    options = slice_context(ctx.nodes, ctx.bundles)
    model, data = ctx.inputs["model"], ctx.inputs["data"]
    card = read_card(verified(model, ctx.storage))
    feed = Feed(data.uri, _columns(spec, card, data.uri, data.reference), side=spec.side, seed=None)
    if not feed.n_rows:
        raise WorkloadFailed(f"{data.reference} has no rows on side {spec.side!r}: there is nothing to predict")
    place, done = _begin(ctx)
    last: Committed | None = None

    # 1. Portion by portion: predict, commit, say so.
    with ended_on_request(ctx):
        while done < feed.n_rows or last is None:
            stop = min(done + spec.portion_rows, feed.n_rows)
            rows = _predicted(spec, ctx, feed, done, stop, options)
            mode: Any = "append" if done else "overwrite"
            last = commit(ctx, place, rows, mode, properties={RUN: ctx.workload, DONE: str(stop)}, **options)
            place, done = replace(place, base=last.commit.version), stop
            ctx.reporter.saved(str(last.address), done)
            ctx.reporter.progress({"rows": done, "of": feed.n_rows})
            if ctx.stop_event.is_set() and done < feed.n_rows:
                raise Preempted

    # 2. Publish the whole.
    last = replace(last, mode="overwrite")
    manifest = {
        "rows": {"all": feed.n_rows},
        "model": model.reference,
        "data": data.reference,
        "target": None,
        "features": [],
        "task": card["task"],
        "classes": card["classes"],
        "prediction": spec.prediction,
    }
    made = artefact(ctx, last, manifest, spec)
    ctx.reporter.log(f"{place.name}: {feed.n_rows:,} rows of {data.reference} predicted by {model.reference}")
    return Result((made,), {"rows": feed.n_rows})


def _begin(ctx: RunContext) -> tuple[Place, int]:
    """Return where to write and how many rows an earlier attempt of this workload has committed."""
    place = place_of(ctx)
    if ctx.checkpoint:
        table, version = opened(ctx.checkpoint)
        properties = table.properties(version)
        if properties.get(RUN) == ctx.workload:
            return replace(place, table=table, base=version), int(properties[DONE])
    return place, 0


def _predicted(
    spec: BatchSpec, ctx: RunContext, feed: Feed, start: int, stop: int, options: Mapping[str, float]
) -> ray.data.Dataset:
    """Return rows ``start`` to ``stop`` with their predictions, as a Ray Dataset that reads them where it runs."""
    pieces = [{"start": at, "stop": min(at + TASK_ROWS, stop)} for at in range(start, stop, TASK_ROWS)]
    model = ctx.inputs["model"].uri
    task = PredictRows(
        model, ctx.inputs["data"].uri, spec.side, tuple(feed.columns or ()), spec.keep, spec.prediction,
        spec.probabilities, is_raw(ctx.inputs["data"].uri, read_card(Path(model))), Whereabouts.of(ctx),
    )  # fmt: skip
    ranges = ray.data.from_items(pieces, override_num_blocks=len(pieces))
    return ranges.map_batches(task, batch_format="pyarrow", batch_size=1, **options)


@dataclass(frozen=True, slots=True)
class PredictRows:
    """Reads a range of rows by position and adds the model's prediction to them."""

    model: str
    data: str
    side: str | None
    columns: tuple[str, ...]
    keep: tuple[str, ...] | None
    prediction: str
    probabilities: bool
    raw: bool
    whereabouts: Whereabouts

    def __call__(self, ranges: pa.Table) -> pa.Table:
        self.whereabouts.say()
        network, card = loaded(self.model)
        (piece,) = ranges.to_pylist()
        feed = Feed(self.data, self.columns, side=self.side, seed=None, batch_size=BATCH)
        tables = []
        for at in range(piece["start"], piece["stop"], BATCH):
            rows = feed.take(range(at, min(at + BATCH, piece["stop"])))
            values = features_of(rows, card, self.raw).to_pandas().to_numpy(dtype="float64")
            predicted, probabilities = predict(network, card, values)
            out = rows.select([n for n in rows.schema.names if n != SIDE and (self.keep is None or n in self.keep)])
            out = out.append_column(self.prediction, pa.array(predicted))
            if self.probabilities and probabilities is not None:
                out = out.append_column(f"{self.prediction}_probabilities", pa.array(probabilities))
            tables.append(out)
        return pa.concat_tables(tables)


def _columns(spec: BatchSpec, card: Mapping[str, Any], uri: str, reference: str) -> list[str]:
    """Return what must be read, and refuse what is not there by its name."""
    table, version = opened(uri)
    names = table.schema(version).names
    features = read_from(uri, card, reference)
    lacks = [name for name in [*features, *(spec.keep or ())] if name not in names]
    if lacks:
        raise WorkloadFailed(f"{reference} lacks {', '.join(lacks[:5])}, which the model or keep needs")
    problems = [] if is_raw(uri, card) else misfits(card["signature"], types_of(uri))
    if problems:
        raise WorkloadFailed(
            f"{reference} does not fit the signature of the model: {told(problems)}: cast it in its ingest"
        )
    if spec.keep is None and spec.prediction in names:
        raise WorkloadFailed(f"{reference} has a column {spec.prediction!r} already: give prediction another name")
    kept = names if spec.keep is None else spec.keep
    return list(dict.fromkeys([*features, *kept]))
