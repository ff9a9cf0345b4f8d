"""Commands that operate by hand: retry, preempt, suspend, resume, drain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from aios.cli.options import Options, common
from aios.cli.output import listed, next_is, note, show, status_of, table

if TYPE_CHECKING:
    from aios.client import Client
    from aios.views import NodeView, WorkloadView


def _order(options: Options, refs: tuple[str, ...], do: Callable[[Client, str], tuple[WorkloadView, ...]]) -> None:
    with options.client() as client:
        views = [view for ref in refs for view in do(client, ref)]
    lines = (f"{view.id}  {status_of(view)}  {view.message}" for view in views)
    show(options, listed("workloads", views), "\n".join(lines))


@click.command("retry")
@click.argument("ref", metavar="ID")
@click.option("--no-cache", is_flag=True, help="Run what has succeeded once more, too.")
@common
@click.pass_obj
def retry_command(options: Options, ref: str, no_cache: bool) -> None:
    """Run again what did not succeed of a workload or pipeline; stages that did are used as they are."""
    with options.client() as client:
        made = client.retry(ref, no_cache=no_cache, by="aios retry")
    lines = (f"{view.id}  {status_of(view)}" for view in made.workloads)
    show(options, listed("workloads", made.workloads), "\n".join(lines))
    next_is(f"aios wait {made.workloads[0].pipeline or made.workloads[0].id}")


@click.command("preempt")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@common
@click.pass_obj
def preempt_command(options: Options, refs: tuple[str, ...]) -> None:
    """Have running work save its progress and queue again."""
    _order(options, refs, lambda client, ref: client.preempt(ref, by="aios preempt"))
    next_is(f"aios describe {refs[0]}")


@click.command("suspend")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@common
@click.pass_obj
def suspend_command(options: Options, refs: tuple[str, ...]) -> None:
    """Have work save its progress and wait until it is resumed."""
    _order(options, refs, lambda client, ref: client.suspend(ref, by="aios suspend"))
    next_is(f"aios resume {refs[0]}")


@click.command("resume")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@common
@click.pass_obj
def resume_command(options: Options, refs: tuple[str, ...]) -> None:
    """Let suspended work wait for its turn again; it goes on from its checkpoint."""
    _order(options, refs, lambda client, ref: client.resume(ref, by="aios resume"))
    next_is(f"aios explain {refs[0]}")


@click.command("drain")
@click.argument("node")
@click.option("--grace", help="How long its work has to save its progress (30s, 5m); by default each workload's own.")
@click.option("--undo", is_flag=True, help="Take the node back into use.")
@common
@click.pass_obj
def drain_command(options: Options, node: str, grace: str | None, undo: bool) -> None:
    """Take a node out of use: its work saves its progress and goes on elsewhere, nothing new starts there."""
    if undo and grace is not None:
        raise click.UsageError("--undo takes the node back at once: leave --grace out")
    grace_s = None if grace is None else _seconds(grace)
    with options.client() as client:
        view = client.undrain(node, "aios drain") if undo else client.drain(node, grace_s, "aios drain")
    head = ["NODE", "STATE", "HAS", "GRANTED", "WORKLOADS"]
    rows = [[view.name, view.state, view.resources, view.used, view.workloads]]
    show(options, listed("nodes", [view]), table(options, head, rows))
    _say_what_stays(view, undo)


def _say_what_stays(view: NodeView, undo: bool) -> None:
    if not undo and view.workloads:
        note("what may not be preempted stays there until it ends")
    next_is("aios node list")


def _seconds(text: str) -> float:
    from aios.spec import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--grace") from None
