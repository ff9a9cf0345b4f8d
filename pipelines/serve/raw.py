"""Requests with rows as they are before they are prepared: the model's own recipe makes features of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipelines.ingest.prepare.recipe import Recipe
from pipelines.ingest.sources.errors import BadSource
from pipelines.serve.rows import MOST_BYTES, MOST_ROWS, BadRequest, parse


def features_of(body: bytes, card: Mapping[str, Any]) -> list[list[float]]:
    """Return the rows (n, features) of a request; raises BadRequest.

    Where the dataset was prepared by a recipe, a row that is an object holds raw columns and goes the way that the rows
    of the training went; a list is taken as the features, prepared already.
    """
    features = card["features"]
    if not card.get("recipe") or len(body) > MOST_BYTES:
        return parse(body, features)
    try:
        rows = json.loads(body)["rows"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return parse(body, features)  # which says what is wrong with it
    prepared = not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows)
    if prepared or not 1 <= len(rows) <= MOST_ROWS:
        return parse(body, features)
    try:
        made = Recipe.from_json(card["recipe"]).serve(rows, features)
    except BadSource as error:
        raise BadRequest(422, f"rows do not fit the columns of {card['dataset']['reference']}: {error}") from None
    return parse(json.dumps({"rows": [list(row.values()) for row in made.to_pylist()]}).encode(), features)
