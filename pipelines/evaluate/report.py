"""The report of an evaluation as JSON: metrics with intervals, slices, curves, comparison and gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aios.engines import RunContext
from pipelines.evaluate.classes import Classes
from pipelines.evaluate.gates import Measured, Verdict, missed
from pipelines.evaluate.judging import Plan
from pipelines.evaluate.metrics import shown_of
from pipelines.evaluate.quantities import Quantities
from pipelines.evaluate.results import as_json
from pipelines.evaluate.spec import EvaluateSpec
from pipelines.evaluate.sums import Array, Key, Sums

METHOD = (
    "percentile intervals of the Poisson bootstrap over rows (Chamandy et al. 2012; Efron and Tibshirani 1993); "
    "differences are paired: both models get the same weights"
)
METHOD_RANKING = METHOD.replace("over rows", "over groups")
MOST_CURVES = 10
POINTS = 200


def report_of(
    spec: EvaluateSpec,
    ctx: RunContext,
    plan: Plan,
    sums: Mapping[Key, Sums],
    measured: Mapping[str, Measured],
    found: Sequence[Verdict],
    unlabelled: int,
    attributions: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return everything that is known after an evaluation."""
    whole = measured[""]
    baseline = next((one.reference for one in plan.models if one.role == "baseline"), None)
    report: dict[str, Any] = {
        "format": 2,
        "name": spec.name,
        "model": ctx.inputs["model"].reference,
        "baseline": baseline,
        "compare_to": spec.compare_to,
        "data": ctx.inputs["data"].reference,
        "side": spec.side,
        "task": plan.measure.task,
        "target": plan.target,
        "classes": None if plan.classes is None else [str(one) for one in plan.classes],
        "rows": whole.n,
        "unlabelled": unlabelled,
        "shown": list(spec.metrics) or [name for name in shown_of(plan.measure.task) if name in whole.values],
        "intervals": {
            "confidence": spec.confidence,
            "replicates": spec.bootstrap,
            "seed": spec.seed,
            "method": METHOD_RANKING if spec.group else METHOD,
        },
        "scores": as_json(whole.values),
        "differences": as_json(whole.differences),
        "slices": [
            {
                "column": one.column,
                "slice": one.label,
                "rows": measured[one.label].n,
                "scores": as_json(measured[one.label].values),
                "differences": as_json(measured[one.label].differences),
            }
            for one in plan.slices
        ],
        "gates": [one.as_json() for one in found],
        "missed": missed(found),
        "promote": spec.promote,
        "attributions": attributions,
    }
    if spec.group is not None:
        report |= {"group": spec.group, "k": spec.k}
    roles = [one.role for one in plan.models]
    if isinstance(plan.measure, Classes):
        report |= _of_classes(plan.measure, {role: sums[role, ""] for role in roles})
    elif isinstance(plan.measure, Quantities):
        report["table"] = {
            "low": plan.measure.low,
            "high": plan.measure.high,
            "rows": plan.measure.table(sums["model", ""]).astype(int).tolist(),
        }
    return report


def _of_classes(measure: Classes, by_role: Mapping[str, Sums]) -> dict[str, Any]:
    ours = by_role["model"]
    matrix = measure.matrix(ours)
    counts, sure, right = measure.calibration(ours)
    chosen = _most_common(measure, ours)
    return {
        "positive": measure.classes[measure.positive] if measure.is_binary else None,
        "confusion": None
        if matrix is None
        else {"classes": list(measure.classes), "matrix": matrix.astype(int).tolist()},
        "calibration": {"rows": counts.astype(int).tolist(), "confidence": sure.tolist(), "right": right.tolist()},
        "curves": {
            role: {measure.classes[i]: _curves(measure.steps(sums)[i]) for i in chosen}
            for role, sums in by_role.items()
        },
    }


def _most_common(measure: Classes, sums: Sums) -> list[int]:
    """Return the classes whose curves are drawn: the positive one, or those with the most rows."""
    if measure.is_binary:
        return [measure.positive]
    rows = measure.part(sums.each[:1], "actual")[0]
    return sorted(np.argsort(-rows, kind="stable")[:MOST_CURVES].tolist())


def _curves(counts: Array) -> dict[str, list[list[float]]]:
    """Return points of both curves from how many rows have which score (2, steps)."""
    fp, tp = (np.concatenate([[0.0], counts[sign][::-1].cumsum()]) for sign in (0, 1))
    n_neg, n_pos = max(fp[-1], 1.0), max(tp[-1], 1.0)
    roc = np.column_stack([fp / n_neg, tp / n_pos])
    some = (tp + fp) > 0
    pr = np.column_stack([tp[some] / n_pos, tp[some] / (tp + fp)[some]])
    return {"roc": _thinned(roc), "pr": _thinned(pr)}


def _thinned(points: Array) -> list[list[float]]:
    """Return at most ``POINTS`` of a curve's corners, its ends included."""
    moved = np.concatenate([[True], (np.diff(points, axis=0) != 0).any(axis=1)])
    points = points[moved]
    if len(points) > POINTS:
        points = points[np.linspace(0, len(points) - 1, POINTS).astype(int)]
    return [[round(float(x), 5), round(float(y), 5)] for x, y in points]
