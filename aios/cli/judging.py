"""``aios models report`` and ``aios explain-prediction``: how a version was judged, and what made it answer so."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.naming import short_of
from aios.cli.options import Options, common
from aios.cli.output import clean, next_is, show, table
from aios.errors import InvalidSpec, NotFound

if TYPE_CHECKING:
    from aios.views import ArtefactView

MOST = 12


@click.command("report")
@click.argument("ref")
@click.option("--name", help="Of the evaluation of this name; by default the latest of any.")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Copy the page (HTML) to this file.")
@click.option("--all", "every", is_flag=True, help="List all reports of the version.")
@common
@click.pass_obj
def report_command(options: Options, ref: str, name: str | None, to: Path | None, every: bool) -> None:
    """How a version was judged: metrics with intervals, gates, slices, and the page with plots."""
    with options.client() as client:
        view = client.catalogue.version(ref, "model")
        reports = client.catalogue.reports(view.name)
    found = [one for one in reports if one.meta.get("model") == view.reference and "scores" in one.meta]  # evaluations
    named = [one for one in found if name in (None, one.name)]
    if not named:
        there = f"its reports are of {', '.join(sorted({one.name for one in found}))}" if found else "it has none"
        raise NotFound(
            f"{view.reference} has no report{f' of {name}' if name else ''}: {there}",
            hint=f"submit kind: evaluate with inputs: {{model: {view.reference}, data: dataset://NAME}}",
        )
    if every:
        rows = [[one.name, one.workload, one.meta.get("data"), _verdict(one), one.uri] for one in named]
        head = ["EVALUATION", "WORKLOAD", "DATA", "GATES", "REPORT"]
        return show(
            options, {"schemaVersion": 1, "reports": [_plain(one) for one in named]}, table(options, head, rows)
        )
    chosen = named[-1]
    path = Path(chosen.uri)
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(
            f"the report {path} cannot be read: {error.strerror}", hint="look from a machine that sees the storage"
        ) from None
    page = path.with_name(str(chosen.meta.get("page", "")))
    if to is not None:
        if not page.is_file():
            raise NotFound(
                f"{chosen.workload} left no page: it was made by an earlier version", hint="evaluate it again"
            )
        shutil.copyfile(page, to)
    show(options, {"schemaVersion": 1, **report}, clean("\n".join(_lines(options, report))))
    if to is not None or page.is_file():
        next_is(f"open {to or page}")


def _lines(options: Options, report: dict[str, Any]) -> list[str]:
    """Return what a person wants to know first: which gate held, and the metrics."""
    against = f" against {report['baseline']}" if report.get("baseline") else ""
    lines = [f"{report['model']} on {report['rows']:,} rows of {report['data']}{against}", ""]
    if report.get("format", 1) < 2:
        rows = [[name, f"{value:.4f}"] for name, value in report["scores"].items() if isinstance(value, float)]
        return [*lines, table(options, ["METRIC", "VALUE"], rows)]
    if report["gates"]:
        rows = [
            [one["metric"], one["slice"] or "all rows", one["asks"], "held" if one["held"] else "MISSED", one["why"]]
            for one in report["gates"]
        ]
        lines += [table(options, ["GATE", "ON", "ASKS", "", "BECAUSE"], rows), ""]
    level = f"{report['intervals']['confidence']:.0%} INTERVAL"
    rows = []
    for name in report["shown"]:
        one, other = report["scores"].get(name), report["differences"].get(name)
        if one is not None:
            ends = f"{one['low']:.4f} to {one['high']:.4f}" if "low" in one else None
            change = None if other is None else f"{other['value']:+.4f}"
            rows.append([name, f"{one['value']:.4f}", ends, change])
    head = ["METRIC", "VALUE", level, "AGAINST THE BASELINE"]
    if not report["differences"]:
        head, rows = head[:-1], [row[:-1] for row in rows]
    lines.append(table(options, head, rows))
    slices = [one for one in report["slices"] if one["rows"]]
    if slices:
        first = [name for name in report["shown"] if name in report["scores"]][:4]
        rows = [[one["slice"], one["rows"], *(_value(one["scores"].get(name)) for name in first)] for one in slices]
        lines += ["", table(options, ["SLICE", "ROWS", *(name.upper() for name in first)], rows)]
    if report.get("attributions"):
        features = report["attributions"]["features"][:MOST]
        rows = [[one["feature"], f"{one['mean_absolute']:.4f}", f"{one['mean']:+.4f}"] for one in features]
        lines += ["", table(options, ["GOES BY", "MEAN SIZE", "MEAN"], rows)]
    return lines


@click.command("explain-prediction")
@click.argument("ref", metavar="MODEL")
@click.option("--row", help="A file with one row as JSON: an object by column, or a list of features; - reads stdin.")
@click.option("--data", "data_ref", help="A dataset version (NAME@V) that has the row.")
@click.option("--index", type=click.IntRange(min=0), help="Which row of --data, from 0.")
@click.option("--side", type=click.Choice(["train", "test", "all"]), default="all", show_default=True)
@click.option("--class", "of", help="Explain this class; by default the likeliest one.")
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many features to show.")
@common
@click.pass_obj
def explain_prediction_command(
    options: Options, ref: str, row: str | None, data_ref: str | None, index: int | None, side: str, of: str | None,
    top: int,
) -> None:  # fmt: skip
    """Which features made a model answer so for one row, and by how much.

    Give --row FILE, or --data NAME@V with --index N.
    """
    if (row is None) == (data_ref is None) or (data_ref is None) != (index is None):
        raise InvalidSpec("give --row FILE, or --data NAME@V with --index N", hint="aios explain-prediction --help")
    from aios.cli.models import verified_version
    from aios.tools import model_tools

    given = None if row is None else _row(row)
    with options.client() as client:
        view = client.catalogue.version(ref, "model")
        verified_version(client, view)
        data = None if data_ref is None else client.catalogue.version(data_ref)
    tools = model_tools()
    at = None if data is None or index is None else (data.uri, index, None if side == "all" else side)
    found = tools.explain(view.uri, given, at, of)
    what = f"{found['target']} = {found['prediction']}"
    of_class = f", probability of {found['of']} {found['output']:.4f}" if found["of"] else ""
    lines = [
        f"{short_of(view)}: {what}{of_class}",
        f"seen from {found['usual_row']}, where it is {found['usual']:.4f} ({found['method']})", "",
    ]  # fmt: skip
    shown = found["features"][:top]
    rows = [[one["feature"], _number(one["value"]), f"{one['attribution']:+.4f}"] for one in shown]
    rest = sum(one["attribution"] for one in found["features"][top:])
    if len(found["features"]) > top:
        rows.append([f"{len(found['features']) - top} others", None, f"{rest:+.4f}"])
    rows.append(["together", None, f"{found['sum']:+.4f}"])
    lines.append(table(options, ["FEATURE", "VALUE", "EFFECT"], rows))
    show(options, {"schemaVersion": 1, "model": view.reference, **found}, clean("\n".join(lines)))


def _row(path: str) -> Any:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise InvalidSpec(f"{path} cannot be read: {error.strerror}", hint="--row FILE, or --row - for stdin") from None
    except ValueError as error:
        raise InvalidSpec(f"{path} is no JSON: {error}", hint='write {"column": 1.5, ...} or [1.5, ...]') from None


def _verdict(view: ArtefactView) -> str:
    missed = view.meta.get("missed") or []
    return f"{len(missed)} missed" if missed else "held"


def _plain(view: ArtefactView) -> dict[str, Any]:
    return {"name": view.name, "workload": view.workload, "uri": view.uri, **view.meta}


def _value(one: dict[str, float] | None) -> str | None:
    return None if one is None else f"{one['value']:.4f}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
