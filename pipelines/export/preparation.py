"""A recipe as steps that need nothing but Python: raw rows go in at the edge as they went in at training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.ingest.prepare.recipe import OF_ROWS, Recipe
from pipelines.ingest.prepare.units import factor

NOTHING = frozenset({"select", "drop", "drop_nulls", "filter", "unique", *OF_ROWS})
"""What chooses rows or columns: a row that was asked about is not left out, and columns are found by name."""


def plain_steps(recipe: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """Return a recipe's steps for the runner; None where it has a step that the runner has no words for."""
    if recipe is None:
        return []
    made = Recipe.from_json(recipe)
    begin = max((i + 1 for i, step in enumerate(made.steps) if step.key == "join"), default=0)
    found: list[dict[str, Any]] = []
    for step, state in zip(made.steps[begin:], made.states[begin:], strict=True):
        steps = _one(step.key, step.value, state or {})
        if steps is None:
            return None
        found += steps
    return found


def _one(key: str, value: Any, state: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    if key in NOTHING:
        return []
    match key:
        case "rename":
            return [{"do": "rename", "column": old, "to": new} for old, new in value.items()]
        case "fill":
            return [{"do": "fill", "column": name, "value": one} for name, one in value.items()]
        case "impute":
            return [{"do": "fill", "column": name, "value": state[name]} for name in value]
        case "convert":
            pairs = {name: factor(units.source, units.to) for name, units in value.items()}
            return [{"do": "scale", "column": name, "times": a, "plus": b} for name, (a, b) in pairs.items()]
        case "standardise":
            return [_scaled(name, state[name][0], state[name][1]) for name in value]
        case "minmax":
            return [_scaled(name, state[name][0], (state[name][1] - state[name][0]) or 1.0) for name in value]
        case "one_hot" | "label":
            return [{"do": key, "column": name, "categories": list(state[name])} for name in value]
    return None


def _scaled(name: str, least: float, span: float) -> dict[str, Any]:
    return {"do": "scale", "column": name, "times": 1.0 / span, "plus": -least / span}
