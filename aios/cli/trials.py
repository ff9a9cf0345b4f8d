"""``aios trials``: the table of a tuning, while it runs and afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from aios.cli.options import Options, common
from aios.cli.output import clean, next_is, show, table
from aios.errors import NotFound


@click.command("trials")
@click.argument("workload")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, help="How many of the best to show.")
@common
@click.pass_obj
def trials_command(options: Options, workload: str, top: int) -> None:
    """The trials of a tuning (kind: tune), the best first."""
    with options.client() as client:
        view = client.get(workload)
    found = [one for one in view.artefacts if one.type == "report" and "trials" in one.meta]
    if not found:
        state = (
            f"it is {view.status}; each trial is in its log" if view.kind == "tune" else f"it is of kind {view.kind}"
        )
        raise NotFound(f"{view.id} has no table of trials: {state}", hint=f"aios logs {view.id}")
    try:
        report: dict[str, Any] = json.loads(Path(found[-1].uri).read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(
            f"the report {found[-1].uri} cannot be read: {error.strerror}",
            hint="look from a machine that sees the storage",
        ) from None
    show(options, {"schemaVersion": 1, **report}, clean(trials_text(options, report, top)))
    model = next((one for one in view.artefacts if one.type == "model"), None)
    if model is not None:
        next_is(f"aios models show {model.name}@{model.version}")


def trials_text(options: Options, report: dict[str, Any], top: int) -> str:
    """Return the table: rank, outcome, score and the values of what was varied."""
    sign = 1.0 if report["mode"] == "min" else -1.0
    trials = sorted(report["trials"], key=lambda one: (one["score"] is None, sign * (one["score"] or 0.0)))
    names = list(dict.fromkeys(name for one in trials for name in one["config"]))
    rows = [
        ["*" if one["name"] == report["best"] else None, one["name"], one["status"], one["epochs"],
         None if one["score"] is None else f"{one['score']:.4f}", *(_value(one["config"].get(name)) for name in names),
         one["error"] or None]
        for one in trials[:top]
    ]  # fmt: skip
    head = ["BEST", "TRIAL", "STATUS", "EPOCHS", report["metric"].upper(), *(name.upper() for name in names), "WHY"]
    if not any(one["error"] for one in trials[:top]):
        head, rows = head[:-1], [row[:-1] for row in rows]
    rest = f"\n{len(trials) - top} more: --top {len(trials)}" if len(trials) > top else ""
    return f"{table(options, head, rows)}{rest}"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
