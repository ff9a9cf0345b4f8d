"""``aios data``: versions of datasets and their rows. ``REF`` is NAME, NAME@7, NAME@tag, NAME@branch or NAME@moment."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.options import Options, common
from aios.cli.output import listed, next_is, note, show, table
from aios.cli.tracing import lineage_text
from aios.errors import Rejected

if TYPE_CHECKING:
    from aios.catalogue import Catalogue
    from aios.views import ArtefactView

where_option = click.option(
    "--where", multiple=True, metavar="COLUMN=VALUE", help="Only such rows; also !=, <, <=, >, >=. Several: all hold."
)


@click.group("data")
def data_command() -> None:
    """Dataset versions: what there is, what is in them, what changed, where it came from."""


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
        [_short(v), _rows(v), v.meta.get("mode"), v.tags, _when(v), v.workload or v.by or "by hand", v.inputs,
         "gone" if v.removed else None]
        for v in views
    ]  # fmt: skip
    head = ["VERSION", "ROWS", "MODE", "TAGS", "PUBLISHED", "MADE BY", "FROM", "STATE"]
    show(options, listed("artefacts", views), table(options, head, rows))
    next_is(f"aios data show {_short(views[-1])}")


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
        found = _tables().columns(view.uri)
    text = "\n".join(f"{name:<10} {_text(value)}" for name, value in facts.items() if value not in (None, "", (), {}))
    head = ["COLUMN", *dict.fromkeys(key.upper() for one in found.values() for key in one)]
    body = [[name, *(one.get(key.lower()) for key in head[1:])] for name, one in found.items()]
    data = {"schemaVersion": 1, **listed("artefacts", [view])["artefacts"][0]}
    show(options, data | ({"statistics": found} if statistics else {}), f"{text}\n\n{table(options, head, body)}")
    next_is(f"aios data sample {_short(view)}")


@data_command.command("diff")
@click.argument("before")
@click.argument("after")
@common
@click.pass_obj
def diff(options: Options, before: str, after: str) -> None:
    """What changed between two versions: columns, rows, statistics, and drift per column."""
    with options.client() as client:
        one, two = client.catalogue.version(before), client.catalogue.version(after)
    found = _tables().diff(one.uri, two.uri)
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
        view = do(ref, tag, by=_user())
    show(options, view, f"{tag} is gone" if delete else f"{tag} is {view.reference} now")


@data_command.command("rollback")
@click.argument("ref")
@common
@click.pass_obj
def rollback(options: Options, ref: str) -> None:
    """Publish an earlier version again as the newest; nothing in between is lost."""
    with options.client() as client:
        view = client.catalogue.rollback(ref, by=_user())
    show(options, view, f"{view.reference} has the rows of {', '.join(view.inputs)}")
    next_is(f"aios data versions {view.name}")


@data_command.command("publish")
@click.argument("branch", metavar="NAME@BRANCH")
@common
@click.pass_obj
def publish(options: Options, branch: str) -> None:
    """Publish a branch's newest version under the dataset's own name, once it has been checked."""
    with options.client() as client:
        view = client.catalogue.publish_branch(branch, by=_user())
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
    found = _tables().sample(view.uri, rows, seed, where)
    names = list(found[0]) if found else []
    body = [[_cell(row[name]) for name in names] for row in found]
    data = {"schemaVersion": 1, "version": view.reference, "rows": found}
    show(options, data, table(options, names, body) if found else "")
    if not found:
        note("no row matches")


@data_command.command("profile")
@click.argument("ref")
@click.option("-o", "--to", type=click.Path(path_type=Path), help="The page; the default is NAME-VERSION.html here.")
@common
@click.pass_obj
def profile(options: Options, ref: str, to: Path | None) -> None:
    """Write a page with distributions, missing values, correlations and examples."""
    with options.client() as client:
        view = client.catalogue.version(ref)
    path = to or Path(f"{view.name.replace('@', '-')}-{view.version}.html")
    _tables().profile(view.uri, path, view.reference)
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
    n = _tables().export(view.uri, path, where)
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
    found = _tables().verify(view.uri, view.digest)
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


@data_command.command("gc")
@click.argument("name")
@click.option("--keep", type=click.IntRange(1), default=10, show_default=True, help="The newest versions to keep.")
@click.option("--older-than", default="0s", help="Only versions older than that (30d).")
@click.option("--apply", is_flag=True, help="Do it; without this it is only said what would go.")
@common
@click.pass_obj
def gc(options: Options, name: str, keep: int, older_than: str, apply: bool) -> None:
    """Take old versions out of use and their bytes away; tagged ones and those that work reads stay."""
    from aios.spec import seconds

    try:
        age_s = seconds(older_than)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--older-than") from None
    with options.client() as client:
        own, gone, result = _collect(client, name, keep, age_s, "retention" if apply else None)
    text = ", ".join(f"{name}@{v}" for v in gone) or "no version"
    did = "are gone" if apply else "would go (add --apply)"
    freed = f"; {result['bytes']:,} bytes freed" if result.get("bytes") else ""
    data = {"schemaVersion": 1, "name": name, "versions": gone, "applied": apply, **result}
    show(options, data, f"{text} {did}{freed}; {len(own) - len(gone)} versions stay")


@data_command.command("erase")
@click.argument("name")
@click.option("--where", multiple=True, required=True, metavar="COLUMN=VALUE", help="Which rows; several: all hold.")
@click.option("--past", is_flag=True, help="Past versions too: they are taken out of use and their bytes go.")
@click.option("--show-gone", metavar="TEXT", help="Search every file of the table for this text afterwards.")
@common
@click.pass_obj
def erase(options: Options, name: str, where: tuple[str, ...], past: bool, show_gone: str | None) -> None:
    """Erase a subject's rows: a new version without them, and with --past every byte of them."""
    with options.client() as client:
        catalogue = client.catalogue
        view = catalogue.version(name)
        done = _tables().erase(view.uri, where, _user())
        if done["rows"]:
            fields = {"name": view.name, "uri": done["uri"], "digest": done["digest"], "meta": done["meta"]}
            made = catalogue.publish({**fields, "origin": view.reference, "inputs": [view.reference]}, by=_user())
            note(f"{made.reference} has {done['rows']:,} rows less")
        else:
            made = view
            note(f"{view.reference} has no such row")
        gone: list[int] = []
        kept: list[str] = []
        result: dict[str, Any] = {}
        if past:
            own, gone, result = _collect(client, name, 1, 0.0, f"erasure: {', '.join(where)}")
            base = {view.name.partition("@")[0] for view in own}
            others = [v for v in client.datasets() if v.name.partition("@")[0] in base and not v.removed]
            kept = [_short(v) for v in others if v.name != name]
    found = _tables().find_text(made.uri, show_gone) if show_gone else None
    data = {
        "schemaVersion": 1,
        "version": made.reference,
        "rows": done["rows"],
        "removed": gone,
        **result,
        "found": found,
    }
    lines = [f"{made.reference}: {done['rows']:,} rows erased"]
    lines += [f"out of use: {', '.join(f'{name}@{v}' for v in gone)}"] if gone else []
    if found is not None:
        lines.append(f"still in: {', '.join(found)}" if found else f"{show_gone!r} is in no file of the table")
    show(options, data, "\n".join(lines))
    if not past:
        note("earlier versions still hold the rows: add --past to take them away")
    elif kept:
        note(f"not touched: {', '.join(kept)}; a branch or a version of a branch is erased by its own name")
    if found:
        raise Rejected(
            f"{show_gone!r} is still on disk", hint="a tag, a branch or running work keeps a version that holds it"
        )


def _collect(
    client: Any, name: str, keep: int, age_s: float, why: str | None
) -> tuple[list[ArtefactView], list[int], dict[str, Any]]:
    """Take versions out of use (where ``why`` says so) and then their bytes; returns all, those gone, and what went."""
    catalogue: Catalogue = client.catalogue
    views = [view for view in client.datasets() if view.name.partition("@")[0] == name.partition("@")[0]]
    if not views:
        catalogue.version(name)  # which says what there is
    own = [view for view in views if view.name == name and not view.removed]
    now_s = time.time()
    old = [v for v in own[: len(own) - keep] if now_s - v.at_s >= age_s]
    shared = {v.uri for v in own if v not in old}
    erasing = why is not None and why.startswith("erasure")  # then a tagged version is refused, not passed over
    gone = [v for v in old if erasing or not v.tags]
    numbers = [v.version for v in gone if v.version is not None]
    if why is not None and numbers:
        catalogue.remove(name, numbers, why=why, by=_user())
    left = [v.uri for v in views if not v.removed and v not in gone]
    newest = own[-1].uri if own else views[-1].uri
    result = _tables().collect(newest, [*left, *shared], why is not None, erasing)
    return own, numbers, result


def _tables() -> Any:
    from aios.tables import tables

    return tables()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _short(view: ArtefactView) -> str:
    return view.reference.partition("://")[2] or f"{view.name}@{view.version}"


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
