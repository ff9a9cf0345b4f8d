"""Commands about the event log itself: store backup, restore, verify, list. They need no control plane."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aios.cli.options import Options, common
from aios.cli.output import listed, next_is, note, show, table

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aios.store.verifying import Verdict

_UNSOUND = 109


def _store(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option that says which log is meant."""
    return click.option(
        "--store",
        "url",
        metavar="URL",
        default=None,
        help="Of this log; default: AIOS_STORE_URL, or the one in AIOS_HOME.",
    )(command)


@click.group("store")
def store_command() -> None:
    """The event log, in which everything is: back it up, restore it, verify it."""


@store_command.command("backup")
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path))
@_store
@common
@click.pass_obj
def store_backup(options: Options, destination: Path, url: str | None) -> None:
    """Copy the log to a new file (in a folder: under a name of its own), also while the control plane writes it."""
    from datetime import UTC, datetime

    from aios.store.backups import backup

    made = backup(_url(url), destination.absolute(), datetime.now(UTC))
    view = {"path": str(made.path), "store": made.store, "events": made.head.seq, "epoch": made.head.epoch,
            "checksum": made.head.checksum, "bytes": made.n_bytes}  # fmt: skip
    show(options, view, str(made.path))
    note(f"{made.head.seq} events, {made.n_bytes / 2**20:.1f} MiB; written, read again and found whole")
    next_is(f"aios store restore {made.path}")


@store_command.command("restore")
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Keep the log that is there under another name, and go on.")
@_store
@common
@click.pass_obj
def store_restore(options: Options, source: Path, force: bool, url: str | None) -> None:
    """Put a backup in the log's place; of a folder, its newest sound one. Refused while a control plane runs."""
    from datetime import UTC, datetime

    from aios.store.restoring import restore

    done = restore(_backup(source.absolute()), _url(url), datetime.now(UTC), force=force)
    view = {"store": done.store, "source": done.source, "events": done.head.seq, "epoch": done.head.epoch,
            "last_event_s": done.head.at_s, "kept": done.kept, "lost": done.lost}  # fmt: skip
    show(options, view, f"{done.store}: {done.head.seq} events, the last {_moment(done.head.at_s)}")
    if done.kept:
        note(f"the log that was there is kept: {done.kept}")
    if done.lost:
        note(f"it had {done.lost} more events than the backup: what they record is not known any more")
    next_is("aios up")


@store_command.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Same as: -o json.")
@_store
@common
@click.pass_obj
def store_verify(options: Options, as_json: bool, url: str | None) -> int:
    """Read the whole log: checksums, epochs, every event, and whether it folds. Fails where anything is wrong."""
    import dataclasses

    from aios.config import Settings
    from aios.store.backups import how_to_restore
    from aios.store.verifying import verify

    if as_json:
        options.output = "json"
    verdict = verify(_url(url))
    if not verdict.sound and url is None and "newer version" not in verdict.hint:
        verdict = dataclasses.replace(verdict, hint=how_to_restore(Settings.from_env().backups))
    show(options, {**dataclasses.asdict(verdict), "sound": verdict.sound}, _described(verdict))
    if verdict.sound:
        next_is("aios store backup DEST")
        return 0
    note(f"hint: {verdict.hint}")
    return _UNSOUND


@store_command.command("list")
@common
@click.pass_obj
def store_list(options: Options) -> None:
    """The backups that the control plane has made, the newest first."""
    from aios.config import Settings
    from aios.store.backups import backups_in

    folder = Settings.from_env().backups
    found = backups_in(folder)
    views = [{"path": str(p), "bytes": p.stat().st_size, "made_s": p.stat().st_mtime} for p in found]
    rows = [[p.name, _moment(p.stat().st_mtime), f"{p.stat().st_size / 2**20:.1f} MiB"] for p in found]
    show(options, listed("backups", views), table(options, ["BACKUP", "MADE", "SIZE"], rows) if rows else "")
    note(f"in {folder}" if rows else f"no backups in {folder}")
    next_is(f"aios store restore {found[0]}" if rows else f"aios store backup {folder}.db")


def _url(url: str | None) -> str:
    from aios.config import Settings

    return Settings.from_env().store_url if url is None else url


def _backup(source: Path) -> Path:
    """Return the backup that is meant; raises StoreError where a folder has none."""
    from aios.errors import StoreError
    from aios.store.backups import newest_sound

    if not source.is_dir():
        return source
    found = newest_sound(source)
    if found is None:
        raise StoreError(f"there is no sound backup in {source}", hint="name a file: aios store restore FILE")
    return found[0]


def _described(verdict: Verdict) -> str:
    lines = [
        f"store      {verdict.store}",
        f"events     {verdict.events}, the last {_moment(verdict.last_event_s)}",
        f"workloads  {verdict.workloads} submitted",
        f"epoch      {verdict.epoch}",
        f"head       {verdict.head_checksum or '-'}",
        f"snapshot   {'none' if verdict.snapshot is None else f'after event {verdict.snapshot}'}",
    ]
    where = "" if verdict.broken_at is None else f" AT EVENT {verdict.broken_at}"
    return "\n".join([*lines, "verdict    sound" if verdict.sound else f"verdict    BROKEN{where}: {verdict.problem}"])


def _moment(at_s: float | None) -> str:
    from datetime import UTC, datetime

    return "-" if at_s is None else f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%SZ}"
