"""Commands that submit: run, submit, apply."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from aios.cli.options import Options, common
from aios.cli.output import clean, listed, next_is, note, show, solved_in, table, terms_table, workload_table

if TYPE_CHECKING:
    from aios.client import Client
    from aios.views import DryRunView, Submission

_FILES = (".yaml", ".yml", ".json")
_PLAIN = ("tenant", "priority", "accelerator_type", "max_retries", "estimate", "time_limit")
_AMOUNTS = ("num_cpus", "num_gpus", "memory")
_F = TypeVar("_F", bound=Callable[..., Any])


class WithCommand(click.Command):
    """Everything after ``--`` is the workload's own command line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["command"] = []
        if "--" in args:
            at = args.index("--")
            args, ctx.meta["command"] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)


def resources(command: _F) -> _F:
    """Add the options that describe a command's workload; their names are Ray's."""
    for option in reversed((
        click.option("--name", help="Default: from the script's name."),
        click.option("--tenant", "-t", default=None, help="Who it is for."),
        click.option("--priority", "-p", type=int, default=None, help="Higher comes first."),
        click.option("--num-cpus", type=float, default=None, help="CPUs (of each worker)."),
        click.option("--num-gpus", type=float, default=None, help="GPUs (of each worker)."),
        click.option("--memory", default=None, help="Memory (of each worker), such as 2GiB."),
        click.option("--workers", type=int, default=None, help="A gang of so many equal workers."),
        click.option("--accelerator-type", default=None, help="Such as H100."),
        click.option("--working-dir", default=None, help="Uploaded with the command; default: this folder."),
        click.option("--max-retries", type=int, default=None, help="Tries after the first that fails."),
        click.option("--estimate", default=None, help="How long it takes, such as 10m."),
        click.option("--rerun", is_flag=True, help="Once more, though it has ended."),
        click.option("--no-cache", is_flag=True, help="With --rerun: also what `cache: true` would take as it is."),
        click.option("--time-limit", default=None, help="How long it may run, such as 2h."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command("run", cls=WithCommand)
@click.argument("files", nargs=-1, metavar="[FILE]... | -- COMMAND...")
@resources
@common
@click.pass_obj
def run_command(options: Options, /, files: tuple[str, ...], rerun: bool, no_cache: bool, **flags: Any) -> int:
    """Submit a file, or a command after --, and follow it to its end.

    A service counts as done once it is ready. Ctrl-C detaches; the workload goes on.
    """
    from aios.cli.following import follow

    with options.client() as client:
        submission = _submit(client, _after_dashes(), files, flags, rerun, no_cache)
        _say_submitted(submission)
        return follow(client, [view.id for view in submission.workloads], options)


@click.command("submit", cls=WithCommand)
@click.argument("files", nargs=-1, metavar="[FILE]... | -- COMMAND...")
@resources
@common
@click.pass_obj
def submit_command(options: Options, /, files: tuple[str, ...], rerun: bool, no_cache: bool, **flags: Any) -> int:
    """Submit a file, or a command after --, and return at once; prints the ids."""
    with options.client() as client:
        submission = _submit(client, _after_dashes(), files, flags, rerun, no_cache)
    _say_submitted(submission)
    show(options, submission, "\n".join(view.id for view in submission.workloads))
    next_is(f"aios logs -f {submission.workloads[0].id}" if len(submission.workloads) == 1 else "aios ps")
    return 0


@click.command("apply")
@click.option("-f", "--file", "files", multiple=True, required=True, help="A file; may be given several times.")
@click.option("--dry-run", is_flag=True, help="Show demand and plan; start nothing.")
@click.option("--rerun", is_flag=True, help="Once more, though it has ended.")
@common
@click.pass_obj
def apply_command(options: Options, files: tuple[str, ...], dry_run: bool, rerun: bool) -> int:
    """Apply documents of any kind, tenants first; everything is checked before the first is done."""
    with options.client() as client:
        if dry_run:
            planned = client.dry_run(list(files))
            show(options, planned, _verdicts(options, planned))
            note("nothing was submitted")
            next_is(f"aios apply {' '.join(f'-f {shlex.quote(file)}' for file in files)}")
            return 0
        submission = client.apply(list(files), rerun=rerun)
        if submission.workloads:
            _say_submitted(submission)
            show(options, submission, workload_table(options, submission.workloads))
            next_is("aios ps")
        else:
            tenants = client.tenants()
            rows = [[tenant.name, tenant.weight] for tenant in tenants]
            show(options, listed("tenants", tenants), table(options, ["TENANT", "WEIGHT"], rows))
            next_is("aios tenant list")
    return 0


def _after_dashes() -> list[str]:
    return list(click.get_current_context().meta["command"])


def _submit(
    client: Client,
    command: Sequence[str],
    files: tuple[str, ...],
    flags: dict[str, Any],
    rerun: bool,
    no_cache: bool,
) -> Submission:
    given = {key: value for key, value in flags.items() if value is not None}
    if not command and files and not files[0].endswith(_FILES):
        command, files = _as_command(files), ()
    if files and command:
        raise click.UsageError("Give either files or a command after --, not both.")
    if files and given:
        flag = next(iter(given)).replace("_", "-")
        raise click.UsageError(f"--{flag} belongs to a command; write it into {files[0]}.")
    if files:
        return client.submit(list(files), rerun=rerun, no_cache=no_cache)
    if not command:
        raise click.UsageError("Give a file, or a command after --, such as: aios run -- python train.py")
    return client.submit(command_document(command, given), rerun=rerun or "name" not in given)


def _as_command(words: Sequence[str]) -> list[str]:
    return ["python", *words] if words[0].endswith(".py") else list(words)


def command_document(command: Sequence[str], flags: dict[str, Any]) -> dict[str, Any]:
    """Return the ``script`` workload that runs a command line."""
    document: dict[str, Any] = {"kind": "script", "name": flags.get("name") or name_of(command)}
    document |= {key: flags[key] for key in _PLAIN if key in flags}
    amounts: dict[str, Any] = {key: flags[key] for key in _AMOUNTS if key in flags}
    if "workers" in flags:
        per_worker = {"CPU": amounts.get("num_cpus", 1)}
        per_worker |= {"GPU": amounts["num_gpus"]} if "num_gpus" in amounts else {}
        per_worker |= {"memory": amounts["memory"]} if "memory" in amounts else {}
        document["workers"] = {"num_workers": flags["workers"], "resources_per_worker": per_worker}
    else:
        document |= amounts
    return {**document, "entrypoint": list(command), "working_dir": flags.get("working_dir") or "."}


def name_of(command: Sequence[str]) -> str:
    """Return a name for a command line: that of its script, or of its program."""
    word = next((word for word in command if word.endswith((".py", ".sh"))), command[0])
    name = re.sub(r"[^a-z0-9]+", "-", PurePath(word).stem.lower()).strip("-")
    return name[:40].strip("-") or "command"


def _say_submitted(submission: Submission) -> None:
    for view in submission.workloads:
        if submission.existing:
            note(f"{view.id} was submitted before ({view.status}): it is the same workload")
        else:
            note(f"submitted {view.id}: {view.demand}")


def _verdicts(options: Options, planned: DryRunView) -> str:
    rows = [[v.name, v.tenant, v.priority, v.demand, v.verdict] for v in planned.workloads]
    parts = [f"tenant {name}: would be applied" for name in planned.tenants]
    if rows:
        parts.append(table(options, ["WORKLOAD", "TENANT", "PRIO", "ASKS FOR", "VERDICT"], rows))
    plan = planned.plan
    parts.append(f"plan: {plan.planner} {plan.status}, gap {plan.gap or 0:.1%}, solved in {solved_in(plan)}")
    if plan.terms:
        parts.append(terms_table(options, plan))
    return clean("\n\n".join(parts))
