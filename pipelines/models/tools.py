"""What the command line asks of model versions: why did it answer so?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aios.engines import WorkloadFailed
from aios.errors import Rejected
from pipelines.data.feed import Feed
from pipelines.ingest.prepare.recipe import Recipe
from pipelines.ingest.sources.errors import BadSource
from pipelines.models.attribution import Array, attributions, usual_row
from pipelines.models.rows import features_of, is_raw, read_from
from pipelines.train.network import load, predict

SAMPLE = 1000
"""Rows of a version whose mean is the usual row, where the model has no statistics of its own."""


class Tools:
    """The entry point ``models`` in the group ``aios.models``."""

    def explain(self, folder: str, row: Any, at: tuple[str, int, str | None] | None, of: str | None) -> dict[str, Any]:
        """Return prediction, and each feature with its value and what it did, the largest first."""
        try:
            network, card = load(Path(folder))
            usual, which = usual_row(card)
            if at is None:
                features = _given(row, card)
            else:
                features, mean = _of_version(at, card)
                if not card.get("statistics"):
                    usual, which = mean, "the mean of the version's rows"
            found = attributions(network, card, features[None], usual, of)
            predicted, _ = predict(network, card, features[None])
        except WorkloadFailed as error:
            raise Rejected(error.message, hint="aios models show NAME tells what it takes") from None
        values = found.values[0]
        order = np.argsort(-np.abs(values), kind="stable")
        return {
            "target": card["target"],
            "prediction": predicted[0],
            "of": found.of[0] if found.of else None,
            "output": float(found.outputs[0]),
            "usual": float(found.usual[0]),
            "usual_row": which,
            "method": found.method,
            "sum": float(values.sum()),
            "gap": found.gap,
            "features": [
                {"feature": found.features[i], "value": float(features[i]), "attribution": float(values[i])}
                for i in order
            ],
        }


def _given(row: Any, card: Mapping[str, Any]) -> Array:
    """Return the features of a row as a user gives it: by name, raw or prepared, or in order."""
    names = list(card["features"])
    if isinstance(row, list) and len(row) == 1 and isinstance(row[0], (dict, list)):
        row = row[0]
    if isinstance(row, dict) and card.get("recipe") and not set(names) <= set(row):
        try:
            return _numbers(Recipe.from_json(card["recipe"]).serve([row], names), names)
        except BadSource as error:
            raise WorkloadFailed(str(error)) from None
    if isinstance(row, dict):
        lacks = [name for name in names if name not in row]
        if lacks:
            raise WorkloadFailed(f"the row lacks {', '.join(lacks[:5])}: it takes {', '.join(names[:20])}")
        row = [row[name] for name in names]
    if not isinstance(row, list) or len(row) != len(names):
        n = len(row) if isinstance(row, list) else type(row).__name__
        raise WorkloadFailed(f"the row is {n}: give an object by column, or a list of {len(names)} numbers")
    try:
        return np.asarray(row, dtype=np.float64)
    except (TypeError, ValueError):
        bad = next(name for name, value in zip(names, row, strict=True) if not isinstance(value, (int, float)))
        raise WorkloadFailed(f"{bad} is no number: {row[names.index(bad)]!r}") from None


def _of_version(at: tuple[str, int, str | None], card: Mapping[str, Any]) -> tuple[Array, Array]:
    """Return the features of one row of a version, and the mean of some of them."""
    uri, index, side = at
    feed = Feed(uri, read_from(uri, card, "the dataset"), side=side, seed=None)
    if index >= feed.n_rows:
        raise WorkloadFailed(f"--index {index}: there are {feed.n_rows} rows, from 0 to {feed.n_rows - 1}")
    some = np.unique(np.linspace(0, feed.n_rows - 1, min(SAMPLE, feed.n_rows)).astype(np.int64))
    raw, names = is_raw(uri, card), list(card["features"])
    rows = np.array(features_of(feed.take(some.tolist()), card, raw).to_pandas(), dtype="float64")
    return _numbers(features_of(feed.take([index]), card, raw), names), np.nanmean(rows, axis=0)


def _numbers(table: pa.Table, names: list[str]) -> Array:
    values = np.array(table.select(names).to_pandas(), dtype="float64")[0]
    if not np.isfinite(values).all():
        raise WorkloadFailed(
            f"the row has no value for {names[int(np.argmin(np.isfinite(values)))]}: nothing to explain"
        )
    return values
