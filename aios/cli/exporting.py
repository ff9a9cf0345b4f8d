"""``aios export`` and ``aios models import``: model versions out to the edge, and in from elsewhere."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aios.cli.naming import short_of, user
from aios.cli.options import Options, common
from aios.cli.output import next_is, show
from aios.errors import InvalidSpec, Rejected
from aios.exports import TARGETS

if TYPE_CHECKING:
    from aios.client import Client


@click.command("export")
@click.argument("ref", metavar="NAME@VERSION")
@click.option("--target", type=click.Choice(TARGETS), default="onnx", show_default=True, help="What will run it.")
@click.option("--to", type=click.Path(path_type=Path), help="Write the folder here; it must not be there yet.")
@click.option("--site", type=click.Path(file_okay=False, path_type=Path), help="Publish it for edge nodes below here.")
@click.option("--alias", help="With --site: the alias that edge nodes follow.")
@common
@click.pass_obj
def export_command(
    options: Options, ref: str, target: str, to: Path | None, site: Path | None, alias: str | None
) -> None:
    """Write one signed folder that answers with ONNX Runtime and numpy alone.

    With --site and --alias it is put where edge nodes fetch it: serve that folder by any web server.
    """
    from aios.cli.models import verified_version

    if (to is None) == (site is None) or (site is None) != (alias is None):
        raise InvalidSpec("where to?", hint="give --to FOLDER, or --site FOLDER and --alias NAME")
    with options.client() as client:
        view, storage = client.catalogue.version(ref, "model"), _storage(client)
        verified_version(client, view)
    assert view.version is not None, f"{view.reference} has no number"
    folder = to if to is not None else _at(site, view.name, view.version)
    said = f"{folder} is there already" if folder.exists() else ""
    if said and to is not None:
        raise Rejected(said, hint="give a folder that is not there yet")
    key, public = _key(storage)
    tested = said or _written(Path(view.uri), view.reference, view.name, folder, key, public)
    data: dict[str, Any] = {"schemaVersion": 1, "version": view.reference, "folder": str(folder), "target": target}
    lines = [f"{folder} holds {view.reference}: {tested}"]
    if site is not None and alias is not None:
        _point(site, view.name, alias, view.version, folder, key)
        data["alias"] = alias
        lines.append(f"{site / view.name / alias}.json means version {view.version} now")
    show(options, data, "\n".join(lines))
    next_is(f"python {folder / 'run.py'} --self-test")


@click.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--signature", "signature", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON: features in order, target, and for classes: classes and gives (logits or probabilities).",
)  # fmt: skip
@common
@click.pass_obj
def import_command(options: Options, name: str, file: Path, signature: Path) -> None:
    """Register an ONNX model that was made elsewhere (TensorFlow, MXNet, scikit-learn, PyTorch).

    It is signed, evaluated, optimised and served like any other. Pickles are refused.
    """
    import yaml

    from aios.exports import exports
    from aios.spec import NAME

    if not NAME.fullmatch(name):
        raise InvalidSpec(f"{name!r} is no name", hint="use a-z, 0-9 and '-', such as signs")
    try:
        said = yaml.safe_load(signature.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{signature} is no YAML: {error}", hint="features: [...], target: NAME") from None
    if not isinstance(said, dict):
        raise InvalidSpec(f"{signature} holds no mapping", hint="features: [...], target: NAME")
    with options.client() as client:
        made = exports().take(file, name, said, _storage(client), user())
        view = client.catalogue.publish(
            {"name": name, "uri": made.uri, "digest": made.digest, "meta": dict(made.meta)}, type_="model", by=user()
        )
    show(options, view, f"{view.reference} is registered and signed")
    next_is(f"aios models show {short_of(view)}")


def _storage(client: Client) -> Path:
    from aios.config import Settings

    return Path(client.status().info.get("storage") or Settings.from_env().storage)


def _written(source: Path, reference: str, name: str, folder: Path, key: Any, public: bytes) -> str:
    """Write, sign and test the folder; it appears whole or not at all. Returns what its self-test said."""
    from aios.exports import exports
    from aios.models.bundle import sign
    from aios.models.manifest import MANIFEST, SIGNATURE, statement_of

    tools = exports()
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        tools.write(source, reference, part, public)
        statement = statement_of(part, name)
        (part / MANIFEST).write_bytes(statement)
        (part / SIGNATURE).write_text(sign(statement, key), encoding="utf-8")
        tested = tools.tested(part)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return tested


def _point(site: Path, name: str, alias: str, version: int, folder: Path, key: Any) -> None:
    """Say, signed, which version an alias means from now on."""
    import json

    from aios.adapters.fence import write_atomically
    from aios.models.aliases import check_alias
    from aios.models.bundle import sign
    from aios.models.manifest import MANIFEST, digest_of_bytes

    try:
        check_alias(alias)
    except ValueError as error:
        raise InvalidSpec(str(error), hint="such as prod") from None
    digest = digest_of_bytes((folder / MANIFEST).read_bytes())
    word = {"name": name, "alias": alias, "version": version, "manifest": digest, "at_s": time.time()}
    path = site / name / f"{alias}.json"
    write_atomically(path, sign(json.dumps(word).encode(), key))
    path.chmod(0o644)


def _at(site: Path | None, name: str, version: int) -> Path:
    assert site is not None
    return site / name / str(version)


def _key(storage: Path) -> tuple[Any, bytes]:
    """Return the key that signs models here, and its public half; it is made by ``aios up`` alone."""
    from aios.config import Settings
    from aios.models.keys import PRIVATE, pem_of, signing_key

    home = Settings.from_env().home
    if not (home / PRIVATE).is_file():
        raise Rejected(
            f"{home / PRIVATE} is not there, so nothing can be signed here",
            hint="run this where `aios up` ran, with the same AIOS_HOME",
        )
    key = signing_key(home, storage)
    return key, pem_of(key.public_key())
