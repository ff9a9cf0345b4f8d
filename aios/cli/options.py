"""Options that every command takes, before or after its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from aios.client import Client

FORMATS = ("table", "wide", "json", "yaml")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True)
class Options:
    """How a command shows things, and where its control plane is."""

    output: str = "table"
    verbose: bool = False
    color: bool = "NO_COLOR" not in os.environ
    server: str | None = None

    @property
    def structured(self) -> bool:
        return self.output in ("json", "yaml")

    def client(self) -> Client:
        """Return a client of the control plane; raises NoControlPlane where there is none."""
        from aios.client import Client
        from aios.connection import RETRY_S

        refuse_ended_cluster(self.server)
        retry_s = float(os.environ.get("AIOS_RETRY_S") or RETRY_S)
        return Client(self.server, retry_s=retry_s, on_trouble=lambda text: click.echo(text, err=True))


def refuse_ended_cluster(server: str | None) -> None:
    """Raise NoControlPlane where the cluster of this home was started here and its processes are gone."""
    from aios.config import Settings
    from aios.errors import NoControlPlane

    settings = Settings.from_env()
    if server or settings.api_url:
        return
    keeper_file = settings.home / "keeper.json"
    if settings.cluster_file.exists() and keeper_file.exists():
        from aios.adapters.embedded import Keeper

        keeper = Keeper.read(settings.home)
        if keeper is not None and not keeper.alive:
            raise NoControlPlane("the cluster that was started here has ended", hint="start it again: aios up")


def common(command: _F) -> _F:
    """Add the global options to a command."""
    for option in (
        click.option("-o", "--output", type=click.Choice(FORMATS), callback=_set("output"), expose_value=False,
                     help="How to show data.", is_eager=True),
        click.option("-v", "--verbose", is_flag=True, default=None, callback=_set("verbose"), expose_value=False,
                     help="Show more, frameworks' own frames too.", is_eager=True),
        click.option("--no-color", is_flag=True, default=None, callback=_no_color, expose_value=False,
                     help="Plain text.", is_eager=True),
        click.option("--server", metavar="URL", callback=_set("server"), expose_value=False, is_eager=True,
                     help="The control plane's address (AIOS_ADDRESS)."),
    ):  # fmt: skip
        command = option(command)
    return command


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        options = ctx.ensure_object(Options)
        if value is not None:
            setattr(options, name, value)
        return value

    return callback


def _no_color(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    if value:
        ctx.ensure_object(Options).color = False
    return value
