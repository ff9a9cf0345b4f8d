"""The ``aios`` command. Its help costs nothing: each command's module is loaded when that command runs."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from aios.cli.options import Options, common

_DAILY = {
    "up": ("cluster", "Start AIOS on this machine, or on the Ray cluster at --address."),
    "down": ("cluster", "Stop AIOS, and the Ray cluster where it is our own."),
    "status": ("looking", "The control plane and its cluster at a glance."),
    "run": ("submitting", "Submit a file or a command and follow it."),
    "submit": ("submitting", "Submit and return at once."),
    "apply": ("submitting", "Apply documents of any kind; --dry-run shows demand and plan."),
    "ps": ("looking", "Workloads in one table."),
    "describe": ("looking", "Everything about a workload."),
    "logs": ("looking", "What a workload prints."),
    "explain": ("looking", "Why it waits, or why it runs there, and what to do next."),
    "stop": ("looking", "Stop workloads."),
    "retry": ("operating", "Run again what failed; finished stages are used as they are."),
    "preempt": ("operating", "Have running work save its progress and queue again."),
    "suspend": ("operating", "Have work save its progress and wait until it is resumed."),
    "resume": ("operating", "Let suspended work wait for its turn again."),
    "drain": ("operating", "Take a node out of use, or back with --undo."),
    "wait": ("looking", "Wait until a workload is over, runs or is ready."),
    "plan": ("looking", "The current plan, its terms, bound and shares."),
    "usage": ("usage", "Resource-hours asked, granted, used and wasted."),
    "simulate": ("simulating", "Run files or a trace on virtual time; nothing is started."),
}
_NOUNS = {
    "tenant": ("nouns", "Teams: list, apply."),
    "policy": ("nouns", "The rules of the cluster: show, apply."),
    "reservation": ("nouns", "Nodes kept for a time: list, apply, delete."),
    "node": ("nouns", "Nodes of the cluster: list."),
    "data": ("data", "Dataset versions: list, show, diff, tag, rollback, sample, profile, export, erase, gc."),
    "lineage": ("tracing", "Where a dataset or model came from, and what came of it."),
    "models": ("models", "Model versions: list, show, diff, report, import, promote, rollback, card, verify, gc."),
    "export": ("exporting", "A model version as one signed folder that runs at the edge."),
    "trials": ("trials", "The trials of a tuning, the best first."),
    "explain-prediction": ("judging", "Which features made a model answer so for one row."),
    "endpoint": ("nouns", "Endpoints that answer: list."),
    "event": ("nouns", "What was recorded: list."),
    "store": ("storing", "The event log itself: backup, restore, verify, list."),
    "env": ("cluster", "What Ray's own commands need to reach the cluster, for a shell."),
    "version": ("nouns", "The version of this command."),
}
_HIDDEN = {
    "nodes": ("nouns", "Same as: node list."),
    "tenants": ("nouns", "Same as: tenant list."),
    "model": ("models", "Same as: models."),
}
_ALL = {**_DAILY, **_NOUNS, **_HIDDEN}


class Lazy(click.Group):
    """A group that knows its commands by name and loads them when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_DAILY, *_NOUNS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ALL:
            return None
        module = importlib.import_module(f"aios.cli.{_ALL[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _ALL and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], list(_ALL), n=1)
            hint = f" Did you mean '{near[0]}'?" if near else " See: aios --help"
            ctx.fail(f"There is no command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in (("Daily", _DAILY), ("Things", _NOUNS)):
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in names.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(None, "--version", package_name="aios", message="aios %(version)s")
@common
def cli() -> None:
    """AIOS runs many teams' workloads on one Ray cluster.

    Data goes to stdout, all else to stderr. A workload's own exit code (1-99) comes through unchanged; 100 failed,
    101 not finished, 102 not found, 103 stopped, 104 rejected, 107 not allowed, 108 no control plane, 2 wrong command
    line or file.
    """


def main(args: list[str] | None = None) -> None:
    """Run the command and leave with its exit code."""
    sys.exit(run(sys.argv[1:] if args is None else args))


def run(args: list[str]) -> int:
    """Run the command and return its exit code; all errors become messages on stderr."""
    from aios.errors import AiosError

    options = Options()
    try:
        code: Any = cli.main(args=args, prog_name="aios", standalone_mode=False, obj=options)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except AiosError as error:
        from aios.cli.output import show_error

        show_error(error, options)
        return error.exit_code


if __name__ == "__main__":
    main()
