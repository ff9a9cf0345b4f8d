"""Steps: what each does, how its misuse is told, and that a row is prepared alike for training and for an answer."""

from __future__ import annotations

import datetime as dt
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.prepare import fitted
from pipelines.ingest.prepare.expression import parse
from pipelines.ingest.prepare.recipe import Recipe, once
from pipelines.ingest.prepare.spec import Step
from pipelines.ingest.prepare.units import UNITS, factor
from pipelines.ingest.preparing import Preparer
from pipelines.ingest.rowset import LocalRows
from pipelines.ingest.sources.errors import BadSource

UTC = dt.UTC
PEOPLE = pa.table(
    {
        "age": [31, None, 55, 18],
        "city": ["Bern", "Genève", None, "bern "],
        "temp": [98.6, 100.4, None, float("nan")],
        "note": ["A  b", "", "It's  fine", None],
    }
)


def done(step: dict[str, Any], rows: pa.Table = PEOPLE) -> pa.Table:
    return once(Step.model_validate(step), None, rows, "")


STEPS: list[tuple[dict[str, Any], str, list[Any]]] = [
    ({"select": ["age"]}, "age", [31, None, 55, 18]),
    ({"rename": {"age": "years"}}, "years", [31, None, 55, 18]),
    ({"cast": {"age": "string"}}, "age", ["31", None, "55", "18"]),
    ({"fill": {"age": 0}}, "age", [31, 0, 55, 18]),
    ({"fill": {"temp": 0.0}}, "temp", [98.6, 100.4, 0.0, 0.0]),
    ({"drop_nulls": ["temp"]}, "age", [31, None]),
    ({"filter": "age >= 18 and city in ('Bern', 'bern ')"}, "age", [31, 18]),
    ({"filter": "not is_null(temp)"}, "age", [31, None]),
    ({"derive": {"half": "age / 2"}}, "half", [15.5, None, 27.5, 9.0]),
    ({"derive": {"one": "1"}}, "one", [1, 1, 1, 1]),
    ({"text": {"city": ["strip", "lower"]}}, "city", ["bern", "genève", None, "bern"]),
    ({"text": {"note": ["tokenise"]}}, "note", [["a", "b"], [], ["it's", "fine"], None]),
    ({"text": {"note": ["squeeze", "length"]}}, "note", [3, 0, 9, None]),
]


@pytest.mark.parametrize("step, column, values", STEPS, ids=[json.dumps(step) for step, *_ in STEPS])
def test_a_step_does_what_it_says(step: dict[str, Any], column: str, values: list[Any]) -> None:
    assert done(step)[column].to_pylist() == values


def test_units_are_converted_and_back_again() -> None:
    assert np.allclose(
        done({"convert": {"temp": {"from": "degF", "to": "degC"}}})["temp"].to_pylist()[:2], [37.0, 38.0]
    )
    for unit, (kind, *_) in UNITS.items():
        other = next(name for name, (its, *_) in UNITS.items() if its == kind)
        (a, b), (c, d) = factor(unit, other), factor(other, unit)
        assert c * (a * 20 + b) + d == pytest.approx(20)


MISUSED: list[tuple[dict[str, Any], str]] = [
    ({"select": ["nothing"]}, "select: no column 'nothing': the columns are age, city"),
    ({"rename": {"age": "city"}}, "two columns would be called 'city'"),
    ({"cast": {"city": "int64"}}, "column 'city', row 1 of a block: Bern is no int64"),
    ({"cast": {"temp": "int64"}}, "column 'temp', row 1 of a block: 98.6 is no int64"),
    ({"fill": {"age": "old"}}, "old does not fit"),
    ({"filter": "age + 1"}, "is int64, not true or false"),
    ({"filter": "height > 1"}, "no column 'height'"),
    ({"derive": {"x": "city * 2"}}, "city"),
    ({"text": {"age": ["lower"]}}, "'age' is int64, not text"),
    ({"convert": {"city": {"from": "m", "to": "km"}}}, "not a number: cast it first"),
    ({"timezone": {"columns": ["age"], "zone": "UTC"}}, "cast it to timestamp"),
]


@pytest.mark.parametrize("step, said", MISUSED, ids=[said for _, said in MISUSED])
def test_a_misused_step_is_told_by_its_column(step: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSource, match=said):
        done(step)


def zoned(text: str, **how: str) -> Any:
    rows = pa.table({"at": [text]})
    return done({"timezone": {"columns": ["at"], "zone": "Europe/Berlin", **how}}, rows)["at"].to_pylist()[0]


def test_local_times_become_instants_and_what_clocks_skip_or_repeat_is_decided() -> None:
    assert zoned("2026-07-01 12:00:00") == dt.datetime(2026, 7, 1, 10, tzinfo=UTC)
    with pytest.raises(BadSource, match="the clocks skip it"):
        zoned("2026-03-29 02:30:00")
    with pytest.raises(BadSource, match="the clocks show it twice"):
        zoned("2026-10-25 02:30:00")
    assert zoned("2026-10-25 02:30:00", ambiguous="latest") == dt.datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert zoned("2026-10-25 02:30:00", ambiguous="earliest") == dt.datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


FORBIDDEN = [
    "__import__('os').system('x')",
    "age.__class__",
    "[x for x in age]",
    "lambda: 1",
    "age if age else 1",
    "f'{age}'",
]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_an_expression_can_do_nothing_but_look_at_columns(text: str) -> None:
    with pytest.raises(ValueError, match=r"not understood|no function"):
        parse(text)


def test_columns_of_any_name_and_times_can_be_compared() -> None:
    rows = pa.table({"mean radius": [1.0, 5.0], "at": pa.array([dt.datetime(2026, 1, 1), dt.datetime(2026, 2, 1)])})
    assert parse("`mean radius` > 3 and at >= '2026-01-15'")(rows).to_pylist() == [False, True]


def fit(key: str, value: Any, rows: pa.Table, cuts: list[int]) -> Any:
    bounds = [0, *sorted(cuts), rows.num_rows]
    parts = [rows.slice(a, b - a) for a, b in pairwise(bounds)]
    return fitted.combine(key, value, [fitted.partial(key, value, part) for part in parts])


@given(st.lists(st.integers(0, 50), max_size=4))
def test_what_is_measured_does_not_depend_on_how_rows_were_batched(cuts: list[int]) -> None:
    rng = np.random.default_rng(3)
    rows = pa.table({"x": rng.normal(size=50), "c": rng.choice(["a", "b", "c"], 50)})
    for key, value in (("standardise", ("x",)), ("minmax", ("x",)), ("one_hot", ("c",)), ("impute", {"x": "median"})):
        whole, parted = fit(key, value, rows, []), fit(key, value, rows, cuts)
        assert whole.keys() == parted.keys()
        for name in whole:
            assert parted[name] == whole[name] if key == "one_hot" else parted[name] == pytest.approx(whole[name])
    assert fit("impute", {"x": "median"}, rows, cuts)["x"] == pytest.approx(np.median(rows["x"].to_numpy()))


CHAIN = [
    {"text": {"city": ["strip", "lower"]}},
    {"convert": {"temp": {"from": "degF", "to": "degC"}}},
    {"derive": {"decade": "floor(age / 10)"}},
    {"filter": "is_null(age) or age != 18"},
    {"impute": {"age": "median", "temp": "mean", "city": "most_frequent"}},
    {"one_hot": ["city"]},
    {"standardise": ["temp", "age"]},
    {"hash": {"note": 3}},
]


def people(n: int) -> pa.Table:
    rng = np.random.default_rng(5)
    return pa.table(
        {
            "age": pa.array(rng.integers(20, 80, n), pa.int64(), mask=rng.random(n) < 0.1),
            "city": pa.array(rng.choice(["Bern", " bern", "Genève", "Basel"], n), mask=rng.random(n) < 0.1),
            "temp": pa.array(rng.normal(98, 2, n), mask=rng.random(n) < 0.1),
            "note": rng.choice(["well", "not well", ""], n),
            "ill": rng.integers(0, 2, n),
        }
    )


def prepared(rows: pa.Table, known: Recipe | None = None) -> tuple[pa.Table, Recipe]:
    steps = tuple(Step.model_validate(step) for step in CHAIN)
    made, recipe = Preparer(steps, lambda r: r, lambda r: r, known=known).prepare(LocalRows(rows))
    return made.rows, recipe


def test_a_row_is_prepared_alike_for_training_and_for_an_answer_value_by_value() -> None:
    raw = people(300)
    trained, recipe = prepared(raw)
    features = [name for name in trained.column_names if name not in ("ill", "decade")]
    served = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    requests = [{name: row[name] for name in ("age", "city", "temp", "note")} for row in raw.to_pylist()]
    answered = served.serve(requests, features)
    assert answered.schema == trained.select(features).schema
    assert answered.to_pylist() == trained.select(features).to_pylist()
    batch = served.features_of(raw, features)  # as batch inference does
    assert batch.to_pylist() == answered.to_pylist()
    one_by_one = [served.serve([request], features).to_pylist()[0] for request in requests[:40]]
    assert one_by_one == answered.to_pylist()[:40]


def test_rows_that_are_added_later_get_the_statistics_of_the_first_ones() -> None:
    _, recipe = prepared(people(300))
    later = people(40).set_column(2, "temp", pa.array(np.full(40, 500.0)))
    added, again = prepared(later, recipe)
    assert again.states == recipe.states
    assert np.mean(added["temp"].to_numpy()) > 50
    with pytest.raises(BadSource, match="the steps are not those of the version"):
        Preparer((), lambda r: r, lambda r: r, known=recipe).prepare(LocalRows(later))


def test_a_value_that_training_never_saw_is_no_category_and_fails_nothing() -> None:
    _, recipe = prepared(people(300))
    features = [f"city={name}" for name in ("basel", "bern", "genève")]
    (row,) = recipe.serve([{"city": "Zürich"}], features).to_pylist()
    assert list(row.values()) == [0.0, 0.0, 0.0]


ASKED = [
    ({}, "row 1: lacks 'city'"),
    ({"city": "Bern", "shoe": 44}, "row 1: 'shoe' is no column"),
]


@pytest.mark.parametrize("row, said", ASKED)
def test_a_request_that_does_not_fit_is_told_by_row_and_column(row: dict[str, Any], said: str) -> None:
    _, recipe = prepared(people(300))
    with pytest.raises(BadSource, match=said):
        recipe.serve([row], ["city=bern"])


def test_too_many_categories_are_refused_with_a_way_out() -> None:
    rows = pa.table({"c": [f"v{i}" for i in range(1001)]})
    with pytest.raises(BadSource, match=r"use hash: \{c: 64\}"):
        fit("one_hot", ("c",), rows, [])
