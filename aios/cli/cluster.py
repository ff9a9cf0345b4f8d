"""Commands that start and stop AIOS, and what reaches its cluster: up, down, env."""

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
    note('for Ray\'s own commands, such as `ray job submit`: eval "$(aios env)"')
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


@click.command("env")
@common
@click.pass_obj
def env_command(options: Options) -> None:
    """What Ray's own commands need to reach the cluster: eval "$(aios env)", then ray job submit ..."""
    import shlex

    from aios.cli.options import refuse_ended_cluster
    from aios.config import Settings
    from aios.errors import NoControlPlane
    from aios.main import ClusterInfo

    settings = Settings.from_env()
    refuse_ended_cluster(None)
    info = ClusterInfo.read(settings)
    if info is None:
        raise NoControlPlane(f"no cluster is running here (there is no {settings.cluster_file})", hint="aios up")
    names = {"RAY_API_SERVER_ADDRESS": info.dashboard_url}
    if info.embedded:  # a cluster of somebody else's has its own token
        names |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(settings.ray_token_file)}
    show(options, names, "\n".join(f"export {name}={shlex.quote(value)}" for name, value in names.items()))
    next_is("ray job submit --working-dir . -- python driver.py")
