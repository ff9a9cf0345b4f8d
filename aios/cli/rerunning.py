"""``aios data rerun``: make a recorded version again, and see whether the same rows come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from aios.cli.options import Options, common
from aios.cli.output import note, show
from aios.errors import NotFound, Rejected

if TYPE_CHECKING:
    from aios.client import Client
    from aios.views import ArtefactView

BRANCH = "rerun"
HIDDEN = "***"


@click.command("rerun")
@click.argument("ref")
@click.option("--timeout", type=click.FloatRange(min=0), default=3600.0, help="Seconds to wait for it.")
@common
@click.pass_obj
def rerun_command(options: Options, ref: str, timeout: float) -> None:
    """Run what made a version again, on the same inputs, and compare the content hashes."""
    with options.client() as client:
        before = client.catalogue.version(ref)
        document = document_of(client, before)
        (submitted,) = client.submit(document, rerun=True).workloads
        note(f"{submitted.id} makes {before.reference} again")
        (done,) = client.wait(submitted.id, timeout=timeout)
        if done.status != "SUCCEEDED":
            raise Rejected(f"{done.id} {done.status}: {done.message}", hint=f"aios logs {done.id}")
        after = client.catalogue.version(f"{before.name}@{BRANCH}")
        client.catalogue.remove(f"{before.name}@{BRANCH}", [after.version or 0], why="compared")
    same = after.digest == before.digest
    why = [] if same else reasons(before, after)
    data = {"schemaVersion": 1, "version": before.reference, "same": same, "why": why,
            "recorded": before.digest, "rerun": after.digest}  # fmt: skip
    text = f"{before.reference}: the same rows came out ({after.digest})"
    show(options, data, text if same else f"{before.reference}: other rows came out: {'; '.join(why)}")
    if not same:
        raise Rejected(f"{before.reference} cannot be made again: {why[0]}", hint=f"aios data show {ref}")


def document_of(client: Client, version: ArtefactView) -> dict[str, Any]:
    """Return the workload that makes a version again, beside the dataset; raises Rejected that says why it cannot."""
    made = version.meta.get("made") or {}
    parameters = made.get("parameters") or {}
    if not parameters.get("kind"):
        why = "it was published by hand" if not version.workload else "what made it did not say how"
        raise Rejected(f"{version.reference} cannot be made again: {why}", hint="aios data lineage says from what")
    if version.meta.get("mode") != "overwrite":
        raise Rejected(
            f"{version.reference} cannot be made again alone: it was made by {version.meta.get('mode')} on top of "
            f"{version.origin or 'nothing'}, and its source has moved on",
            hint="rerun a version that was made by overwrite",
        )
    if _holds(parameters, HIDDEN):
        raise Rejected(
            f"{version.reference} cannot be made again: it needs a secret, which is not recorded",
            hint="submit its file again, with another output",
        )
    inputs = {
        role: _exact(client, reference, version.inputs) for role, reference in parameters.get("inputs", {}).items()
    }
    outputs = dict.fromkeys(parameters.get("outputs", {}), f"dataset://{version.name}@{BRANCH}")
    name = f"{parameters['name'][:50]}-rerun-{version.version}"
    return {**parameters, "name": name, "outputs": outputs, **({"inputs": inputs} if inputs else {})}


def reasons(before: ArtefactView, after: ArtefactView) -> list[str]:
    """Return why a rerun may have given other rows, the likeliest first."""
    one, two = before.meta, after.meta
    found = [f"its {what} is not what it was" for what in ("source", "recipe") if one.get(what) != two.get(what)]
    old, new = (one.get("made") or {}).get("code") or {}, (two.get("made") or {}).get("code") or {}
    found += [f"{name} was {old.get(name)} and is {new.get(name)}" for name in new if old.get(name) != new.get(name)]
    if one.get("total_rows") != two.get("total_rows"):
        found.append(f"it had {one.get('total_rows'):,} rows and now {two.get('total_rows'):,}: the source has changed")
    if one.get("schema") != two.get("schema"):
        found.append("its columns or their types changed")
    return found or ["the source holds other values now, or the work is not the same each time (a seed is missing)"]


def _exact(client: Client, reference: str, read: tuple[str, ...]) -> str:
    """Return the version that was read for a reference, which must still be there."""
    key = reference.partition("@")[0]
    exact = next((one for one in read if one.partition("@")[0] == key), reference)
    type_, _, name = exact.partition("://")
    try:
        client.catalogue.version(name, type_)
    except NotFound as error:
        raise Rejected(f"it cannot be made again: {exact}, which it was made from, is gone", hint=error.hint) from None
    return exact


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(inner, text) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds(inner, text) for inner in value)
    return isinstance(value, str) and text in value
