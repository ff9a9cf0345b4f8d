"""Metrics with confidence intervals from sums, for one model and for the difference between two on the same rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.metrics import METRICS, parsed
from pipelines.evaluate.sums import Array, Measure, Sums


@dataclass(frozen=True, slots=True)
class Value:
    """A metric with the ends of its interval, which are None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Difference:
    """Model less baseline; ``better_in`` is the share of replicates in which the model is the better one."""

    value: float
    low: float | None = None
    high: float | None = None
    better_in: float | None = None

    def as_json(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def values_of(measure: Measure, sums: Sums, confidence: float) -> dict[str, Value]:
    """Return each metric of the rows with its percentile interval; what says nothing of these rows is left out."""
    if not sums.each[0].any():
        return {}
    spread = _spread(measure, sums)
    found = {}
    for name, point in _point(measure, sums).items():
        if math.isfinite(point):
            low, high = _ends(spread.get(name), confidence)
            known = METRICS[parsed(name)[0]]
            ends = (None if end is None else min(max(point + end, known.least), known.most) for end in (low, high))
            found[name] = Value(point, *ends)
    return found


def differences(
    measure: Measure, model: Sums, baseline: Sums, confidence: float, better: Mapping[str, int]
) -> dict[str, Difference]:
    """Return how a model differs from a baseline on the same rows, replicate by replicate of the same weights."""
    if not model.each[0].any():
        return {}
    ours, theirs = _point(measure, model), _point(measure, baseline)
    spread, other = _spread(measure, model), _spread(measure, baseline)
    found = {}
    for name in ours:
        if not (math.isfinite(ours[name]) and math.isfinite(theirs[name])):
            continue
        value = ours[name] - theirs[name]
        both = spread[name] - other[name] if name in spread else None
        low, high = _ends(both, confidence)
        wins = None if both is None or not len(both) else float(np.mean((value + both) * better[name] > 0))
        ends = (None if end is None else value + end for end in (low, high))
        found[name] = Difference(value, *ends, wins)
    return found


def _point(measure: Measure, sums: Sums) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchmetrics: classes without rows are left out, and reported as such
        return measure.point(sums)


def _spread(measure: Measure, sums: Sums) -> dict[str, Array]:
    """Return how far each replicate lies from the value of the same sums (r,), so that coarse sums do no harm."""
    if len(sums.each) == 1:
        return {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {name: values[1:] - values[0] for name, values in measure.replicates(sums.each).items()}


def _ends(spread: Array | None, confidence: float) -> tuple[float | None, float | None]:
    if spread is None:
        return None, None
    usable = spread[np.isfinite(spread)]
    if len(usable) < max(20, len(spread) // 2):  # in most replicates it says nothing: too few rows
        return None, None
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def as_json(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.as_json() for name, value in found.items()}
