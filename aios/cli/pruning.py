"""``aios models gc``: model versions that are old go out of use, and then their folders."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import click

from aios.cli.naming import user
from aios.cli.options import Options, common
from aios.cli.output import note, show


@click.command("gc")
@click.argument("name")
@click.option("--keep", type=click.IntRange(1), default=10, show_default=True, help="The newest versions to keep.")
@click.option("--older-than", default="0s", help="Only versions older than that (30d).")
@click.option("--apply", is_flag=True, help="Do it; without this it is only said what would go.")
@common
@click.pass_obj
def gc_command(options: Options, name: str, keep: int, older_than: str, apply: bool) -> None:
    """Take old versions out of use and their files away; those with an alias and those that work reads stay."""
    from aios.spec import seconds

    try:
        age_s = seconds(older_than)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--older-than") from None
    with options.client() as client:
        client.catalogue.version(name, "model")  # which says what there is
        own = [view for view in client.models() if view.name == name]
        there = [view for view in own if not view.removed]
        now_s = time.time()
        old = [view for view in there[: len(there) - keep] if now_s - view.at_s >= age_s]
        gone = [view for view in old if not view.tags]
        numbers = [view.version for view in gone if view.version is not None]
        if apply and numbers:
            client.catalogue.remove(name, numbers, type_="model", why="retention", by=user())
    kept = {view.uri for view in there if view not in gone}
    # Folders that an earlier call could not take away go too.
    folders = sorted({view.uri for view in own if (view.removed or view in gone) and view.uri not in kept})
    freed = sum(_size(Path(folder)) for folder in folders)
    failed: list[str] = []
    if apply:
        for folder in folders:
            shutil.rmtree(folder, onerror=lambda _, path, why: failed.append(f"{path}: {why[1]}"))
    text = ", ".join(f"{name}@{version}" for version in numbers) or "no version"
    did = ("are" if len(numbers) > 1 else "is") + " gone" if apply else "would go (add --apply)"
    if not numbers:
        did = "is gone" if apply else "would go"
    data = {"schemaVersion": 1, "name": name, "versions": numbers, "applied": apply, "bytes": freed}
    show(
        options,
        data,
        f"{text} {did}; {freed:,} bytes{' freed' if apply else ''}; {len(there) - len(gone)} versions stay",
    )
    aliased = [f"{name}@{view.version} ({', '.join(view.tags)})" for view in old if view.tags]
    if aliased:
        note(f"kept for their aliases: {', '.join(aliased)}")
    gone_already = (line for line in failed if "No such file" not in line)
    for line in gone_already:
        note(f"could not be taken away: {line}")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
