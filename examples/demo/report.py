"""What the demo shows at its end: tables for people, the same as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from aios.views import AttemptView, WorkloadView

ENOUGH = 0.8
"""Which part of the rows that an endpoint is asked about it has to get right."""


@dataclass(frozen=True, slots=True)
class Row:
    """One workload of the final table."""

    workload: str
    tenant: str
    kind: str
    priority: int
    planned_nodes: list[str]
    actual_nodes: list[str]
    waited_s: float
    ran_s: float
    attempts: int
    result: str
    expected: str
    every_attempt: list[dict[str, Any]] = field(default_factory=list)

    @property
    def as_expected(self) -> bool:
        return self.result == self.expected

    @property
    def where_planned(self) -> bool:
        """Whether every worker of every attempt that ran did so on the node that the plan gave it."""
        return all(attempt["planned_nodes"] == attempt["actual_nodes"] for attempt in self.every_attempt)


@dataclass(frozen=True, slots=True)
class ShareRow:
    """A tenant's part of what was used while both tenants wanted more, against what it is entitled to."""

    tenant: str
    weight: float
    entitled: float
    used: float
    gpu_seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """One real request to an endpoint, of several rows, checked against their labels."""

    endpoint: str
    url: str
    model: str
    predicted: list[str]
    labels: list[str]

    @property
    def n_right(self) -> int:
        return sum(said == is_ for said, is_ in zip(self.predicted, self.labels, strict=True))

    @property
    def right(self) -> bool:
        """Whether it is right as often as a model that passed its gate is; no model is right about every row."""
        return self.n_right >= ENOUGH * len(self.labels)


@dataclass(slots=True)
class Report:
    """Everything that the demo found out."""

    seconds: float
    rows: list[Row]
    shares: list[ShareRow]
    scores: dict[str, dict[str, float]]
    answers: list[Answer]
    resumed: dict[str, Any]
    plan: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def find_problems(self) -> list[str]:
        """Return what did not go as it should, as sentences."""
        found = list(self.problems)
        for row in self.rows:
            if not row.as_expected:
                found.append(f"{row.workload} ended {row.result}, expected {row.expected}")
            if not row.where_planned:
                found.append(f"{row.workload} ran on {row.actual_nodes}, planned {row.planned_nodes}")
        if not self.resumed.get("from_step"):
            found.append("no training run was displaced and went on from its checkpoint")
        found.extend(
            f"{a.endpoint} answered {' '.join(a.predicted)} for rows labelled {' '.join(a.labels)}"
            for a in self.answers
            if not a.right
        )
        if len(self.answers) < 2:
            found.append(f"{len(self.answers)} of 2 endpoints answered")
        return found

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        problems = self.find_problems()
        document = {
            "ok": not problems,
            "problems": problems,
            "seconds": round(self.seconds, 1),
            "workloads": [{**asdict(row), "where_planned": row.where_planned} for row in self.rows],
            "shares": [asdict(share) for share in self.shares],
            "scores": self.scores,
            "endpoints": [{**asdict(answer), "right": answer.right} for answer in self.answers],
            "resumed": self.resumed,
            "plan": self.plan,
        }
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def row_of(view: WorkloadView, expected: str) -> Row:
    """Return a workload's line; nodes are those of its last attempt."""
    ran = [attempt for attempt in view.attempts if attempt.started_s is not None or attempt.actual_nodes]
    return Row(
        workload=view.name,
        tenant=view.tenant,
        kind=view.kind,
        priority=view.priority,
        planned_nodes=sorted(view.planned_nodes),
        actual_nodes=sorted(view.actual_nodes),
        waited_s=round(view.waited_s, 1),
        ran_s=round(view.ran_s, 1),
        attempts=len(view.attempts),
        result=view.status,
        expected=expected,
        every_attempt=[_attempt(attempt) for attempt in ran],
    )


def _attempt(attempt: AttemptView) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "planned_nodes": sorted(attempt.planned_nodes),
        "actual_nodes": sorted(attempt.actual_nodes),
        "outcome": attempt.outcome,
        "resumed_step": attempt.resumed_step,
        "why": attempt.why,
    }


def shares(
    views: Sequence[WorkloadView], weights: Mapping[str, float], gpus: Mapping[str, float], now_s: float
) -> list[ShareRow]:
    """Return each tenant's part of the GPU time that was used while every tenant wanted some.

    Parameters
    ----------
    views : sequence of WorkloadView
    weights : mapping of tenant to weight
    gpus : mapping of workload name to the GPUs that one attempt holds
    now_s : float
        End of what still runs, on the control plane's clock.
    """
    window = _contended(views, weights, gpus, now_s)
    used = {
        tenant: sum(
            gpus[view.name] * _overlap(window, attempt, now_s)
            for view in views
            if view.tenant == tenant and view.name in gpus
            for attempt in view.attempts
        )
        for tenant in weights
    }
    everything, all_weights = sum(used.values()) or 1.0, sum(weights.values())
    return [
        ShareRow(
            tenant,
            weight,
            round(weight / all_weights, 3),
            round(used[tenant] / everything, 3),
            round(used[tenant], 1),
        )
        for tenant, weight in weights.items()
    ]


def _contended(
    views: Sequence[WorkloadView], weights: Mapping[str, float], gpus: Mapping[str, float], now_s: float
) -> tuple[float, float]:
    """Return the time from which every tenant wanted GPUs, and until which."""
    spans = []
    for tenant in weights:
        mine = [view for view in views if view.tenant == tenant and view.name in gpus and view.attempts]
        if not mine:
            return (0.0, 0.0)
        begin = min(view.attempts[0].granted_s - view.waited_s for view in mine)
        end = max(attempt.ended_s or now_s for view in mine for attempt in view.attempts)
        spans.append((begin, end))
    return (max(begin for begin, _ in spans), min(end for _, end in spans))


def _overlap(window: tuple[float, float], attempt: AttemptView, now_s: float) -> float:
    begin, end = max(window[0], attempt.granted_s), min(window[1], attempt.ended_s or now_s)
    return max(0.0, end - begin)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return aligned columns; nothing is cut off."""
    cells = [list(headers), *([str(value) for value in row] for row in rows)]
    widths = [max(len(row[idx]) for row in cells) for idx in range(len(headers))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def text(report: Report) -> str:
    """Return the report for people."""
    parts = [
        table(
            ["workload", "tenant", "prio", "planned nodes", "actual nodes", "waited", "ran", "attempts", "result"],
            [
                [
                    row.workload,
                    row.tenant,
                    row.priority,
                    ",".join(row.planned_nodes),
                    ",".join(row.actual_nodes),
                    f"{row.waited_s:.1f}s",
                    f"{row.ran_s:.1f}s",
                    row.attempts,
                    row.result,
                ]
                for row in report.rows
            ],
        ),
        "Share of the GPU time while both tenants wanted it, against the entitlement\n"
        + table(
            ["tenant", "weight", "entitled", "used", "GPU seconds"],
            [[s.tenant, f"{s.weight:g}", f"{s.entitled:.0%}", f"{s.used:.0%}", s.gpu_seconds] for s in report.shares],
        ),
        "Scores on data that training did not see\n"
        + table(
            ["model", "accuracy", "precision", "recall", "F1"],
            [
                [model, *(f"{scores.get(key, float('nan')):.4f}" for key in ("accuracy", "precision", "recall", "f1"))]
                for model, scores in report.scores.items()
            ],
        ),
        "One real request to each endpoint\n"
        + table(
            ["endpoint", "model", "predicted", "labels", "right", "url"],
            [
                [
                    a.endpoint,
                    a.model,
                    " ".join(a.predicted),
                    " ".join(a.labels),
                    f"{a.n_right} of {len(a.labels)}",
                    a.url,
                ]
                for a in report.answers
            ],
        ),
    ]
    parts.append(
        f"{report.plan['plans']} plans by {', '.join(report.plan['planners'])}, {report.plan['proven_optimal']} "
        "of them proven optimal; for the others the bound leaves out whose turn it was."
    )
    if report.resumed.get("from_step"):
        parts.append(
            f"{report.resumed['workload']} was displaced by {report.resumed['by']}, saved its progress, "
            f"and went on from step {report.resumed['from_step']}, not from zero."
        )
    return "\n\n".join(parts)
