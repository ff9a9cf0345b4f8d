"""Following workloads on a terminal: logs on stdout, states on stderr; Ctrl-C lets them go on."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from aios.cli.options import Options
from aios.cli.output import clean, next_is, note
from aios.client import Client
from aios.follow import Follower, exit_code
from aios.views import SCHEMA_VERSION, WorkloadView, to_json

INTERRUPTED = 130
_OURS = range(100, 128)


def follow(client: Client, ids: Sequence[str], options: Options) -> int:
    """Show what workloads do until all are settled; returns the exit code that they give."""
    try:
        follower = Follower(client, ids)
        for line in follower.lines():
            if line.log and not options.structured:
                click.echo(clean(line.text))
            else:
                note(line.text)
    except KeyboardInterrupt:
        detached(ids)
        return INTERRUPTED
    if options.output == "json":
        views = [to_json(view) for view in follower.workloads]
        click.echo(json.dumps({"schemaVersion": SCHEMA_VERSION, "workloads": views}, indent=2))
    return conclude(follower.workloads, options, told=True)


def detached(ids: Sequence[str]) -> None:
    """Say that workloads go on without us."""
    what = ", ".join(ids)
    note(f"\ndetached: {what} {'goes' if len(ids) == 1 else 'go'} on")
    next_is(f"aios logs -f {ids[0]}, or: aios stop {ids[0]}" if len(ids) == 1 else f"aios ps, or: aios stop {ids[0]}")


def conclude(views: Sequence[WorkloadView], options: Options, told: bool = False) -> int:
    """Say how workloads ended (where that was not ``told`` already), their own errors first; returns the exit code."""
    for view in views:
        if view.status == "FAILED" and not told:
            note(f"{view.id} FAILED: {view.error or view.message or view.reason}")
        if view.status == "FAILED" and options.verbose and view.detail:
            note(view.detail)
        if told:
            continue
        if view.status == "STOPPED":
            note(f"{view.id} STOPPED: {view.message or view.reason}")
        elif view.ready and view.url:
            note(f"{view.id} is READY at {view.url}")
    code = exit_code(views)
    own = next((view.exit_code for view in views if view.status == "FAILED" and view.exit_code), None)
    if own is not None and own == code and code in _OURS:
        note(f"note: {code} is the workload's own exit code, not one of aios'; -o json tells them apart")
    chosen = next((view for view in views if view.status == "FAILED"), views[-1] if views else None)
    next_is(chosen.next if chosen else "")
    return code
