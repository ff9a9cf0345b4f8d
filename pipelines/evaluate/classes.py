"""The measure of classification: counts by class, scores in fine steps, calibration, and the metrics from their sums.

Scores (probabilities) are counted in 4,096 steps that are equally wide in log-odds, so that curves and their areas need
no list of all rows; an area differs from that of the sorted scores by what lies within a step (tests hold it to 0.001).
Replicates keep every 32nd step; their spread is taken, not their value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

from pipelines.evaluate.sums import Array, Sums, by_class_of, marks, state_of

STEPS = 4096
COARSER = 32
COARSE = STEPS // COARSER
CALIBRATION = 15
"""Ranges of equal width in which confidence is compared with how often it is right."""
MOST_IN_MATRIX = 200
"""Classes up to which there is a confusion matrix."""
_LEAST = 1e-15


def _thresholds() -> Array:
    inner = 1 / (1 + np.exp(-np.linspace(-16, 16, STEPS - 2)))
    return np.concatenate([[0.0], inner, [1 + 1e-9]])  # nothing is above the last, so curves begin at (0, 0)


THRESHOLDS = _thresholds()


@dataclass(frozen=True)
class Classes:
    """Statistics of classification into ``classes``; of two of them, ``positive`` is the index of the one to find.

    Without ``curves`` there are no replicates of the areas under curves, which take most of the memory.
    """

    classes: tuple[str, ...]
    positive: int = 1
    curves: bool = True
    task: str = "classification"

    @property
    def n(self) -> int:
        return len(self.classes)

    @property
    def is_binary(self) -> bool:
        return self.n == 2

    @cached_property
    def shape(self) -> tuple[int, int]:
        return self._n_matrix + self.n * 2 * STEPS, sum(width for _, width in self._parts)

    @property
    def _n_matrix(self) -> int:
        return self.n**2 if self.n <= MOST_IN_MATRIX else 0

    @property
    def _parts(self) -> tuple[tuple[str, int], ...]:
        curves = (("curves", self.n * 2 * COARSE),) if self.curves else ()
        return (("hits", self.n), ("predicted", self.n), ("actual", self.n), ("calibration", 3 * CALIBRATION),
                ("losses", 3), *curves)  # fmt: skip

    def rows(self, expected: Array, predicted: Array) -> tuple[Any, Any]:
        """Return the statistics of rows: expected classes (n,), probabilities (n, c)."""
        n, truth = len(expected), expected.astype(np.int64)
        guess = predicted.argmax(axis=1)
        steps = np.searchsorted(THRESHOLDS, predicted, side="right") - 1  # (n, c)
        sign = truth[:, None] == np.arange(self.n)
        cell = np.arange(self.n) * 2 + sign
        once = [marks(n, truth * self.n + guess, self._n_matrix)] if self._n_matrix else []
        once.append(_table(cell * STEPS + steps, self.n * 2 * STEPS))
        own = np.clip(predicted[np.arange(n), truth], _LEAST, 1.0)
        losses = np.column_stack([np.ones(n), -np.log(own), ((predicted - sign) ** 2).sum(axis=1)])
        sure, right = self._confidence(truth, guess, predicted)
        level = np.clip((sure * CALIBRATION).astype(np.int64), 0, CALIBRATION - 1)
        each = [
            marks(n, np.where(guess == truth, truth, -1), self.n),
            marks(n, guess, self.n),
            marks(n, truth, self.n),
            marks(n, level, CALIBRATION),
            marks(n, level, CALIBRATION, sure),
            marks(n, level, CALIBRATION, right.astype(np.float64)),
            sparse.csr_array(losses),
        ]
        if self.curves:
            each.append(_table(cell * COARSE + steps // COARSER, self.n * 2 * COARSE))
        return sparse.hstack(once, format="csr"), sparse.hstack(each, format="csr")

    def _confidence(self, truth: Array, guess: Array, predicted: Array) -> tuple[Array, Array]:
        """Return how sure each row's answer is, and whether it is right: of the positive class, or of the likeliest."""
        if self.is_binary:
            return predicted[:, self.positive], truth == self.positive
        return predicted[np.arange(len(truth)), guess], truth == guess

    def part(self, each: Array, name: str) -> Array:
        """Return one group of the sums of replicates (r, …)."""
        at = 0
        for other, width in self._parts:
            if other == name:
                return each[:, at : at + width]
            at += width
        raise KeyError(name)

    def matrix(self, sums: Sums) -> Array | None:
        """Return the confusion matrix (expected, predicted), None where there are too many classes for one."""
        return sums.once[: self._n_matrix].reshape(self.n, self.n) if self._n_matrix else None

    def steps(self, sums: Sums) -> Array:
        """Return how many rows have which score (class, is it that class, step)."""
        return sums.once[self._n_matrix :].reshape(self.n, 2, STEPS)

    def calibration(self, sums: Sums) -> tuple[Array, Array, Array]:
        """Return rows, mean confidence and share that is right, by range of confidence."""
        count, sure, right = self.part(sums.each[:1], "calibration")[0].reshape(3, CALIBRATION)
        return count, _over(sure, count), _over(right, count)

    def point(self, sums: Sums) -> dict[str, float]:
        """Return all metrics of the rows as they are."""
        each = sums.each[:1]
        tp, predicted, actual = (self.part(each, name)[0] for name in ("hits", "predicted", "actual"))
        by_class = {"tp": tp, "fp": predicted - tp, "fn": actual - tp, "tn": sums.n - predicted - actual + tp}
        total = {name: counts.sum() for name, counts in by_class.items()}
        own: dict[str, Any] = {"num_classes": self.n, "validate_args": False}
        found = {
            "accuracy": state_of(MulticlassAccuracy(average="micro", **own), **total),
            "balanced_accuracy": self._balanced(each)[0],
        }
        for name, metric in (
            ("precision", MulticlassPrecision),
            ("recall", MulticlassRecall),
            ("f1", MulticlassF1Score),
        ):
            found[name] = state_of(metric(average="macro", **own), **by_class)
            found[f"{name}_micro"] = state_of(metric(average="micro", **own), **total)
            values = by_class_of(metric(average="none", **own), **by_class)
            found |= {f"{name}[{one}]": float(value) for one, value in zip(self.classes, values, strict=True)}
        found["f1_weighted"] = state_of(MulticlassF1Score(average="weighted", **own), **by_class)
        found |= self._areas(sums)
        replicated = self.replicates(each)
        return found | {name: float(replicated[name][0]) for name in ("calibration_error", "log_loss", "brier")}

    def _areas(self, sums: Sums) -> dict[str, float]:
        """Return areas under the ROC and the precision-recall curve; a class without rows of both signs has none."""
        counts = self.steps(sums)
        above = counts[..., ::-1].cumsum(axis=-1)[..., ::-1]  # (c, 2, steps): rows at or above each threshold
        state = np.stack([counts.sum(-1, keepdims=True) - above, above], axis=-1)  # (c, 2, steps, is it predicted)
        state = state.transpose(2, 0, 1, 3)
        own: dict[str, Any] = {"num_classes": self.n, "validate_args": False, "thresholds": torch.tensor(THRESHOLDS)}
        there = (counts.sum(-1) > 0).all(-1)
        found: dict[str, float] = {}
        for name, metric in (("roc_auc", MulticlassAUROC), ("average_precision", MulticlassAveragePrecision)):
            values = np.where(there, by_class_of(metric(average=None, **own), confmat=state), np.nan)
            found[name] = float(self._headline(values[None])[0])
            found |= {f"{name}[{one}]": float(value) for one, value in zip(self.classes, values, strict=True)}
        return found

    def replicates(self, each: Array) -> dict[str, Array]:
        """Return all metrics of sums (r, d) at once; areas only with ``curves``."""
        tp, predicted, actual = (self.part(each, name) for name in ("hits", "predicted", "actual"))
        n = actual.sum(axis=1)
        values = {
            "precision": _over(tp, predicted),
            "recall": _over(tp, actual),
            "f1": _over(2 * tp, predicted + actual),
        }
        seen = (predicted + actual) > 0
        found = {"accuracy": _over(tp.sum(axis=1), n), "balanced_accuracy": self._balanced(each)}
        for name, by_class in values.items():
            found[name] = _over((by_class * seen).sum(axis=1), seen.sum(axis=1))
            found[f"{name}_micro"] = found["accuracy"]
            found |= {f"{name}[{one}]": by_class[:, i] for i, one in enumerate(self.classes)}
        found["f1_weighted"] = _over((values["f1"] * actual).sum(axis=1), n)
        count, sure, right = self.part(each, "calibration").reshape(-1, 3, CALIBRATION).transpose(1, 0, 2)
        found["calibration_error"] = _over(np.abs(right - sure).sum(axis=1), count.sum(axis=1))
        losses = self.part(each, "losses")
        found["log_loss"], found["brier"] = _over(losses[:, 1], losses[:, 0]), _over(losses[:, 2], losses[:, 0])
        return found | (self._coarse_areas(each) if self.curves else {})

    def _coarse_areas(self, each: Array) -> dict[str, Array]:
        counts = self.part(each, "curves").reshape(-1, self.n, 2, COARSE)
        above = counts[..., ::-1].cumsum(axis=-1)  # (r, c, 2, steps), from the highest score on
        zero = np.zeros((*above.shape[:-1], 1))
        fp, tp = np.moveaxis(np.concatenate([zero, above], axis=-1), 2, 0)
        n_neg, n_pos = fp[..., -1:], tp[..., -1:]
        tpr, fpr = _over(tp, n_pos), _over(fp, n_neg)
        area = np.trapezoid(tpr, fpr, axis=-1)
        precision = _over(tp, tp + fp)
        average = (np.diff(tpr, axis=-1) * precision[..., 1:]).sum(axis=-1)
        there = ((n_neg > 0) & (n_pos > 0))[..., 0]
        found = {}
        for name, value in (("roc_auc", area), ("average_precision", average)):
            by_class = np.where(there, value, np.nan)
            found[name] = self._headline(by_class)
            found |= {f"{name}[{one}]": by_class[:, i] for i, one in enumerate(self.classes)}
        return found

    def _balanced(self, each: Array) -> Array:
        """Return the mean recall of the classes that there are rows of."""
        tp, actual = self.part(each, "hits"), self.part(each, "actual")
        return _over(_over(tp, actual).sum(axis=1), (actual > 0).sum(axis=1))

    def _headline(self, by_class: Array) -> Array:
        """Return the positive class's value of two classes, of more their mean over those that have one (r,)."""
        if self.is_binary:
            return by_class[:, self.positive]
        there = ~np.isnan(by_class)
        return np.where(there.any(axis=1), _over(np.nansum(by_class, axis=1), there.sum(axis=1)), np.nan)


def _table(cells: Array, n_columns: int) -> Any:
    """Return the sparse matrix with a one in each row's cells (n, c)."""
    n, width = cells.shape
    starts = np.arange(0, n * width + 1, width)
    return sparse.csr_array((np.ones(n * width), cells.ravel(), starts), shape=(n, n_columns))


def _over(value: Array, by: Array) -> Array:
    """Return a quotient, 0 where there is nothing to divide by."""
    value, by = np.broadcast_arrays(np.asarray(value, dtype=float), np.asarray(by, dtype=float))
    return np.divide(value, by, out=np.zeros(value.shape), where=by > 0)


def names_of(classes: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(one) for one in classes)
