"""``aios models``: model versions, their aliases and what stands behind them. ``REF`` is NAME, NAME@7 or NAME@alias."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.comparing_models import compared, difference_text
from aios.cli.exporting import import_command
from aios.cli.judging import report_command
from aios.cli.naming import short_of, user
from aios.cli.options import Options, common
from aios.cli.output import clean, listed, next_is, note, show, table
from aios.cli.pruning import gc_command
from aios.cli.tracing import lineage_text
from aios.errors import InvalidSpec, NotFound, Rejected

if TYPE_CHECKING:
    from aios.client import Client
    from aios.models.verify import Verified
    from aios.views import ArtefactView

CARD = "README.md"


@click.group("models")
def models_command() -> None:
    """Model versions: what there is, which one is in production, whether it is as it was trained."""


model_command = models_command
models_command.add_command(gc_command)
models_command.add_command(report_command)
models_command.add_command(import_command)


@models_command.command("list")
@click.argument("name", required=False)
@common
@click.pass_obj
def list_models(options: Options, name: str | None) -> None:
    """Every model version, oldest first; with NAME those of one model."""
    with options.client() as client:
        if name is not None:
            client.catalogue.version(name, "model")  # which says what there is
        views = [view for view in client.models() if name in (None, view.name)]
    rows = [
        [v.name, v.version, v.tags, _scores(v), _when(v), v.workload or v.by or "by hand", v.inputs,
         "gone" if v.removed else None, v.uri]
        for v in views
    ]  # fmt: skip
    head = ["NAME", "VERSION", "ALIASES", "TRAINED TO", "PUBLISHED", "MADE BY", "FROM", "STATE", "WHERE"]
    if options.output != "wide":
        head, rows = head[:-1], [row[:-1] for row in rows]
    if not any(view.removed for view in views):
        at = head.index("STATE")
        head, rows = head[:at] + head[at + 1 :], [row[:at] + row[at + 1 :] for row in rows]
    show(options, listed("artefacts", views), table(options, head, rows) if rows else "")
    if not rows:
        note("none yet")
    else:
        next_is(f"aios models show {short_of(views[-1])}")


@models_command.command("show")
@click.argument("ref")
@common
@click.pass_obj
def show_model(options: Options, ref: str) -> None:
    """One version: scores, parameters, signature, where it came from and what came of it."""
    with options.client() as client:
        view = client.catalogue.version(ref, "model")
        trace = client.catalogue.lineage(short_of(view), "model")
        state = _state_of(client, view)
    meta = view.meta
    signature = meta.get("signature") or {}
    lineage = meta.get("lineage") or {}
    facts = {
        "version": view.reference, "aliases": view.tags, "state": state, "published": _when(view),
        "made by": f"{view.workload}, attempt {view.attempt}" if view.workload else view.by or "by hand",
        "tenant": lineage.get("tenant"), "task": meta.get("task"), "model": meta.get("model"),
        "scores": meta.get("scores"), "parameters": meta.get("trained"),
        "data": (meta.get("dataset") or {}).get("reference"),
        "built on": lineage.get("parent"), "code": lineage.get("code"), "takes": _takes(signature),
        "gives": _gives(signature), "where": view.uri, "manifest": meta.get("manifest"),
    }  # fmt: skip
    lines = [f"{key:<10} {_text(value)}" for key, value in facts.items() if value not in (None, "", (), {}, [])]
    data = {"schemaVersion": 1, **listed("artefacts", [view])["artefacts"][0], "state": state}
    show(options, data, "\n".join([*lines, "", lineage_text(trace)]))
    next_is(f"aios models card {short_of(view)}")


@models_command.command("diff")
@click.argument("before")
@click.argument("after")
@common
@click.pass_obj
def diff(options: Options, before: str, after: str) -> None:
    """What differs between two versions: scores, parameters, data, signature."""
    with options.client() as client:
        one, two = client.catalogue.version(before, "model"), client.catalogue.version(after, "model")
    found = compared(one, two)
    show(options, {"schemaVersion": 1, **found}, difference_text(options, found))


@models_command.command("promote")
@click.argument("ref", metavar="NAME@VERSION")
@click.option("--to", "alias", required=True, help="The alias: prod, canary or another name.")
@common
@click.pass_obj
def promote(options: Options, ref: str, alias: str) -> None:
    """Give an alias to a version, once every byte of it was verified."""
    _check_alias(alias)
    with options.client() as client:
        view = client.catalogue.version(ref, "model")
        verified_version(client, view)
        had = {one.alias: one.version for one in client.catalogue.aliases(view.name)}.get(alias)
        view = client.catalogue.tag(short_of(view), alias, type_="model", by=user())
    same = had == view.version
    was = "" if had is None or same else f"; it was {view.name}@{had}"
    show(options, view, f"{alias} is {view.reference} {'already' if same else 'now'}{was}")
    if had is not None and not same:
        next_is(f"aios models rollback {view.name} --alias {alias}")


@models_command.command("rollback")
@click.argument("name")
@click.option("--alias", required=True, help="Which alias: prod, canary or another one.")
@common
@click.pass_obj
def rollback(options: Options, name: str, alias: str) -> None:
    """Give an alias back to the version that had it before, once that one was verified."""
    _check_alias(alias)
    with options.client() as client:
        found = {one.alias: one for one in client.catalogue.aliases(name)}.get(alias)
        if found is not None and found.before:
            verified_version(client, client.catalogue.version(f"{name}@{found.before}", "model"))
        view = client.catalogue.rollback_alias(name, alias, by=user())
    was = f"; it was {name}@{found.version}" if found is not None else ""
    show(options, view, f"{alias} is {view.reference} now{was}")
    next_is(f"aios models show {name}@{alias}")


@models_command.command("retire")
@click.argument("name")
@click.option("--alias", required=True, help="Which alias to take away; the version stays.")
@common
@click.pass_obj
def retire(options: Options, name: str, alias: str) -> None:
    """Take an alias away."""
    with options.client() as client:
        view = client.catalogue.untag(name, alias, type_="model", by=user())
    show(options, view, f"{name} has no alias {alias} any more")


@models_command.command("aliases")
@click.argument("name")
@common
@click.pass_obj
def aliases(options: Options, name: str) -> None:
    """The aliases of a model: which version has each, since when, and which had it before."""
    with options.client() as client:
        views = client.catalogue.aliases(name)
    rows = [[v.alias, v.version, v.before or None, _moment(v.at_s), v.by] for v in views]
    head = ["ALIAS", "VERSION", "BEFORE", "SINCE", "BY"]
    show(options, listed("aliases", views), table(options, head, rows) if rows else "")
    if not rows:
        note(f"none: aios models promote {name}@VERSION --to prod")


@models_command.command("card")
@click.argument("ref")
@common
@click.pass_obj
def card(options: Options, ref: str) -> None:
    """The model card, as markdown, once it was verified."""
    with options.client() as client:
        view = client.catalogue.version(ref, "model")
        verified_version(client, view)
    path = Path(view.uri) / CARD
    if not path.is_file():
        raise NotFound(f"{view.reference} has no card", hint=f"aios models show {short_of(view)}")
    text = clean(path.read_text(encoding="utf-8"))
    show(options, {"schemaVersion": 1, "version": view.reference, "card": text}, text.rstrip())


@models_command.command("verify")
@click.argument("ref")
@common
@click.pass_obj
def verify_model(options: Options, ref: str) -> None:
    """Check every byte of a version against its signature and the log."""
    with options.client() as client:
        view = client.catalogue.version(ref, "model")
        found = verified_version(client, view)
    data = {"schemaVersion": 1, "version": view.reference, "files": found.n_files, "key": found.key}
    show(options, data, f"{view.reference}: {found.n_files} files are as they were signed (key {found.key[:12]})")


def verified_version(client: Client, view: ArtefactView) -> Verified:
    from aios.models.verify import verify

    if view.removed:
        raise Rejected(f"{view.reference} was taken out of use", hint=f"aios models list {view.name}")
    return verify(Path(view.uri), view.reference, view.meta, _storage(client))


def _state_of(client: Client, view: ArtefactView) -> str:
    try:
        found = verified_version(client, view)
    except (NotFound, Rejected) as error:
        return f"NOT USABLE: {error.message}"
    return f"verified: {found.n_files} files are as they were signed"


def _storage(client: Client) -> Path:
    from aios.config import Settings

    return Path(client.status().info.get("storage") or Settings.from_env().storage)


def _check_alias(alias: str) -> None:
    from aios.models.aliases import check_alias

    try:
        check_alias(alias)
    except ValueError as error:
        raise InvalidSpec(str(error), hint="aios models promote NAME@VERSION --to prod") from None


def _scores(view: ArtefactView) -> str:
    return _text(view.meta.get("scores") or {})


def _takes(signature: dict[str, Any]) -> str:
    inputs = signature.get("inputs") or ()
    if isinstance(inputs, int):
        return f"{inputs} numbers"
    names = [f"{one['name']}: {one.get('dtype', one['type'])}" for one in inputs]
    return ", ".join(names[:8]) + (f", and {len(names) - 8} more" if len(names) > 8 else "")


def _gives(signature: dict[str, Any]) -> str:
    outputs = signature.get("outputs") or {}
    return f"{outputs['name']} ({outputs['task']})" if outputs else ""


def _when(view: ArtefactView) -> str:
    return _moment(view.at_s)


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
