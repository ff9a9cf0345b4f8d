"""Commands about things: tenant, policy, reservation, node, data, model, endpoint, event, version."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from aios.cli.options import Options, common
from aios.cli.output import listed, next_is, note, seconds, show, table

if TYPE_CHECKING:
    from aios.views import ArtefactView, RulesView, TenantView


@click.group("tenant")
def tenant_command() -> None:
    """Teams with weights and quotas."""


@tenant_command.command("list")
@common
@click.pass_obj
def tenant_list(options: Options) -> None:
    """Tenants, what they hold, and their shares under the plan in force."""
    with options.client() as client:
        views = client.tenants()
    show(options, listed("tenants", views), _tenants(options, views))
    next_is("aios plan")


@tenant_command.command("apply")
@click.option("-f", "--file", "files", multiple=True, required=True, help="A file; may be given several times.")
@common
@click.pass_obj
def tenant_apply(options: Options, files: tuple[str, ...]) -> None:
    """Add or change tenants; others stay."""
    with options.client() as client:
        views = client.apply_tenants(list(files))
    show(options, listed("tenants", views), _tenants(options, views))
    next_is("aios tenant list")


@tenant_command.command("pause")
@click.argument("name")
@click.option("--drain", is_flag=True, help="What runs saves its progress and yields.")
@click.option("--now", is_flag=True, help="What runs is ended at once, and goes on later from its last checkpoint.")
@common
@click.pass_obj
def tenant_pause(options: Options, name: str, drain: bool, now: bool) -> None:
    """Start nothing of a tenant, nor of those below it, until it is resumed."""
    if drain and now:
        raise click.UsageError("--drain lets work save its progress, --now does not: give one of them")
    with options.client() as client:
        view = client.pause_tenant(name, "drain" if drain else "now" if now else "", "aios tenant pause")
    show(options, listed("tenants", [view]), _tenants(options, [view]))
    if view.running and not (drain or now):
        note(f"{view.running} of its workloads go on; --drain has them save their progress and yield")
    next_is(f"aios tenant resume {name}")


@tenant_command.command("resume")
@click.argument("name")
@common
@click.pass_obj
def tenant_resume(options: Options, name: str) -> None:
    """Let a tenant's work start again."""
    with options.client() as client:
        view = client.resume_tenant(name, "aios tenant resume")
    show(options, listed("tenants", [view]), _tenants(options, [view]))
    next_is("aios ps")


tenants_command = tenant_list


@click.group("policy")
def policy_command() -> None:
    """The rules of the cluster: objective, fairness, preemption, ageing, migration."""


@policy_command.command("show")
@common
@click.pass_obj
def policy_show(options: Options) -> None:
    """The policy in force."""
    with options.client() as client:
        view = client.rules()
    _show_policy(options, view)


@policy_command.command("apply")
@click.option("-f", "--file", "files", multiple=True, required=True, help="A file of kind: policy.")
@common
@click.pass_obj
def policy_apply(options: Options, files: tuple[str, ...]) -> None:
    """Replace the policy; the next plan follows it."""
    with options.client() as client:
        view = client.apply_rules(list(files))
    _show_policy(options, view)
    next_is("aios plan")


@click.group("reservation")
def reservation_command() -> None:
    """Nodes that are kept for some tenants, or for nobody (maintenance), for a time."""


@reservation_command.command("list")
@common
@click.pass_obj
def reservation_list(options: Options) -> None:
    """Reservations, the next first."""
    with options.client() as client:
        view = client.rules()
    _show_reservations(options, view)


@reservation_command.command("apply")
@click.option("-f", "--file", "files", multiple=True, required=True, help="A file of kind: reservation.")
@common
@click.pass_obj
def reservation_apply(options: Options, files: tuple[str, ...]) -> None:
    """Make or change reservations; others stay."""
    with options.client() as client:
        view = client.apply_rules(list(files))
    _show_reservations(options, view)
    next_is("aios reservation list")


@reservation_command.command("delete")
@click.argument("name")
@common
@click.pass_obj
def reservation_delete(options: Options, name: str) -> None:
    """Give a reservation up."""
    with options.client() as client:
        view = client.unreserve(name)
    _show_reservations(options, view)


def _show_policy(options: Options, view: RulesView) -> None:
    rows = [[key, _written(value)] for key, value in view.policy.items()]
    show(options, {"schemaVersion": view.schemaVersion, **view.policy}, table(options, ["RULE", "VALUE"], rows))


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None or value == [] else str(value)


def _show_reservations(options: Options, view: RulesView) -> None:
    rows = [
        [v.name, "active" if v.active else "to come", _moment(v.starts_s), _moment(v.ends_s), v.nodes,
         v.tenants or "nobody (maintenance)"]
        for v in view.reservations
    ]  # fmt: skip
    head = ["RESERVATION", "STATE", "FROM", "TO", "NODES", "FOR"]
    show(options, listed("reservations", view.reservations), table(options, head, rows) if rows else "")
    if not rows:
        note("none")


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


@click.group("node")
def node_command() -> None:
    """Nodes of the cluster."""


@node_command.command("list")
@common
@click.pass_obj
def node_list(options: Options) -> None:
    """Nodes, what they have and who holds it."""
    with options.client() as client:
        views = client.nodes()
    up = {view.name for view in views if view.state != "down"}
    wide = options.output == "wide"
    shown = [view for view in views if wide or view.state != "down" or view.name not in up]  # no former lives
    head = ["NODE", "STATE", "HAS", "GRANTED", "WORKLOADS"]
    rows: list[list[Any]] = [[v.name, v.state, v.resources, v.used, v.workloads] for v in shown]
    if wide:
        head += ["LABELS", "ID"]
        for row, view in zip(rows, shown, strict=True):
            row += [", ".join(f"{key}={value}" for key, value in view.labels.items()), view.id]
    if any(view.note for view in shown):
        head += ["NOTE"]
        for row, view in zip(rows, shown, strict=True):
            row += [view.note]
    show(options, listed("nodes", views), table(options, head, rows))
    next_is("aios ps")


@node_command.command("release")
@click.argument("node")
@common
@click.pass_obj
def node_release(options: Options, node: str) -> None:
    """Trust a node again before its quarantine is over."""
    with options.client() as client:
        view = client.release(node, "aios node release")
    views = [] if view is None else [view]
    rows = [[v.name, v.state, v.resources, v.used, v.workloads] for v in views]
    head = ["NODE", "STATE", "HAS", "GRANTED", "WORKLOADS"]
    show(options, listed("nodes", views), table(options, head, rows) if rows else "")
    next_is("aios node list")


nodes_command = node_list


def _artefact_group(name: str, method: str, text: str) -> click.Group:
    @click.group(name, help=text)
    def group() -> None:
        pass

    @group.command("list", help=f"{text} With what each was made from.")
    @common
    @click.pass_obj
    def list_them(options: Options) -> None:
        with options.client() as client:
            views: Sequence[ArtefactView] = getattr(client, method)()
        rows = [[v.name, v.version, v.workload, v.inputs, v.uri] for v in views]
        shown = table(options, ["NAME", "VERSION", "MADE BY", "FROM", "WHERE"], rows) if views else ""
        show(options, listed("artefacts", views), shown)
        if not views:
            note("none yet")

    return group


endpoint_command = _artefact_group("endpoint", "endpoints", "Endpoints that answer.")


@click.group("event")
def event_command() -> None:
    """What the control plane recorded."""


@event_command.command("list")
@click.option("--after", type=click.IntRange(0), default=0, help="After a sequence number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, help="At most so many.")
@common
@click.pass_obj
def event_list(options: Options, after: int, limit: int) -> None:
    """Events in order."""
    with options.client() as client:
        views = client.events(after, limit)
    rows = [[v.seq, f"{v.at_s:.1f}", v.type, v.data.get("workload"), v.data.get("attempt")] for v in views]
    show(options, listed("events", views), table(options, ["SEQ", "AT", "EVENT", "WORKLOAD", "TRY"], rows))
    if len(views) == limit:
        next_is(f"aios event list --after {views[-1].seq}")


@click.command("version")
@common
@click.pass_obj
def version_command(options: Options) -> None:
    """The version of this command."""
    import aios

    python = ".".join(map(str, sys.version_info[:3]))
    data = {"schemaVersion": 1, "version": aios.__version__, "python": python}
    show(options, data, f"aios {aios.__version__} on Python {python}")


def _tenants(options: Options, views: Sequence[TenantView]) -> str:
    head = ["TENANT", "PARENT", "WEIGHT", "QUOTA", "LIMIT", "HOLDS", "ENTITLED", "USED", "RUN", "WAIT", "STATE"]
    rows = [
        [v.name, v.parent, v.weight, v.quota, v.limit, v.used or None, _percent(v.entitled_share),
         _percent(v.used_share), _of_most(v.running, v.max_running), _of_most(v.waiting, v.max_pending),
         "paused" if v.paused else "open"]
        for v in views
    ]  # fmt: skip
    if options.output == "wide":
        head += ["RUN PER USER", "WAIT PER USER", "TIME LIMIT"]
        for row, v in zip(rows, views, strict=True):
            limit = None if v.time_limit_s is None else seconds(v.time_limit_s)
            row += [v.max_running_per_user, v.max_pending_per_user, limit]
    return table(options, head, rows)


def _of_most(n: int, most: int | None) -> str:
    """Return a number beside the most that there may be: ``2/4``."""
    return str(n) if most is None else f"{n}/{most}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
