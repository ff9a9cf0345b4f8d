"""Metrics from sums: equal to scikit-learn's on the rows themselves, the same for every way to divide the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from pipelines.evaluate.classes import Classes
from pipelines.evaluate.quantities import Quantities
from pipelines.evaluate.ranks import Ranks
from pipelines.evaluate.results import differences, values_of
from pipelines.evaluate.sums import BLOCK, Array, Measure, Sums, packed, unpacked, weights


def scored(n: int, n_classes: int, seed: int = 0, gain: float = 1.2) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, n_classes, n)
    logits = random.normal(size=(n, n_classes))
    logits[np.arange(n), truth] += gain
    odds = np.exp(logits)
    return truth, odds / odds.sum(axis=1, keepdims=True)


def sums_of(measure: Measure, expected: Array, predicted: Array, n_replicates: int = 0, seed: int = 0) -> Sums:
    sums = Sums.empty(measure, n_replicates)
    for block, at in enumerate(range(0, len(expected), BLOCK)):
        once, each = measure.rows(expected[at : at + BLOCK], predicted[at : at + BLOCK])
        sums.add(once, each, weights(seed, block, each.shape[0], n_replicates))
    return sums


@pytest.mark.parametrize("n_classes", [2, 4])
def test_classification_is_as_scikit_learn_has_it(n_classes: int) -> None:
    truth, scores = scored(9000, n_classes)
    names = tuple("abcd"[:n_classes])
    measure = Classes(names)
    found = measure.point(sums_of(measure, truth, scores))
    guess = scores.argmax(axis=1)
    for average in ("macro", "micro"):
        precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, guess, average=average)
        ending = "" if average == "macro" else "_micro"
        values = [found[f"{name}{ending}"] for name in ("precision", "recall", "f1")]
        assert values == pytest.approx([precision, recall, f1], abs=1e-6)
    each = sk.precision_recall_fscore_support(truth, guess)
    for i, name in enumerate(names):
        assert [found[f"{m}[{name}]"] for m in ("precision", "recall", "f1")] == pytest.approx(
            [each[j][i] for j in range(3)], abs=1e-6
        )
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess), abs=1e-6)
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert found["f1_weighted"] == pytest.approx(sk.f1_score(truth, guess, average="weighted"), abs=1e-6)
    assert found["log_loss"] == pytest.approx(sk.log_loss(truth, scores))
    flat = np.eye(n_classes)[truth]
    headline = (truth, scores[:, 1]) if n_classes == 2 else (flat, scores)
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(*headline), abs=1e-3)
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(*headline), abs=1e-3)
    given_, target = torch.tensor(scores), torch.tensor(truth)
    error = (
        binary_calibration_error(given_[:, 1], target)
        if n_classes == 2
        else multiclass_calibration_error(given_, target, n_classes)
    )
    assert found["calibration_error"] == pytest.approx(float(error), abs=1e-6)


def test_a_small_case_by_hand() -> None:
    measure = Classes(("a", "b"))
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]])
    sums = sums_of(measure, np.array([0, 0, 1, 1]), scores)
    found = measure.point(sums)
    assert found["accuracy"] == 0.75
    assert found["precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["recall[a]"] == 0.5
    assert found["f1[b]"] == pytest.approx(0.8)
    assert found["roc_auc"] == 0.5
    matrix = measure.matrix(sums)
    assert matrix is not None
    assert matrix.tolist() == [[1, 1], [0, 2]]


def test_a_class_that_was_never_predicted_scores_nothing() -> None:
    found = Classes(("0", "1")).point(sums_of(Classes(("0", "1")), np.array([0, 1]), np.array([[0.9, 0.1]] * 2)))
    assert (found["precision[1]"], found["recall[1]"], found["f1[1]"]) == (0.0, 0.0, 0.0)
    assert found["precision"] == 0.25


def test_a_class_without_rows_has_no_area_and_takes_no_part_in_the_mean() -> None:
    measure = Classes(("a", "b", "c"))
    truth, scores = scored(300, 2)
    found = measure.point(sums_of(measure, truth, np.column_stack([scores, np.zeros(300)])))
    assert np.isnan(found["roc_auc[c]"])
    assert found["roc_auc"] == pytest.approx((found["roc_auc[a]"] + found["roc_auc[b]"]) / 2)


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_regression_is_as_scikit_learn_has_it_however_far_from_zero(shift: float) -> None:
    random = np.random.default_rng(0)
    truth = random.normal(5, 3, 6000) + shift
    guess = truth + random.normal(0.2, 1, 6000)
    measure = Quantities(float(truth[:100].mean()), float(truth.min()), float(truth.max()))
    sums = sums_of(measure, truth, guess, 10)
    found = measure.point(sums)
    wanted = {
        "mae": sk.mean_absolute_error(truth, guess), "mse": sk.mean_squared_error(truth, guess),
        "rmse": sk.root_mean_squared_error(truth, guess), "r2": sk.r2_score(truth, guess),
        "explained_variance": sk.explained_variance_score(truth, guess),
        "mape": sk.mean_absolute_percentage_error(truth, guess),
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)
    assert measure.table(sums).sum() == 6000


def test_ranking_is_as_scikit_learn_has_it() -> None:
    random = np.random.default_rng(1)
    relevance, scores = random.integers(0, 4, 30), random.normal(size=30)
    found = Ranks(k=10).of_group(relevance, scores)
    assert found[0] == pytest.approx(sk.ndcg_score([relevance], [scores], k=10))
    order = np.argsort(-scores)
    assert found[1] == pytest.approx(1 / (1 + int(np.argmax(relevance[order] > 0))))
    assert found[2] == pytest.approx(sk.average_precision_score(relevance > 0, scores))
    assert found[4] == pytest.approx((relevance[order][:10] > 0).mean())


@pytest.mark.parametrize("measure", [Classes(("a", "b")), Classes(("a", "b", "c")), Quantities()], ids=str)
def test_replicates_compute_what_the_rows_themselves_do(measure: Measure) -> None:
    """The formulas that all replicates share and torchmetrics' own agree, areas up to their coarser steps."""
    if isinstance(measure, Classes):
        expected, predicted = scored(5000, measure.n)
    else:
        expected = np.random.default_rng(0).normal(size=5000)
        predicted = expected + np.random.default_rng(1).normal(size=5000)
    sums = sums_of(measure, expected, predicted, 20)
    point, replicates = measure.point(sums), measure.replicates(sums.each)
    assert replicates.keys() == point.keys()
    for name, value in point.items():
        exact = not name.startswith(("roc_auc", "average_precision"))
        assert replicates[name][0] == pytest.approx(value, abs=1e-6 if exact else 0.03), name


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 3), seed=st.integers(0, 2**31 - 1))
def test_sums_of_parts_are_the_sums_of_the_whole(cut: int, seed: int) -> None:
    measure = Classes(("a", "b", "c"))
    truth, scores = scored(3 * BLOCK + 77, 3, seed=1)
    whole = sums_of(measure, truth, scores, 5, seed)
    parts = Sums.empty(measure, 5)
    for block in [*range(cut), *range(cut, 4)][::-1]:
        at = slice(block * BLOCK, (block + 1) * BLOCK)
        some = Sums.empty(measure, 5)
        some.add(*measure.rows(truth[at], scores[at]), weights(seed, block, len(truth[at]), 5))
        parts.merge(unpacked(packed({("model", ""): some}))["model", ""])
    assert parts.n == whole.n
    assert (parts.once == whole.once).all()
    assert parts.each == pytest.approx(whole.each)


def test_weights_are_those_of_drawing_with_replacement() -> None:
    drawn = weights(7, 3, BLOCK, 300)
    assert (drawn[0] == 1).all()
    assert drawn[1:].mean() == pytest.approx(1, abs=0.005)
    assert drawn[1:].var() == pytest.approx(1, abs=0.01)
    assert (weights(7, 3, 100, 300) == drawn[:, :100]).all()
    assert (weights(7, 4, BLOCK, 300) != drawn).any()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """200 samples of 400 rows: 95 % intervals of the accuracy hold the true one in 88 to 99 of 100."""
    truth, scores = scored(200_000, 2, seed=5)
    true = float((scores.argmax(axis=1) == truth).mean())
    measure, held = Classes(("a", "b"), curves=False), 0
    for i in range(200):
        at = slice(i * 400, (i + 1) * 400)
        found = values_of(measure, sums_of(measure, truth[at], scores[at], 200, seed=i), 0.95)["accuracy"]
        assert found.low is not None
        assert found.high is not None
        held += found.low <= true <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_a_difference_is_sharper_on_the_same_rows_than_two_intervals_tell() -> None:
    truth, scores = scored(3000, 2)
    better = scores.copy()
    wrong = np.flatnonzero(scores.argmax(axis=1) != truth)[:90]
    better[wrong] = better[wrong][:, ::-1]  # 90 more of 3,000 are right
    measure = Classes(("a", "b"))
    ours, theirs = (sums_of(measure, truth, one, 200) for one in (better, scores))
    found = differences(measure, ours, theirs, 0.95, dict.fromkeys(measure.point(ours), 1))["accuracy"]
    assert found.value == pytest.approx(0.03)
    assert found.low is not None
    assert found.low > 0.02
    assert found.better_in == 1.0
    apart = [values_of(measure, one, 0.95)["accuracy"] for one in (theirs, ours)]
    assert apart[0].high is not None
    assert apart[1].low is not None
    assert apart[0].high - apart[0].value + apart[1].value - apart[1].low > 2 * (found.value - found.low)
    same = differences(measure, ours, ours, 0.95, dict.fromkeys(measure.point(ours), 1))["accuracy"]
    assert (same.value, same.low, same.high, same.better_in) == (0.0, 0.0, 0.0, 0.0)


def test_without_replicates_there_are_values_and_no_intervals() -> None:
    truth, scores = scored(100, 2)
    measure = Classes(("a", "b"))
    assert values_of(measure, sums_of(measure, truth, scores), 0.95)["accuracy"].low is None
    assert values_of(measure, Sums.empty(measure, 10), 0.95) == {}
