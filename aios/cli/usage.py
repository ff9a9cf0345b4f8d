"""The command that shows who used what."""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.options import Options, common
from aios.cli.output import note, show, table

if TYPE_CHECKING:
    from aios.views import UsageView

_PARTS = ("asked", "granted", "used", "wasted_by_preemption", "wasted_by_failure")
_GIB = 2.0**30


@click.command("usage")
@click.option("--by", default="tenant", show_default=True, help="tenant, user, accelerator, kind or workload.")
@click.option("--since", help="How far back (7d, 12h), or a moment (2026-11-01, 2026-11-01T08:00Z).")
@click.option("--until", help="The same; by default now.")
@click.option("--csv", "file", type=click.Path(dir_okay=False), help="Write the lines into a file, - for stdout.")
@common
@click.pass_obj
def usage_command(options: Options, by: str, since: str | None, until: str | None, file: str | None) -> None:
    """Resource-hours asked, granted, used and wasted by preemption and failure, from the log."""
    with options.client() as client:
        now_s = client.status().now_s if since or until else 0.0
        since_s, until_s = _moment(since, now_s, "--since"), _moment(until, now_s, "--until")
        if since_s is not None and until_s is not None and since_s >= until_s:
            raise click.UsageError(f"--since {since} is not before --until {until}")
        view = client.usage(by, since_s, until_s)
    if file is not None:
        _write(file, view)
    else:
        show(options, view, _table(options, view))
        if not view.lines:
            note("nothing ran in this time")


def _moment(text: str | None, now_s: float, option: str) -> float | None:
    """Return a moment that was written as a time ago, or as a date with or without a time (UTC unless it says)."""
    from aios.spec import seconds

    if text is None:
        return None
    try:
        return now_s - seconds(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is neither a time ago (7d, 12h, 30m) nor a date (2026-11-01, 2026-11-01T08:00Z)"
        raise click.BadParameter(message, param_hint=option) from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _rows(view: UsageView, totals: bool) -> list[list[Any]]:
    """Return one row for each line and resource, and the totals where there are several lines."""
    rows = []
    for line in (*view.lines, *((view.total,) if totals and len(view.lines) > 1 else ())):
        parts = [getattr(line, part) for part in _PARTS]
        for name in sorted({name for part in parts for name in part}, key=_rank):
            unit = _GIB if "memory" in name else 1.0
            amounts = [part.get(name, 0.0) / unit for part in parts]
            label = f"{name} GiB-h" if "memory" in name else f"{name}-h"
            rows.append([line.name, line.workloads, line.attempts, label, *amounts])
    return rows


def _rank(name: str) -> tuple[int, str]:
    return {"GPU": 0, "CPU": 1}.get(name, 2), name


def _table(options: Options, view: UsageView) -> str:
    head = [view.by.upper(), "WORKLOADS", "TRIES", "RESOURCE", "ASKED", "GRANTED", "USED", "PREEMPTED", "FAILED"]
    rows = [[*row[:4], *map(_short, row[4:])] for row in _rows(view, totals=True)]
    return table(options, head, rows) if rows else ""


def _short(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 1 or not amount else f"{amount:.4f}"


def _write(file: str, view: UsageView) -> None:
    head = [view.by, "workloads", "attempts", "resource", *_PARTS]
    rows = [[*row[:4], *(f"{amount:.6f}" for amount in row[4:])] for row in _rows(view, totals=False)]
    if file == "-":
        csv.writer(sys.stdout).writerows([head, *rows])
        return
    try:
        with Path(file).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([head, *rows])
    except OSError as error:
        raise click.FileError(file, error.strerror or str(error)) from None
    note(f"wrote {len(rows)} lines to {file}")
