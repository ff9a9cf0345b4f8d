"""Scores from what was expected and what was predicted, and the gates that are missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn import metrics

from pipelines.evaluate.spec import LOWER_IS_BETTER


def scores_of_classes(expected: Sequence[Any], predicted: Sequence[Any], classes: Sequence[Any]) -> dict[str, Any]:
    """Return accuracy, macro precision, recall and F1, each class's own, and the confusion matrix (rows: expected)."""
    names = [str(value) for value in classes]
    index = {value: i for i, value in enumerate(classes)}
    truth, guess = [index[value] for value in expected], [index[value] for value in predicted]
    labels = list(range(len(classes)))
    each = metrics.precision_recall_fscore_support(truth, guess, labels=labels, zero_division=0.0)
    macro = metrics.precision_recall_fscore_support(truth, guess, labels=labels, average="macro", zero_division=0.0)
    return {
        "accuracy": float(metrics.accuracy_score(truth, guess)),
        "precision": float(macro[0]),
        "recall": float(macro[1]),
        "f1": float(macro[2]),
        "by_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
            for name, p, r, f, n in zip(names, *each, strict=True)
        },
        "confusion": {"classes": names, "matrix": metrics.confusion_matrix(truth, guess, labels=labels).tolist()},
    }


def scores_of_quantity(expected: Sequence[float], predicted: Sequence[float]) -> dict[str, Any]:
    """Return the coefficient of determination and the mean absolute error."""
    return {
        "r2": float(metrics.r2_score(expected, predicted)) if len(expected) > 1 else 0.0,
        "mae": float(metrics.mean_absolute_error(expected, predicted)),
    }


def missed(scores: Mapping[str, Any], gates: Mapping[str, float]) -> list[str]:
    """Return one sentence for each gate that is missed."""
    out = []
    for name, bound in gates.items():
        if name not in scores:
            have = ", ".join(key for key in scores if isinstance(scores[key], float))
            out.append(f"{name} is no score of this task, which has {have}")
        elif name in LOWER_IS_BETTER and scores[name] > bound:
            out.append(f"{name} {scores[name]:.4f} is above {bound:g}")
        elif name not in LOWER_IS_BETTER and scores[name] < bound:
            out.append(f"{name} {scores[name]:.4f} is below {bound:g}")
    return out
