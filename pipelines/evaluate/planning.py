"""Before a row is predicted: do models, data, metrics, slices and gates fit together, and what is to be summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aios.engines import Input, RunContext, WorkloadFailed
from pipelines.data.feed import Feed
from pipelines.data.reading import types_of
from pipelines.evaluate.classes import Classes, names_of
from pipelines.evaluate.gates import unknown_slices
from pipelines.evaluate.judging import Judged, Plan
from pipelines.evaluate.metrics import foreign, of_task
from pipelines.evaluate.quantities import Quantities
from pipelines.evaluate.ranks import Ranks
from pipelines.evaluate.slicing import SAMPLE, planned
from pipelines.evaluate.spec import EvaluateSpec
from pipelines.evaluate.sums import Measure
from pipelines.models.rows import is_raw, read_from
from pipelines.models.signature import is_number, misfits, told
from pipelines.models.verified import verified
from pipelines.train.network import read_card
from pipelines.train.table import read_manifest

MOST_SUMS = 12_000_000
"""Sums of replicates over all slices and models (8 bytes each) that are kept at once."""


def planned_for(spec: EvaluateSpec, ctx: RunContext) -> tuple[Plan, int]:
    """Return what to measure and how many rows there are; raises WorkloadFailed where something does not fit."""
    data = ctx.inputs["data"]
    models = [("model", ctx.inputs["model"])]
    if (baseline := baseline_of(ctx)) is not None:
        models.append(("baseline", baseline))
    cards = {role: read_card(verified(model, ctx.storage)) for role, model in models}
    manifest = read_manifest(data.uri)
    card = cards["model"]
    target = _target(manifest, card, data)
    columns = [target, *(one.column for one in spec.slices), *([spec.group] if spec.group else [])]
    for role, model in models:
        _check_task(cards[role], manifest, model.reference, data.reference)
        columns += _columns(cards[role], model.reference, data)
    _check_columns(spec, data)
    if "baseline" in cards:
        _check_same(card, cards["baseline"], models)

    side = None if spec.side == "all" else spec.side
    feed = Feed(data.uri, list(dict.fromkeys(columns)), side=side, seed=None)
    if not feed.n_rows:
        raise WorkloadFailed(f"{data.reference} has no rows on side {spec.side!r}: there is nothing to measure")
    sample = feed.take(np.unique(np.linspace(0, feed.n_rows - 1, min(SAMPLE, feed.n_rows)).astype(np.int64)).tolist())
    slices = planned(spec.slices, sample, sample.num_rows == feed.n_rows, data.reference)
    classes = _classes(cards.values(), manifest) if card["classes"] is not None else None
    measure = _measure(spec, classes, sample[target])
    _check_metrics(spec, measure, classes)
    if missing := unknown_slices(spec.gates, slices):
        there = ", ".join(one.label for one in slices)
        raise WorkloadFailed(f"gates: {data.reference} has no slice {missing[0]!r}: there are {there}")
    measure, part = _within(measure, len(models), len(slices), spec.bootstrap)
    judged = tuple(Judged(role, model.reference, model.uri, is_raw(data.uri, cards[role])) for role, model in models)
    plan = Plan(
        judged, data.uri, side, tuple(feed.columns or ()), target, classes, measure, part, slices, spec.bootstrap,
        spec.seed,
    )  # fmt: skip
    return plan, feed.n_rows


def baseline_of(ctx: RunContext) -> Input | None:
    """Return the version that is compared to; an alias that no version has yet names none."""
    found = ctx.inputs.get("baseline") or ctx.inputs.get("baseline?")
    return None if found is None or found.uri == found.reference else found


def _target(manifest: Mapping[str, Any], card: Mapping[str, Any], data: Input) -> str:
    target = manifest.get("target") or card["target"]
    if target not in types_of(data.uri):
        raise WorkloadFailed(
            f"{data.reference} has no column {target!r}, which the model predicts: there is nothing to judge it by"
        )
    return str(target)


def _columns(card: Mapping[str, Any], reference: str, data: Input) -> list[str]:
    types = types_of(data.uri)
    if is_raw(data.uri, card):
        wanted = read_from(data.uri, card, data.reference)
        problems = [f"{name} is missing" for name in wanted if name not in types]
    else:
        problems = misfits(card["signature"], types)
    if problems:
        raise WorkloadFailed(
            f"{data.reference} does not fit the signature of {reference}: {told(problems)}: evaluate it on a version "
            "of the dataset that it was trained on, or cast the columns in its ingest"
        )
    return read_from(data.uri, card, data.reference)


def _check_task(card: Mapping[str, Any], manifest: Mapping[str, Any], model: str, data: str) -> None:
    if manifest.get("target") is not None and card["task"] != manifest["task"]:
        raise WorkloadFailed(f"{model} does {card['task']}, but {data} is for {manifest['task']}")


def _check_columns(spec: EvaluateSpec, data: Input) -> None:
    types = types_of(data.uri)
    wanted = {"slices": [one.column for one in spec.slices], "group": [spec.group] if spec.group else []}
    for key, names in wanted.items():
        for name in names:
            if name not in types:
                there = ", ".join(list(types)[:20]) + (", …" if len(types) > 20 else "")
                raise WorkloadFailed(f"{key}: {data.reference} has no column {name!r}: it has {there}")


def _check_same(card: Mapping[str, Any], other: Mapping[str, Any], models: Sequence[tuple[str, Input]]) -> None:
    (_, model), (_, baseline) = models
    for what in ("task", "target"):
        if card[what] != other[what]:
            raise WorkloadFailed(
                f"{model.reference} cannot be compared to {baseline.reference}: their {what} is {card[what]!r} and "
                f"{other[what]!r}"
            )


def _classes(cards: Any, manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the classes of all models, then those that only the data has: these are always missed."""
    known = [value for card in cards for value in card["classes"]] + list(manifest.get("classes") or ())
    return tuple(dict.fromkeys(known))


def _measure(spec: EvaluateSpec, classes: tuple[Any, ...] | None, target: pa.ChunkedArray) -> Measure:
    if spec.group is not None:
        if classes is not None and len(classes) != 2:
            raise WorkloadFailed(
                f"group: rows are ranked by a quantity or by one of two classes; here are {len(classes)}"
            )
        return Ranks(spec.k)
    if classes is not None:
        return Classes(names_of(classes), _positive(spec, names_of(classes)))
    if not is_number(str(target.type)):
        raise WorkloadFailed(
            f"the target is {target.type}, but the model predicts a number: cast it in the data's ingest"
        )
    numbers = np.asarray(pc.cast(target, pa.float64()).drop_null().to_numpy(), dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        raise WorkloadFailed("the target has no values: there is nothing to judge the model by")
    return Quantities(float(numbers.mean()), float(numbers.min()), float(numbers.max()))


def _positive(spec: EvaluateSpec, classes: tuple[str, ...]) -> int:
    if spec.positive is None:
        return len(classes) - 1
    if len(classes) != 2:
        raise WorkloadFailed(f"positive is for two classes; here are {len(classes)}: leave it out")
    if str(spec.positive) not in classes:
        raise WorkloadFailed(f"positive: there is no class {spec.positive!r}: there are {', '.join(classes)}")
    return classes.index(str(spec.positive))


def _check_metrics(spec: EvaluateSpec, measure: Measure, classes: tuple[Any, ...] | None) -> None:
    wanted = [*spec.metrics, *(gate.metric for gate in spec.gates)]
    problems = foreign(wanted, measure.task, names_of(classes or ()))
    if problems:
        raise WorkloadFailed(
            f"metrics that nobody computes: {'; '.join(problems)}: the model does {measure.task}, which has "
            f"{', '.join(of_task(measure.task))}"
        )


def _within(measure: Measure, n_models: int, n_slices: int, n_replicates: int) -> tuple[Measure, Measure]:
    """Return the measures of all rows and of slices, without what would take too much memory."""

    def cells(whole: Measure, part: Measure) -> int:
        return n_models * (1 + n_replicates) * (whole.shape[1] + n_slices * part.shape[1])

    options = [(measure, measure)]
    if isinstance(measure, Classes):
        plain = replace(measure, curves=False)
        options += [(measure, plain), (plain, plain)]
    for whole, part in options:
        if cells(whole, part) <= MOST_SUMS:
            return whole, part
    raise WorkloadFailed(
        f"{n_slices} slices of {n_models} model(s) with {n_replicates} replicates are {cells(whole, part):,} sums, "
        f"more than the {MOST_SUMS:,} that are kept: ask for fewer slices or a smaller bootstrap"
    )
