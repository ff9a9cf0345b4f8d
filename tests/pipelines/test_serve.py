"""Bodies of requests to an endpoint: what fits the model, and what is said of what does not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.serve.rows import MOST_PROBLEMS, BadRequest, parse

FEATURES = ["a", "b"]


def test_rows_by_name_and_by_order_are_the_same() -> None:
    assert parse(b'{"rows": [{"b": 2, "a": 1.5}, [1.5, 2]]}', FEATURES) == [[1.5, 2.0], [1.5, 2.0]]


@pytest.mark.parametrize(
    "body, status, word",
    [
        (b"", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[]", 422, 'no list "rows"'),
        (b'{"rows": {}}', 422, 'no list "rows"'),
        (b'{"rows": []}', 422, "has 0 rows"),
        (b'{"rows": [[1, 2]], "columns": []}', 422, "'columns'"),
        (b'{"rows": [[1]]}', 422, '"message": "has 1 values", "expected": "2 numbers'),
        (b'{"rows": [3]}', 422, '["rows", 0], "message": "is int"'),
        (b'{"rows": [{"a": 1}]}', 422, '["rows", 0, "b"], "message": "is missing"'),
        (b'{"rows": [{"a": 1, "b": 2, "c": 3}]}', 422, '["rows", 0, "c"], "message": "is no feature'),
        (b'{"rows": [{"a": 1, "b": "x"}]}', 422, '"expected": "a number"'),
        (b'{"rows": [{"a": 1, "b": true}]}', 422, "is true"),
        (b'{"rows": [{"a": 1, "b": null}]}', 422, "is null"),
        (b'{"rows": [[NaN, 1]]}', 422, "is not finite"),
        (b'{"rows": [[1e999, 1]]}', 422, "is not finite"),
        (b'{"rows": [[1' + b"0" * 400 + b", 1]]}", 422, "is not finite"),
        (b'{"rows": [{"a": 1, "b": 2, "\\ud800": 3}]}', 422, "\\\\ud800"),
    ],
)
def test_a_body_that_does_not_fit_is_told_where_and_what_was_expected(body: bytes, status: int, word: str) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(body, FEATURES)
    document = json.dumps(refused.value.document())
    assert refused.value.status == status
    assert word.replace("\\\\", "\\") in document or word in refused.value.title


def test_a_thousand_mistakes_are_not_all_listed() -> None:
    body = json.dumps({"rows": [["x", "y"]] * 1000}).encode()
    with pytest.raises(BadRequest) as refused:
        parse(body, FEATURES)
    assert len(refused.value.errors) == MOST_PROBLEMS


@given(
    st.binary(max_size=40)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_no_body_breaks_the_endpoint(body: bytes) -> None:
    try:
        rows = parse(body, FEATURES)
    except BadRequest as bad:
        json.dumps(bad.document()).encode()
    else:
        assert all(len(row) == len(FEATURES) for row in rows)
