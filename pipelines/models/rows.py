"""Rows as a model takes them: which columns it is given, and the way of raw rows through the recipe of its training."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from aios.engines import WorkloadFailed
from pipelines.data.manifest import manifest_of
from pipelines.ingest.prepare.recipe import Recipe
from pipelines.train.network import load

BATCH = 4096
"""Rows that are predicted at once."""


@lru_cache(maxsize=4)
def loaded(model: str) -> tuple[Any, dict[str, Any]]:
    """Return a model version and its card; a process that predicts many batches loads it once."""
    torch.set_num_threads(1)
    return load(Path(model))


def read_from(uri: str, card: Mapping[str, Any], reference: str) -> list[str]:
    """Return the columns that predictions are made from: the features, or the raw columns behind them.

    A version that was prepared as the training's has the features. One that was not prepared goes through the model's
    recipe. One that was prepared otherwise is refused: equal names would hold other values.
    """
    if is_raw(uri, card):
        return list(Recipe.from_json(card["recipe"]).raw_schema(card["features"]).names)
    if manifest_of(uri).get("recipe") != card.get("recipe"):
        raise WorkloadFailed(
            f"{reference} was prepared by other steps or statistics than the training data of {card['name']}: give raw "
            "rows, or a version that rows were added to with the same steps"
        )
    return list(card["features"])


def features_of(rows: pa.Table, card: Mapping[str, Any], raw: bool) -> pa.Table:
    """Return the features of rows; raw ones go the way that the rows of the training went."""
    if not raw:
        return rows.select(card["features"])
    return Recipe.from_json(card["recipe"]).features_of(rows, card["features"])


def is_raw(uri: str, card: Mapping[str, Any]) -> bool:
    """Return whether a version still has to be prepared for a model."""
    return bool(card.get("recipe")) and manifest_of(uri).get("recipe") is None
