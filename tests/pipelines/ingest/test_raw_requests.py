"""Raw rows at an endpoint: prepared by the model's own recipe, or refused by row and column."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from pipelines.ingest.prepare.spec import Step
from pipelines.ingest.preparing import Preparer
from pipelines.ingest.rowset import LocalRows
from pipelines.serve.raw import features_of
from pipelines.serve.rows import BadRequest

ROWS = pa.table({"age": [20, 40, 60], "city": ["Bern", "Basel", "Bern"], "ill": [0, 1, 1]})
FEATURES = ["age", "city=Basel", "city=Bern"]


def card() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    steps = (Step(standardise=("age",)), Step(one_hot=("city",)))
    made, recipe = Preparer(steps, lambda r: r, lambda r: r).prepare(LocalRows(ROWS))
    known = {"features": FEATURES, "recipe": recipe.to_json(), "dataset": {"reference": "dataset://d@1"}}
    return json.loads(json.dumps(known)), made.rows.select(FEATURES).to_pylist()


def asked(rows: Any) -> list[list[float]]:
    return features_of(json.dumps({"rows": rows}).encode(), card()[0])


def test_raw_rows_become_what_training_saw_also_where_a_feature_keeps_its_column_name() -> None:
    raw = [{"age": row["age"], "city": row["city"]} for row in ROWS.to_pylist()]
    assert asked(raw) == [list(row.values()) for row in card()[1]]
    assert asked([[0.5, 1, 0]]) == [[0.5, 1.0, 0.0]]


@pytest.mark.parametrize(
    "rows, said",
    [
        ([{"age": 20}], "row 1: lacks 'city'"),
        ([{"age": "old", "city": "Bern"}], "row 1, column 'age': old is no int64"),
        ([{"age": 20, "city": "Bern", "x": 1}], "row 1: 'x' is no column"),
        ([], "send 1 to"),
        ([{"age": None, "city": "Bern"}], "do not fit"),
    ],
)
def test_a_raw_row_that_does_not_fit_is_refused_with_its_place(rows: Any, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        asked(rows)


def test_a_model_without_a_recipe_takes_features_as_before() -> None:
    plain = {"features": ["a"], "recipe": None}
    assert features_of(b'{"rows": [{"a": 1}]}', plain) == [[1.0]]
