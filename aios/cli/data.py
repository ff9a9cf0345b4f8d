"""``aios data``: versions of datasets and their rows. ``REF`` is NAME, NAME@7, NAME@tag, NAME@branch or NAME@moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.erasing import erase_command, gc_command
from aios.cli.naming import short_of, user
from aios.cli.options import Options, common
from aios.cli.output import listed, next_is, note, show, table
from aios.cli.rerunning import rerun_command
from aios.cli.tracing import lineage_text
from aios.errors import Rejected
from aios.tables import tables

if TYPE_CHECKING:
    from aios.views import ArtefactView

where_option = click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only such rows; also !=, <, <=, >, >=. Several: all hold."
)


@click.group("data")
def data_command() -> None:
    """Dataset versions: what there is, what is in them, what changed, where it came from."""


for command in (rerun_command, gc_command, erase_command):
    data_command.add_command(command)


@data_command.command("list")
@common
@click.pass_obj
def list_datasets(options: Options) -> None:
    """Datasets, each with its newest version."""
    with options.client() as client:
        views = [view for view in client.datasets() if not view.removed]
    newest = {view.name: view for view in views}
    counts = {name: sum(view.name == name for view in views) for name in newest}
    rows = [
        [v.name, v.version, counts[v.name], _rows(v), v.tags, _when(v), v.workload or v.by] for v in newest.values()
    ]
    head = ["NAME", "NEWEST", "VERSIONS", "ROWS", "TAGS", "PUBLISHED", "MADE BY"]
    show(options, listed("artefacts", views), table(options, head, rows) if rows else "")
    if not rows:
        note("none yet")
    else:
        next_is(f"aios data versions {next(iter(newest))}")


@data_command.command("versions")
@click.argument("name")
@common
@click.pass_obj
def versions(options: Options, name: str) -> None:
    """Every version of a dataset and of its branches, oldest first."""
    with options.client() as client:
        client.catalogue.version(name)
        views = [view for view in client.datasets() if view.name.partition("@")[0] == name.partition("@")[0]]
    rows = [
        [short_of(v), _rows(v), v.meta.get("mode"), v.tags, _when(v), v.workload or v.by or "by hand", v.inputs,
         "gone" if v.removed else None]
        for v in views
    ]  # fmt: skip
    head = ["VERSION", "ROWS", "MODE", "TAGS", "PUBLISHED", "MADE BY", "FROM", "STATE"]
    show(options, listed("artefacts", views), table(options, head, rows))
    if there := [view for view in views if not view.removed]:
        next_is(f"aios data show {short_of(there[-1])}")


@data_command.command("show")
@click.argument("ref")
@click.option("--statistics", is_flag=True, help="Read the rows: nulls, range, mean, spread of each column.")
@common
@click.pass_obj
def show_version(options: Options, ref: str, statistics: bool) -> None:
    """One version: what it holds, what it was made from, by whom, under which hash."""
    with options.client() as client:
        view = client.catalogue.version(ref)
    meta = view.meta
    made = meta.get("made") or {}
    facts = {
        "version": view.reference, "rows": _rows(view), "tags": view.tags, "published": _when(view),
        "made by": f"{view.workload}, attempt {view.attempt}" if view.workload else view.by or "by hand",
        "tenant": made.get("tenant"), "mode": meta.get("mode"), "built on": view.origin, "from": view.inputs,
        "source": _compact(meta.get("source")), "target": meta.get("target"), "task": meta.get("task"),
        "code": made.get("code"), "where": view.uri, "content": view.digest,
        "quarantine": _compact(meta.get("quarantine")),
    }  # fmt: skip
    columns = meta.get("schema") or {}
    found: dict[str, dict[str, Any]] = {name: {"type": type_} for name, type_ in columns.items()}
    if statistics:
        found = tables().columns(view.uri)
    text = "\n".join(f"{name:<10} {_text(value)}" for name, value in facts.items() if value not in (None, "", (), {}))
    head = ["COLUMN", *dict.fromkeys(key.upper() for one in found.values() for key in one)]
    body = [[name, *(one.get(key.lower()) for key in head[1:])] for name, one in found.items()]
    data = {"schemaVersion": 1, **listed("artefacts", [view])["artefacts"][0]}
    show(options, data | ({"statistics": found} if statistics else {}), f"{text}\n\n{table(options, head, body)}")
    next_is(f"aios data sample {short_of(view)}")


@data_command.command("diff")
@click.argument("before")
@click.argument("after")
@common
@click.pass_obj
def diff(options: Options, before: str, after: str) -> None:
    """What changed between two versions: columns, rows, statistics, and drift per column."""
    with options.client() as client:
        one, two = client.catalogue.version(before), client.catalogue.version(after)
    found = tables().diff(one.uri, two.uri)
    changed = found["columns"]
    lines = [f"rows     {found['rows'][0]:,} -> {found['rows'][1]:,} ({found['rows'][1] - found['rows'][0]:+,})"]
    lines += [f"added    {', '.join(changed['added'])}"] if changed["added"] else []
    lines += [f"removed  {', '.join(changed['removed'])}"] if changed["removed"] else []
    lines += [f"type     {name}: {old} -> {new}" for name, (old, new) in changed["changed"].items()]
    if one.digest and one.digest == two.digest:
        lines.append("content  the same rows and columns")
    body = []
    for name, pair in found["statistics"].items():
        moved = found["drift"].get(name) or {}
        old, new = pair["before"], pair["after"]
        body.append([
            name, *(_arrow(old.get(key), new.get(key)) for key in ("nulls", "min", "max", "mean", "std")),
            moved.get("psi"), moved.get("verdict"),
        ])  # fmt: skip
    head = ["COLUMN", "NULLS", "MIN", "MAX", "MEAN", "STD", "DRIFT", "VERDICT"]
    data = {"schemaVersion": 1, "before": one.reference, "after": two.reference, **found}
    show(options, data, "\n".join([*lines, "", table(options, head, body)]))


@data_command.command("tag")
@click.argument("ref")
@click.argument("tag")
@click.option("--delete", is_flag=True, help="Take the tag away; the version stays.")
@common
@click.pass_obj
def tag(options: Options, ref: str, tag: str, delete: bool) -> None:
    """Give a version a name, or move the name there."""
    with options.client() as client:
        do = client.catalogue.untag if delete else client.catalogue.tag
        view = do(ref, tag, by=user())
    show(options, view, f"{tag} is gone" if delete else f"{tag} is {view.reference} now")


@data_command.command("rollback")
@click.argument("ref")
@common
@click.pass_obj
def rollback(options: Options, ref: str) -> None:
    """Publish an earlier version again as the newest; nothing in between is lost."""
    with options.client() as client:
        view = client.catalogue.rollback(ref, by=user())
    show(options, view, f"{view.reference} has the rows of {', '.join(view.inputs)}")
    next_is(f"aios data versions {view.name}")


@data_command.command("publish")
@click.argument("branch", metavar="NAME@BRANCH")
@common
@click.pass_obj
def publish(options: Options, branch: str) -> None:
    """Publish a branch's newest version under the dataset's own name, once it has been checked."""
    with options.client() as client:
        view = client.catalogue.publish_branch(branch, by=user())
    show(options, view, f"{view.reference} is {', '.join(view.inputs)}")


@data_command.command("sample")
@click.argument("ref")
@click.option("-n", "--rows", type=click.IntRange(1, 1000), default=10, help="How many rows.")
@click.option("--seed", type=int, default=0, help="Another number gives other rows.")
@where_option
@common
@click.pass_obj
def sample(options: Options, ref: str, rows: int, seed: int, where: tuple[str, ...]) -> None:
    """Rows by chance, the same ones for the same seed."""
    with options.client() as client:
        view = client.catalogue.version(ref)
    found = tables().sample(view.uri, rows, seed, where)
    names = list(found[0]) if found else []
    body = [[_cell(row[name]) for name in names] for row in found]
    data = {"schemaVersion": 1, "version": view.reference, "rows": found}
    show(options, data, table(options, names, body) if found else "")
    if not found:
        note("no row matches")


@data_command.command("profile")
@click.argument("ref")
@click.option("--to", type=click.Path(path_type=Path), help="The page; the default is NAME-VERSION.html here.")
@common
@click.pass_obj
def profile(options: Options, ref: str, to: Path | None) -> None:
    """Write a page with distributions, missing values, correlations and examples."""
    with options.client() as client:
        view = client.catalogue.version(ref)
    path = to or Path(f"{view.name.replace('@', '-')}-{view.version}.html")
    tables().profile(view.uri, path, view.reference)
    show(options, {"schemaVersion": 1, "version": view.reference, "path": str(path)}, str(path))


@data_command.command("export")
@click.argument("ref")
@click.argument("path", type=click.Path(path_type=Path))
@where_option
@common
@click.pass_obj
def export(options: Options, ref: str, path: Path, where: tuple[str, ...]) -> None:
    """Write the rows to a .parquet, .csv or .jsonl file."""
    with options.client() as client:
        view = client.catalogue.version(ref)
    n = tables().export(view.uri, path, where)
    data = {"schemaVersion": 1, "version": view.reference, "path": str(path), "rows": n}
    show(options, data, f"{path}: {n:,} rows of {view.reference}")


@data_command.command("verify")
@click.argument("ref")
@common
@click.pass_obj
def verify(options: Options, ref: str) -> None:
    """Compute the content hash again from the rows, and compare it with the recorded one."""
    with options.client() as client:
        view = client.catalogue.version(ref)
    found = tables().verify(view.uri, view.digest)
    text = "the rows are as they were published" if found["same"] else "THE ROWS ARE NOT AS THEY WERE PUBLISHED"
    show(
        options,
        {"schemaVersion": 1, "version": view.reference, **found},
        f"{view.reference}: {text} ({found['actual']})",
    )
    if not found["same"]:
        raise Rejected(
            f"{view.reference} was published as {found['recorded']} and is {found['actual']}",
            hint=f"somebody wrote into {view.uri} by other means: restore it, or roll back to another version",
        )


@data_command.command("lineage")
@click.argument("ref")
@common
@click.pass_obj
def lineage(options: Options, ref: str) -> None:
    """Back to the sources, and forward to every model, report and endpoint."""
    with options.client() as client:
        view = client.catalogue.lineage(ref)
    show(options, view, lineage_text(view))


def _rows(view: ArtefactView) -> str:
    total = view.meta.get("total_rows")
    rows = view.meta.get("rows")
    parts = ", ".join(f"{n:,} {side}" for side, n in rows.items() if side != "all") if isinstance(rows, dict) else ""
    if total is None:
        return parts
    return f"{total:,} ({parts})" if parts else f"{total:,}"


def _when(view: ArtefactView) -> str:
    return datetime.fromtimestamp(view.at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _arrow(old: Any, new: Any) -> str:
    return _cell(new) if old == new else f"{_cell(old)} -> {_cell(new)}"


def _cell(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else "-" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True) if value else ""
