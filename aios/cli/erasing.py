"""``aios data gc`` and ``aios data erase``: versions that are old, and rows that must not stay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from aios.cli.naming import short_of, user
from aios.cli.options import Options, common
from aios.cli.output import note, show
from aios.errors import Rejected
from aios.tables import tables

if TYPE_CHECKING:
    from aios.catalogue import Catalogue
    from aios.views import ArtefactView


@click.command("gc")
@click.argument("name")
@click.option("--keep", type=click.IntRange(1), default=10, show_default=True, help="The newest versions to keep.")
@click.option("--older-than", default="0s", help="Only versions older than that (30d).")
@click.option("--apply", is_flag=True, help="Do it; without this it is only said what would go.")
@common
@click.pass_obj
def gc_command(options: Options, name: str, keep: int, older_than: str, apply: bool) -> None:
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


@click.command("erase")
@click.argument("name")
@click.option("--where", multiple=True, required=True, metavar="COLUMN=VALUE", help="Which rows; several: all hold.")
@click.option("--past", is_flag=True, help="Past versions too: they are taken out of use and their bytes go.")
@click.option("--show-gone", metavar="TEXT", help="Search every file of the table for this text afterwards.")
@common
@click.pass_obj
def erase_command(options: Options, name: str, where: tuple[str, ...], past: bool, show_gone: str | None) -> None:
    """Erase a subject's rows: a new version without them, and with --past every byte of them."""
    with options.client() as client:
        catalogue = client.catalogue
        view = catalogue.version(name)
        done = tables().erase(view.uri, where, user())
        if done["rows"]:
            fields = {"name": view.name, "uri": done["uri"], "digest": done["digest"], "meta": done["meta"]}
            made = catalogue.publish({**fields, "origin": view.reference, "inputs": [view.reference]}, by=user())
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
            kept = [short_of(v) for v in others if v.name != name]
    found = tables().find_text(made.uri, show_gone) if show_gone else None
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
        catalogue.remove(name, numbers, why=why, by=user())
    left = [v.uri for v in views if not v.removed and v not in gone]
    newest = own[-1].uri if own else views[-1].uri
    result = tables().collect(newest, [*left, *shared], why is not None, erasing)
    return own, numbers, result
