"""The metrics there are: for which task, which way is better, and how a name of one is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TASKS = ("classification", "regression", "ranking")
_NAME = re.compile(r"([a-z0-9_]+)(?:\[(.+)\])?")


@dataclass(frozen=True, slots=True)
class Metric:
    """What is known of a metric before anything is measured.

    Attributes
    ----------
    better : int
        1: more is better, -1: less is.
    by_class : bool
        Whether ``NAME[CLASS]`` is one too.
    least, most : float
        The smallest and the largest value that it can have.
    """

    task: str
    better: int = 1
    by_class: bool = False
    most: float = 1.0
    least: float = 0.0


_INF = float("inf")
METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("classification"),
    "f1": Metric("classification", by_class=True),
    "precision": Metric("classification", by_class=True),
    "recall": Metric("classification", by_class=True),
    "roc_auc": Metric("classification", by_class=True),
    "average_precision": Metric("classification", by_class=True),
    "calibration_error": Metric("classification", -1),
    "log_loss": Metric("classification", -1, most=_INF),
    "brier": Metric("classification", -1, most=2.0),
    "balanced_accuracy": Metric("classification"),
    "f1_weighted": Metric("classification"),
    "f1_micro": Metric("classification"),
    "precision_micro": Metric("classification"),
    "recall_micro": Metric("classification"),
    "mae": Metric("regression", -1, most=_INF),
    "mse": Metric("regression", -1, most=_INF),
    "rmse": Metric("regression", -1, most=_INF),
    "r2": Metric("regression", least=-_INF),
    "explained_variance": Metric("regression", least=-_INF),
    "mape": Metric("regression", -1, most=_INF),
    "smape": Metric("regression", -1, most=2.0),
    "ndcg": Metric("ranking"),
    "mrr": Metric("ranking"),
    "map": Metric("ranking"),
    "hit_rate": Metric("ranking"),
    "precision_at_k": Metric("ranking"),
    "recall_at_k": Metric("ranking"),
}


def parsed(name: str) -> tuple[str, str | None]:
    """Return metric and class of ``recall`` or ``recall[malignant]``; raises ValueError where there is no such one."""
    match = _NAME.fullmatch(name)
    base = match[1] if match else name
    if match is None or base not in METRICS:
        raise ValueError(f"{name!r} is no metric: there are {', '.join(METRICS)}")
    if match[2] is not None and not METRICS[base].by_class:
        per_class = ", ".join(one for one, known in METRICS.items() if known.by_class)
        raise ValueError(f"{name!r}: {base} is not computed class by class; these are: {per_class}")
    return base, match[2]


def better(name: str) -> int:
    """Return 1 where more of a metric is better, -1 where less is."""
    return METRICS[parsed(name)[0]].better


def shown_of(task: str) -> tuple[str, ...]:
    """Return the metrics that a report shows unless it is told which: micro means of one answer are the accuracy."""
    return tuple(name for name in of_task(task) if not name.endswith("_micro"))


def of_task(task: str) -> tuple[str, ...]:
    return tuple(name for name, known in METRICS.items() if known.task == task)


def foreign(names: Iterable[str], task: str, classes: Iterable[str]) -> list[str]:
    """Return why metrics cannot be computed for a task with these classes, one sentence part each."""
    own, found = list(classes), []
    for name in dict.fromkeys(names):
        base, of_class = parsed(name)
        if METRICS[base].task != task:
            found.append(f"{name} is of {METRICS[base].task}")
        elif of_class is not None and of_class not in own:
            shown = ", ".join(own[:20]) + (", …" if len(own) > 20 else "")
            found.append(f"{name}: there is no class {of_class!r}; there are {shown}")
    return found
