"""The command that shows who used what."""

from __future__ import annotations

import csv
import sys
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
@click.option("--since", help="How far back: 7d, 12h, 30m; by default from the beginning.")
@click.option("--csv", "file", type=click.Path(dir_okay=False), help="Write the lines into a file, - for stdout.")
@common
@click.pass_obj
def usage_command(options: Options, by: str, since: str | None, file: str | None) -> None:
    """Resource-hours asked, granted, used and wasted by preemption and failure, from the log."""
    from aios.spec import seconds

    try:
        back_s = None if since is None else seconds(since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from None
    with options.client() as client:
        since_s = None if back_s is None else client.status().now_s - back_s
        view = client.usage(by, since_s)
    if file is not None:
        _write(file, view)
    else:
        show(options, view, _table(options, view))
        if not view.lines:
            note("nothing ran in this time")


def _rows(view: UsageView) -> list[list[Any]]:
    """Return one row for each line and resource."""
    rows = []
    for line in view.lines:
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
    rows = [[*row[:4], *(f"{amount:.2f}" for amount in row[4:])] for row in _rows(view)]
    return table(options, head, rows) if rows else ""


def _write(file: str, view: UsageView) -> None:
    head = [view.by, "workloads", "attempts", "resource", *_PARTS]
    rows = [[*row[:4], *(f"{amount:.6f}" for amount in row[4:])] for row in _rows(view)]
    if file == "-":
        csv.writer(sys.stdout).writerows([head, *rows])
        return
    try:
        with Path(file).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([head, *rows])
    except OSError as error:
        raise click.FileError(file, error.strerror or str(error)) from None
    note(f"wrote {len(rows)} lines to {file}")
