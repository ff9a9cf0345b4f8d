"""A part of the rows predicted and summed where Ray Data puts it: what comes back is sums, never rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.data.feed import Feed
from pipelines.evaluate.slicing import Slice
from pipelines.evaluate.sums import BLOCK, Array, Key, Measure, Sums, packed, weights
from pipelines.models.rows import features_of, loaded
from pipelines.run import Whereabouts
from pipelines.train.network import predict


@dataclass(frozen=True, slots=True)
class Judged:
    """A model version that is judged: its role (``model`` or ``baseline``), where it is, and whether rows are raw."""

    role: str
    reference: str
    uri: str
    raw: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured: the same on every worker and in every attempt."""

    models: tuple[Judged, ...]
    data: str
    side: str | None
    columns: tuple[str, ...]
    target: str
    classes: tuple[Any, ...] | None
    measure: Measure
    part_measure: Measure
    """As ``measure``, for slices; it may leave out what would take too much memory."""
    slices: tuple[Slice, ...]
    n_replicates: int
    seed: int

    def empty(self) -> dict[Key, Sums]:
        """Return sums of no rows, for each model over all rows and over each slice."""
        found = {}
        for one in self.models:
            found[one.role, ""] = Sums.empty(self.measure, self.n_replicates)
            found |= {(one.role, s.label): Sums.empty(self.part_measure, self.n_replicates) for s in self.slices}
        return found


@dataclass(frozen=True, slots=True)
class JudgeRows:
    """Judges ranges of rows by position, which begin at multiples of ``BLOCK``."""

    plan: Plan
    whereabouts: Whereabouts

    def __call__(self, ranges: pa.Table) -> pa.Table:
        self.whereabouts.say()
        (piece,) = ranges.to_pylist()
        plan = self.plan
        feed = Feed(plan.data, plan.columns, side=plan.side, seed=None, batch_size=BLOCK)
        found, unlabelled, problem = plan.empty(), 0, ""
        for at in range(piece["start"], piece["stop"], BLOCK):
            rows = feed.take(range(at, min(at + BLOCK, piece["stop"])))
            expected, there = expected_of(plan, rows)
            unlabelled += int((~there).sum())
            weight = weights(plan.seed, at // BLOCK, len(rows), plan.n_replicates)
            masks = {"": there, **{one.label: one.mask(rows) & there for one in plan.slices}}
            for one in plan.models:
                predicted = predicted_by(one, rows, plan)
                bad = ~np.isfinite(predicted.reshape(len(rows), -1)).all(axis=1) & there
                if bad.any():
                    problem = f"{one.reference} predicts no number for row {at + int(bad.argmax())}: {_nulls(rows)}"
                    break
                _add(found, plan, one, expected, predicted, masks, weight)
            if problem:
                break
        out = {"stop": piece["stop"], "sums": packed(found), "unlabelled": unlabelled, "problem": problem}
        return pa.Table.from_pylist([out])


def expected_of(plan: Plan, rows: pa.Table) -> tuple[Array, Array]:
    """Return what is expected (n,), classes by index, and which rows say so (n,)."""
    column = rows[plan.target].combine_chunks()
    there = ~np.asarray(pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False), dtype=bool)
    if plan.classes is None:
        values = pc.fill_null(pc.cast(column, pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        return np.nan_to_num(np.asarray(values, dtype=float)), there
    index = {value: i for i, value in enumerate(plan.classes)}
    found = np.array([index.get(value, -1) for value in column.to_pylist()], dtype=np.int64)
    return np.maximum(found, 0), there & (found >= 0)


def predicted_by(one: Judged, rows: pa.Table, plan: Plan) -> Array:
    """Return probabilities (n, c) in the order of the plan's classes, or quantities (n,)."""
    network, card = loaded(one.uri)
    features = np.array(features_of(rows, card, one.raw).to_pandas(), dtype="float64")
    quantities, probabilities = predict(network, card, features)
    if plan.classes is None:
        return np.asarray(quantities, dtype=float)
    out = np.zeros((len(rows), len(plan.classes)))
    out[:, [plan.classes.index(value) for value in card["classes"]]] = np.asarray(probabilities, dtype=float)
    return out


def _add(
    found: Mapping[Key, Sums], plan: Plan, one: Judged, expected: Array, predicted: Array, masks: Mapping[str, Array],
    weight: Array,
) -> None:  # fmt: skip
    once, each = plan.measure.rows(expected, predicted)
    same = plan.part_measure is plan.measure
    part_once, part_each = (once, each) if same else plan.part_measure.rows(expected, predicted)
    for label, mask in masks.items():
        if not mask.any():
            continue
        kept = (once, each) if label == "" else (part_once, part_each)
        everything = bool(mask.all())
        chosen = kept if everything else (kept[0][mask], kept[1][mask])
        found[one.role, label].add(*chosen, weight if everything else weight[:, mask])


def _nulls(rows: pa.Table) -> str:
    empty = [name for name in rows.schema.names if pc.any(pc.is_null(rows[name], nan_is_null=True)).as_py()]
    if not empty:
        return "its weights overflow: train it with a smaller learning rate"
    return f"there are missing values in {', '.join(empty[:5])}: fill them in the ingest of the data"
