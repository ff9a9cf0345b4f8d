"""Commands that start and stop AIOS: up, down."""

from __future__ import annotations

from pathlib import Path

import click

from aios.cli.options import Options, common
from aios.cli.output import next_is, note, show


@click.command("up")
@click.option("--address", default=None, help="Attach to the Ray cluster at this address (RAY_ADDRESS).")
@click.option(
    "--nodes",
    "nodes_file",
    type=click.Path(path_type=Path),
    default=None,
    help="YAML with the nodes of the cluster to start here.",
)
@click.option("--insecure", is_flag=True, help="Attach even to a cluster that wants no token.")
@common
@click.pass_obj
def up_command(options: Options, address: str | None, nodes_file: Path | None, insecure: bool) -> None:
    """Start AIOS on this machine, or on the Ray cluster at --address; says what listens where."""
    import dataclasses

    from aios.adapters.embedded import EmbeddedShape
    from aios.config import Settings
    from aios.main import up

    if address and nodes_file:
        raise click.UsageError("--nodes describes a cluster of our own: leave it out with --address.")
    shape = EmbeddedShape.from_file(nodes_file) if nodes_file else None
    info = up(Settings.from_env(), address, workers=shape, insecure=insecure, echo=note)
    show(options, dataclasses.asdict(info), info.api_url)
    next_is("aios status")


@click.command("down")
@common
@click.pass_obj
def down_command(options: Options) -> None:
    """Stop AIOS with all its attempts, and the Ray cluster where it is our own."""
    from aios.config import Settings
    from aios.main import down

    down(Settings.from_env(), echo=note)
    next_is("aios up")
