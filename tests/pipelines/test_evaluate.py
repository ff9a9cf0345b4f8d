"""Scores and gates."""

from __future__ import annotations

import pytest

from pipelines.evaluate.scores import missed, scores_of_classes, scores_of_quantity


def test_scores_of_a_small_case_by_hand() -> None:
    found = scores_of_classes(["a", "a", "b", "b"], ["a", "b", "b", "b"], ["a", "b"])
    assert found["accuracy"] == 0.75
    assert found["precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["recall"] == pytest.approx((0.5 + 1) / 2)
    assert found["f1"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert found["confusion"] == {"classes": ["a", "b"], "matrix": [[1, 1], [0, 2]]}
    assert found["by_class"]["b"] == {"precision": pytest.approx(2 / 3), "recall": 1.0, "f1": 0.8, "rows": 2}


def test_a_class_that_was_never_predicted_scores_nothing() -> None:
    found = scores_of_classes([0, 1], [0, 0], [0, 1])
    assert found["by_class"]["1"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 1}


def test_scores_of_a_quantity() -> None:
    assert scores_of_quantity([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == {"r2": 1.0, "mae": 0.0}


@pytest.mark.parametrize(
    "gates, told",
    [
        ({}, []),
        ({"accuracy": 0.87}, []),
        ({"accuracy": 0.9}, ["accuracy 0.8700 is below 0.9"]),
        ({"mae": 0.5}, []),
        ({"mae": 0.1}, ["mae 0.3000 is above 0.1"]),
        ({"f1": 0.1}, ["f1 is no score of this task, which has accuracy, mae"]),
    ],
)
def test_each_gate_that_is_missed_is_told(gates: dict[str, float], told: list[str]) -> None:
    assert missed({"accuracy": 0.87, "mae": 0.3, "by_class": {}}, gates) == told
