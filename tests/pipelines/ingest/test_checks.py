"""Rules: what each finds, what on_fail does with it, and what the report says."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.ingest.checking import Checked, Checker, ChecksFailed
from pipelines.ingest.quality.rules import edges_of, stability
from pipelines.ingest.quality.spec import Rule
from pipelines.ingest.rowset import LocalRows
from pipelines.ingest.sources.errors import BadSource

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
VISITS = pa.table(
    {
        "id": [1, 2, 2, 4],
        "age": [31, -4, None, 200],
        "city": ["Bern", "bern", "Basel", None],
        "at": pa.array([NOW - dt.timedelta(days=d) for d in (3, 4, 5, 6)], pa.timestamp("us", "UTC")),
    }
)


def check(*rules: dict[str, Any], rows: pa.Table = VISITS, edges: Any = None) -> Checked:
    made = tuple(Rule.model_validate(rule) for rule in rules)
    return Checker(made, edges or {}, NOW.timestamp).check(LocalRows(rows))


FAILS: list[tuple[dict[str, Any], str]] = [
    ({"column": "age", "nulls": 0}, r"column 'age' no gap: 1 row fail \(such as age=None, id=2"),
    ({"column": "age", "nulls": 0.2}, r"column 'age' at most 20.0% gaps: 25.0% are missing"),
    ({"column": "age", "min": 0}, r"column 'age' at least 0: 1 row fail \(such as age=-4, id=2"),
    ({"column": "age", "max": 120}, r"column 'age' at most 120: 1 row fail \(such as age=200"),
    ({"column": "city", "in": ["Bern", "Basel"]}, r"one of Bern, Basel: 1 row fail \(such as city=bern"),
    ({"column": "city", "regex": "[A-Z].*"}, r"matches \[A-Z\].*: 1 row fail \(such as city=bern"),
    ({"column": "id", "unique": True}, r"column 'id' unique: 1 row fail \(such as id=2"),
    ({"unique": ["id"]}, r"key \(id\) unique: 1 row fail"),
    ({"column": "id", "type": "string"}, r"column 'id' is string: it is int64"),
    ({"column": "at", "fresh": "2d"}, r"newer than 172800 s: the newest is 259,200 s old"),
    ({"column": "at", "min": "2026-11-19T00:00:00Z"}, r"at least 2026-11-19T00:00:00Z: 1 row fail"),
    ({"rows": {"min": 5}}, r"rows at least 5: there are 4"),
]


@pytest.mark.parametrize("rule, said", FAILS, ids=[said for _, said in FAILS])
def test_a_failed_rule_stops_with_rule_column_count_and_examples(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ChecksFailed, match=said) as told:
        check(rule)
    assert "nothing is published" in str(told.value)
    assert told.value.report["rows"] == 4


@pytest.mark.parametrize("rule, said", FAILS, ids=[said for _, said in FAILS])
def test_the_same_rule_as_a_warning_keeps_every_row(rule: dict[str, Any], said: str) -> None:
    checked = check({**rule, "on_fail": "warn"})
    assert checked.rows.rows == VISITS
    assert len(checked.failed) == 1


PASSES = [
    {"column": "age", "nulls": 0.25},
    {"column": "age", "min": -4, "max": 200},
    {"column": "city", "in": ["Bern", "bern", "Basel"]},
    {"column": "at", "unique": True, "fresh": "4d", "type": "timestamp[us, UTC]"},
    {"unique": ["id", "city"]},
    {"rows": {"min": 4, "max": 4}},
]


@pytest.mark.parametrize("rule", PASSES)
def test_a_rule_that_holds_finds_nothing(rule: dict[str, Any]) -> None:
    assert check(rule).failed == ()


def test_rows_that_fail_are_set_aside_once_with_the_rules_that_they_fail() -> None:
    aside = {"on_fail": "quarantine"}
    checked = check(
        {"column": "age", "min": 0, **aside}, {"unique": ["id"], **aside}, {"column": "age", "max": 100, **aside}
    )
    assert checked.quarantine is not None
    assert checked.n_quarantined == checked.quarantine.rows.num_rows
    assert sorted(checked.rows.rows["id"].to_pylist() + checked.quarantine.rows["id"].to_pylist()) == [1, 2, 2, 4]
    assert {"0.min", "2.max"} <= set(",".join(checked.quarantine.rows["__failed"].to_pylist()).split(","))
    assert checked.report()["quarantined"] == checked.n_quarantined


CANNOT = [
    ({"column": "height", "min": 0}, "no column 'height': the columns are id, age"),
    ({"column": "city", "min": 0}, "'city' is string: it cannot be compared with 0"),
    ({"column": "age", "regex": "x"}, "regex belongs to text"),
    ({"column": "age", "fresh": "1d"}, "fresh belongs to times"),
    ({"column": "at", "max": "someday"}, "someday is no time"),
]


@pytest.mark.parametrize("rule, said", CANNOT, ids=[said for _, said in CANNOT])
def test_a_rule_that_cannot_be_asked_is_told_by_its_column(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSource, match=said):
        check(rule)


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_a_column_that_has_shifted_against_an_earlier_version_is_found(kind: str) -> None:
    rng = np.random.default_rng(0)

    def column(shift: float) -> pa.Table:
        values = rng.normal(shift, 1, 2000)
        return pa.table({"x": values if kind == "numbers" else np.where(values > 0.5, "hot", "cold")})

    edges = {"0": edges_of(column(0.0)["x"])}
    like = {"column": "x", "like": {"role": "before", "most": 0.1}}
    assert check(like, rows=column(0.0), edges=edges).failed == ()
    with pytest.raises(ChecksFailed, match="like before: the population stability index is"):
        check(like, rows=column(1.0), edges=edges)


def test_the_stability_index_is_the_sum_over_bins() -> None:
    assert stability([50, 50], [50, 50]) == 0
    assert stability([50, 50], [25, 75]) == pytest.approx((0.25 - 0.5) * np.log(0.5) + (0.75 - 0.5) * np.log(1.5))
