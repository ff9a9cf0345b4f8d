"""How things are shown: data on stdout as table, JSON or YAML; notes, errors and the next command on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from aios.cli.options import Options
from aios.errors import AiosError
from aios.views import SCHEMA_VERSION, PlanView, WorkloadView, to_json

_COLORS = {
    "RUNNING": "green", "READY": "green", "SUCCEEDED": "cyan", "FAILED": "red", "STOPPED": "magenta",
    "PREEMPTED": "yellow", "QUEUED": "yellow", "STARTING": "blue", "STOPPING": "magenta",
}  # fmt: skip
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def show(options: Options, view: Any, table: str) -> None:
    """Print a view: as JSON or YAML whole, or the table that was made of it."""
    if options.output == "json":
        click.echo(json.dumps(to_json(view), indent=2))
    elif options.output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(to_json(view), sort_keys=False, allow_unicode=True), nl=False)
    elif table:
        click.echo(table)


def listed(key: str, views: Sequence[Any]) -> dict[str, Any]:
    """Return a list as it is shown to programs."""
    return {"schemaVersion": SCHEMA_VERSION, key: [to_json(view) for view in views]}


def table(options: Options, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return aligned columns; nothing is ever cut off. On a terminal, words of state have their colour."""
    cells = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(head), *cells]) for i in range(len(head))]
    colored = options.color and sys.stdout.isatty()
    lines = [_line(head, widths)]
    if colored:
        lines[0] = click.style(lines[0], bold=True)
    for row in cells:
        line = _line(row, widths)
        status = next((cell for cell in row if cell in _COLORS), None) if colored else None
        if status is not None:
            line = line.replace(status, click.style(status, fg=_COLORS[status]), 1)
        lines.append(line)
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _plain(cell: Any) -> str:
    if cell is None or cell == "":
        return "-"
    if isinstance(cell, float):
        return f"{cell:g}"
    if isinstance(cell, Mapping):
        return amounts(cell)
    if isinstance(cell, (list, tuple)):
        return ",".join(dict.fromkeys(map(str, cell))) or "-"
    return " ".join(clean(str(cell)).split())


def clean(text: str) -> str:
    """Return text without colours and control characters, which a workload could use to play with the terminal."""
    return "".join(char if char >= " " or char in "\n\t" else "�" for char in _COLOR.sub("", text))


def amounts(mapping: Mapping[str, Any]) -> str:
    return ", ".join(f"{value} {name}" for name, value in mapping.items()) or "-"


def seconds(value: float | None) -> str:
    """Return a duration as people read it."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"


def solved_in(plan: PlanView) -> str:
    """Return how long a plan took to make."""
    return f"{plan.wall_s * 1000:.0f} ms" if plan.wall_s < 1 else seconds(plan.wall_s)


def terms_table(options: Options, plan: PlanView) -> str:
    """Return a plan's terms, the most important first, with what each counts."""
    from placement.weights import TERMS

    units = {term.name: term.unit for term in TERMS}
    rows = [[name, f"{value + 0.0:g}", units.get(name)] for name, value in plan.terms.items()]
    return table(options, ["TERM", "VALUE", "WHICH COUNTS"], rows)


def status_of(view: WorkloadView) -> str:
    return "READY" if view.ready and view.status == "RUNNING" else view.status


def workload_table(options: Options, views: Sequence[WorkloadView]) -> str:
    if not views:
        return ""
    head = ["ID", "TENANT", "PRIO", "STATUS", "NODES", "WAITED", "RAN", "TRIES", "WHY"]
    rows = [
        [v.id, v.tenant, v.priority, status_of(v), v.actual_nodes or v.planned_nodes, seconds(v.waited_s),
         seconds(v.ran_s), len(v.attempts), _why(v)]
        for v in views
    ]  # fmt: skip
    if options.output == "wide":
        head += ["KIND", "PIPELINE", "PLANNED", "ACTUAL", "ASKS FOR", "EXIT", "NEXT"]
        for row, v in zip(rows, views, strict=True):
            row += [v.kind, v.pipeline, v.planned_nodes, v.actual_nodes, v.demand, v.exit_code, v.next]
    return table(options, head, rows)


def _why(view: WorkloadView) -> str:
    text = view.error or view.message
    if view.status == "RUNNING" and view.url:
        return view.url
    return f"{view.reason}: {text}" if view.reason and text else view.reason or text


def note(text: str) -> None:
    """Print what is no data."""
    click.echo(clean(text), err=True)


def next_is(command: str) -> None:
    """Name the next useful command."""
    if command:
        note(f"next: {command}")


def show_error(error: AiosError, options: Options) -> None:
    """Print an error: what and where first, then how to mend it."""
    lines = clean(error.message).splitlines() or [type(error).__name__]
    for line in lines:
        click.echo(f"{click.style('error', fg='red') if options.color and sys.stderr.isatty() else 'error'}: {line}",
                   err=True)  # fmt: skip
    if error.hint:
        note(f"hint: {error.hint}")
    if options.verbose:
        note(f"code: {error.code}")
