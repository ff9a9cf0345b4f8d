"""Commands that look at workloads and the cluster, wait and stop: status, ps, describe, logs, explain, plan, ..."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from aios.cli.options import Options, common
from aios.cli.output import (
    amounts,
    clean,
    listed,
    next_is,
    note,
    seconds,
    show,
    solved_in,
    status_of,
    table,
    terms_table,
    workload_table,
)

if TYPE_CHECKING:
    from aios.views import ExplainView, PlanView, WorkloadView

_DURATION = re.compile(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNTIL = {"SUCCEEDED": "succeeded", "OVER": "over", "RUNNING": "running", "READY": "ready"}


class Duration(click.ParamType[float]):
    """Seconds, or a number with ms, s, m, h or d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = _DURATION.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no duration: write a number with ms, s, m, h or d, such as 30s", param, ctx)
        return float(match[1]) * _SECONDS[match[2] or "s"]


@click.command("status")
@common
@click.pass_obj
def status_command(options: Options) -> None:
    """The control plane and its cluster at a glance."""
    with options.client() as client:
        view, url = client.status(), client.url
    counts = ", ".join(f"{n} {name}" for name, n in view.workloads.items()) or "none yet"
    lines = [
        f"AIOS {view.version} at {url}, epoch {view.epoch}",
        f"nodes      {view.nodes_ready} of {view.nodes_total} ready: {amounts(view.resources)}",
        f"granted    {amounts(view.used)}",
        f"workloads  {counts}",
        f"plan       {_proof(view.plan)}",
        *_backup(view.info),
    ]
    lines += [f"quarantine {name}: {why}" for name, why in view.quarantined.items()]
    lines += [f"paused     tenant {name}: aios tenant resume {name}" for name in view.paused]
    if options.output == "wide" or options.verbose:
        width = max((len(key) for key in view.info), default=0)
        lines += [f"{key:<{width}} {value}" for key, value in sorted(view.info.items())]
    show(options, view, clean("\n".join(lines)))
    next_is("aios ps" if view.workloads else "aios run FILE")


def _backup(info: Mapping[str, Any]) -> list[str]:
    """Return the line about the last backup of the event log, where backups are made."""
    if "backups" not in info:
        return []
    last = f"{seconds(float(info['backup_age_s']))} ago: {info['backup']}" if "backup" in info else "none yet"
    problem = f"; the next one failed: {info['backup_problem']}" if info.get("backup_problem") else ""
    return [f"backup     {last if info['backups'] != 'off' else 'off'}{problem}"]


@click.command("ps")
@click.option("-a", "--all", "every", is_flag=True, help="Those that are over too.")
@click.option("-t", "--tenant", default="", help="Of one tenant.")
@click.option("-s", "--status", default="", help="With a status; several with commas.")
@common
@click.pass_obj
def ps_command(options: Options, every: bool, tenant: str, status: str) -> None:
    """Workloads in one table: those that are not over, or all."""
    with options.client() as client:
        views = client.workloads(all=every, tenant=tenant, status=status)
    show(options, listed("workloads", views), workload_table(options, views))
    waiting = next((view for view in views if view.status in ("QUEUED", "PREEMPTED")), None)
    if not views:
        note("no workloads" if every or status else "no workloads that are not over")
        next_is("aios run FILE" if every else "aios ps -a")
    else:
        next_is(f"aios explain {waiting.id}" if waiting else f"aios describe {views[-1].id}")


@click.command("describe")
@click.argument("ref", metavar="ID")
@common
@click.pass_obj
def describe_command(options: Options, ref: str) -> None:
    """Everything about a workload, or about all stages of a pipeline."""
    with options.client() as client:
        views = client.find(ref)
    one = views[0] if len(views) == 1 else listed("workloads", views)
    show(options, one, "\n\n".join(_description(options, view) for view in views))
    itself = len(views) == 1 and views[0].next == f"aios describe {views[0].id}"
    next_is(f"aios logs {views[0].id}" if itself else views[0].next if len(views) == 1 else f"aios explain {ref}")


@click.command("logs")
@click.argument("ref", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Until it is over; exits with its code.")
@click.option("--tail", type=click.IntRange(0), default=None, help="Begin with the last lines only.")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Of one attempt; default: the latest.")
@common
@click.pass_obj
def logs_command(options: Options, ref: str, follow: bool, tail: int | None, attempt: int | None) -> int:
    """What a workload prints; of a pipeline, stage by stage."""
    from aios.cli.following import INTERRUPTED, conclude, detached

    with options.client() as client:
        views = client.find(ref)
        try:
            for view in views:
                if len(views) > 1:
                    note(f"== {view.id}")
                for text in client.logs(view.id, follow=follow, attempt=attempt or 0, tail=tail):
                    click.echo(clean(text), nl=False)
            if follow:
                return conclude(client.find(ref) if len(views) > 1 else (client.get(views[0].id),), options)
        except KeyboardInterrupt:
            detached([view.id for view in views])
            return INTERRUPTED
    if not any(view.attempts for view in views):
        note(f"{views[0].id} has not started: there is no log yet")
    next_is(f"aios logs -f {ref}" if any(not view.over for view in views) else f"aios describe {ref}")
    return 0


@click.command("explain")
@click.argument("ref", metavar="ID")
@common
@click.pass_obj
def explain_command(options: Options, ref: str) -> None:
    """Why a workload waits, or why it runs there, and what to do next."""
    with options.client() as client:
        found = client.explain(ref)
    show(options, listed("explanations", found), "\n\n".join(_explanation(one) for one in found))
    next_is(found[0].next)


@click.command("stop")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@common
@click.pass_obj
def stop_command(options: Options, refs: tuple[str, ...]) -> int:
    """Stop workloads, or all stages of a pipeline. What is over stays as it is."""
    stopped: list[WorkloadView] = []
    with options.client() as client:
        over = [view for ref in refs for view in client.find(ref) if view.over]
        for ref in refs:
            stopped += client.stop(ref, by="aios stop")
    show(options, listed("workloads", stopped), "\n".join(f"{view.id}  {status_of(view)}" for view in stopped))
    for view in over:
        note(f"{view.id} was over before: {view.status}")
    next_is(f"aios wait {refs[0]}" if len(over) < len(stopped) else f"aios describe {refs[0]}")
    return 0


@click.command("wait")
@click.argument("refs", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--for",
    "until",
    type=click.Choice(list(_UNTIL), case_sensitive=False),
    default="SUCCEEDED",
    help="SUCCEEDED (default): over, services ready.",
)
@click.option("--timeout", type=Duration(), default=None, help="Such as 10m; then exit code 101.")
@common
@click.pass_obj
def wait_command(options: Options, refs: tuple[str, ...], until: str, timeout: float | None) -> int:
    """Wait; exits with the workload's own code, 100 failed, 101 not finished, 103 stopped. Ctrl-C: it goes on."""
    from aios.cli.following import INTERRUPTED, conclude, detached

    views: list[WorkloadView] = []
    with options.client() as client:
        try:
            for ref in refs:
                views += client.wait(ref, _UNTIL[until.upper()], timeout)
        except KeyboardInterrupt:
            detached(refs)
            return INTERRUPTED
    text = "\n".join(f"{view.id}  {status_of(view)}" for view in views)
    show(options, listed("workloads", views), text)
    if until.upper() == "RUNNING" and all(view.status in ("RUNNING", "SUCCEEDED") for view in views):
        next_is(views[0].next)
        return 0
    return conclude(views, options)


@click.command("plan")
@click.option(
    "--what-if", "changes", multiple=True, metavar="CHANGE", help="Side by side: 'add 4 h100', 'drain a-3', ..."
)
@click.option("--capacity", "catalogue", is_flag=False, flag_value="", default=None, metavar="[CATALOGUE]",
              help="Nodes to add and nodes that could go; node types from a YAML file.")  # fmt: skip
@click.option("--budget", type=click.FloatRange(0), default=None, help="With --capacity: the most that all may cost.")
@common
@click.pass_obj
def plan_command(options: Options, changes: tuple[str, ...], catalogue: str | None, budget: float | None) -> None:
    """The plan in force: its terms, bound and gap, each tenant's share, who runs, yields and waits.

    --what-if shows what would change, and may be given several times: add [N] TYPE|NODE, remove NODE, drain NODE,
    weight TENANT=NUMBER, quota TENANT RESOURCE=AMOUNT, priority ID=NUMBER, submit FILE, stop ID, without-preemption.
    Nothing is changed in the cluster.
    """
    if catalogue is not None and changes:
        raise click.UsageError("--what-if and --capacity are two questions: ask one at a time")
    if budget is not None and catalogue is None:
        raise click.UsageError("--budget belongs to --capacity")
    with options.client() as client:
        if changes:
            from aios.cli.asking import what_if_text

            found = client.what_if(changes)
            show(options, found, what_if_text(options, found))
            next_is("aios plan")
            return
        if catalogue is not None:
            from aios.cli.asking import advice_text

            advice = client.capacity(catalogue or None, budget)
            show(options, advice, advice_text(options, advice))
            next_is("aios node list")
            return
        plan = client.plan()
    show(options, plan, clean(_plan_text(options, plan)))
    waiting = next(iter(plan.waiting), None)
    next_is(f"aios explain {waiting}" if waiting else "aios ps")


def _proof(plan: PlanView) -> str:
    if not plan.planner:
        return "none yet"
    return f"{plan.plan_id} by {plan.planner}: {plan.status}, gap {plan.gap or 0:.1%}, solved in {solved_in(plan)}"


def _plan_text(options: Options, plan: PlanView) -> str:
    parts = [f"plan {_proof(plan)}"]
    if plan.planner:
        parts[0] += f"\nobjective {plan.objective:,.2f}, no plan can have more than {plan.bound:,.2f}"
    if plan.terms:
        parts.append(terms_table(options, plan))
    if plan.shares:
        rows = [[one.tenant, f"{one.entitled:.0%}", f"{one.used:.0%}"] for one in plan.shares]
        parts.append(table(options, ["TENANT", "ENTITLED", "USED"], rows))
    if plan.running:
        parts.append(table(options, ["RUNS", "NODES"], [[id, nodes] for id, nodes in plan.running.items()]))
    if plan.yields:
        parts.append(table(options, ["YIELDS", "WHY"], [[id, why] for id, why in plan.yields.items()]))
    if plan.waiting:
        parts.append(table(options, ["WAITS", "WHY"], [[id, why] for id, why in plan.waiting.items()]))
    parts += [f"no longer valid when adopted: {what}" for what in plan.refused]
    parts += [f"not {what}" for what in plan.fallbacks]
    return "\n\n".join(parts)


def _explanation(one: ExplainView) -> str:
    lines = [f"{one.id} is {one.status}{f' ({one.reason})' if one.reason else ''}:", f"  {one.message}"]
    lines += [f"  - {line}" for line in one.evidence]
    if one.would_run_if:
        lines.append("  it would run if: " + "; or ".join(one.would_run_if))
    return clean("\n".join(lines))


def _deadline(view: WorkloadView) -> str:
    if view.deadline_s is None:
        return ""
    moment = datetime.fromtimestamp(view.deadline_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"{moment}{f': {view.late}' if view.late else ''}"


def _tries(view: WorkloadView) -> str:
    """Return how often it failed by its own fault and by others', empty where it never did."""
    if not view.n_failed and not view.n_lost:
        return ""
    failed = f"{view.n_failed} failed ({view.max_retries} retries allowed), {view.n_lost} lost with their nodes"
    return failed if view.max_attempts is None else f"{failed}; at most {view.max_attempts} of both"


def _description(options: Options, view: WorkloadView) -> str:
    facts: list[tuple[str, object]] = [
        ("id", view.id),
        ("name", view.name),
        ("kind", view.kind),
        ("tenant", view.tenant),
        ("priority", view.priority),
        ("pipeline", view.pipeline),
        ("status", status_of(view)),
        ("reason", view.reason),
        ("message", view.error or view.message),
        ("asks for", view.demand),
        ("needs", ", ".join(view.needs)),
        ("user", view.user),
        ("waited", seconds(view.waited_s)),
        ("ran", seconds(view.ran_s) + (f" of {seconds(view.time_limit_s)}" if view.time_limit_s is not None else "")),
        ("deadline", _deadline(view)),
        ("tries", _tries(view)),
        ("reused from", view.reused_from),
        ("exit code", view.exit_code),
        ("checkpoint", f"step {view.checkpoint_step}" if view.checkpoint else None),
        ("endpoint", view.url),
    ]
    lines = [f"{key:<11} {value}" for key, value in facts if value not in (None, "")]
    lines += [f"{'metrics':<11} {', '.join(f'{k}={v}' for k, v in view.metrics.items())}"] if view.metrics else []
    lines += [f"{'made':<11} {a.type}://{a.name}{f'@{a.version}' if a.version else ''}" for a in view.artefacts]
    text = clean("\n".join(lines))
    if view.attempts:
        head = ["TRY", "PLANNED", "ACTUAL", "OUTCOME", "FROM STEP", "EXIT", "WHY"]
        rows = [
            [a.number, a.planned_nodes, a.actual_nodes, a.outcome, a.resumed_step or None, a.exit_code,
             "; ".join(filter(None, (a.error or a.preempt_cause or a.why, a.fell_back)))]
            for a in view.attempts
        ]  # fmt: skip
        text += "\n" + table(options, head, rows)
    if options.verbose and view.detail:
        text += "\n" + clean(view.detail)
    return text
