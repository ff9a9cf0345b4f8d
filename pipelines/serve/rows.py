"""The request body of an endpoint, checked against the model's signature: which field, and what was expected."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

MOST_ROWS = 10_000
MOST_BYTES = 16 * 2**20
MOST_PROBLEMS = 10


class BadRequest(Exception):
    """A request that the endpoint cannot answer, as a problem document."""

    def __init__(self, status: int, title: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(title)
        self.status = status
        self.title = title
        self.errors = tuple(errors)

    def document(self) -> dict[str, Any]:
        return {"type": "about:blank", "status": self.status, "title": self.title, "errors": list(self.errors)}


def parse(body: bytes, features: Sequence[str]) -> list[list[float]]:
    """Return the rows (n, features) of a body ``{"rows": [...]}``; raises BadRequest.

    A row is an object with every feature, or a list in the features' order.
    """
    if len(body) > MOST_BYTES:
        raise BadRequest(413, f"the body has {len(body)} bytes: send at most {MOST_BYTES}, in several requests")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest(400, 'the body is not JSON: send {"rows": [...]}') from None
    if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
        raise BadRequest(422, 'the body has no list "rows": send {"rows": [{...}, ...]} or {"rows": [[...], ...]}')
    rows = value["rows"]
    if not 1 <= len(rows) <= MOST_ROWS:
        raise BadRequest(422, f"rows has {len(rows)} rows: send 1 to {MOST_ROWS}")
    if unknown := sorted(set(value) - {"rows"}):
        raise BadRequest(422, f"the body has {', '.join(map(repr, unknown))}, which is not known: send rows alone")
    errors: list[Mapping[str, Any]] = []
    matrix = []
    for i, row in enumerate(rows):
        matrix.append(_row(row, i, features, errors))
        if len(errors) >= MOST_PROBLEMS:
            break
    if errors:
        raise BadRequest(422, f"rows do not fit the model's {len(features)} features", tuple(errors[:MOST_PROBLEMS]))
    return matrix


def _row(row: Any, i: int, features: Sequence[str], errors: list[Mapping[str, Any]]) -> list[float]:
    if isinstance(row, dict):
        unknown = sorted(set(row) - set(features))
        missing = [name for name in features if name not in row]
        errors += [_error([i, name], "is no feature of the model", "leave it out") for name in unknown]
        errors += [_error([i, name], "is missing", "a number") for name in missing]
        return [] if missing else [_number(row[name], [i, name], errors) for name in features]
    if isinstance(row, list):
        if len(row) != len(features):
            errors.append(_error([i], f"has {len(row)} values", f"{len(features)} numbers in GET's order"))
            return []
        return [_number(value, [i, name], errors) for name, value in zip(features, row, strict=True)]
    errors.append(_error([i], f"is {type(row).__name__}", "an object by feature name, or a list of numbers"))
    return []


def _number(value: Any, loc: list[Any], errors: list[Mapping[str, Any]]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        errors.append(_error(loc, f"is {json.dumps(value)[:60]}", "a number"))
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        errors.append(_error(loc, "is not finite", "a finite number"))
    return number


def _error(loc: list[Any], message: str, expected: str) -> dict[str, Any]:
    return {"loc": ["rows", *loc], "message": message, "expected": expected}
