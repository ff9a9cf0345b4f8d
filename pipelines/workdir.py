"""The folder that a user's code runs in: one that the nodes can read, or a package that the client uploaded."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from aios.engines import RunContext, WorkloadFailed
from pipelines.package import unpack

PACKAGE = re.compile(r"package://([0-9a-f]{64})")


def check_working_dir(where: str | None) -> None:
    """Raise ValueError where a package's address is malformed."""
    if where is not None and where.startswith("package://") and not PACKAGE.fullmatch(where):
        raise ValueError(f"working_dir {where!r}: after package:// comes a SHA-256 of 64 hex digits")


def working_dir(where: str | None, ctx: RunContext) -> Path:
    """Return the folder, unpacked on shared storage where it is a package; without one, an empty folder."""
    work = ctx.dir / "work"
    if where is None:
        work.mkdir(exist_ok=True)
        return work
    if match := PACKAGE.fullmatch(where):
        if not work.exists():  # asked for again by the same attempt, it is there
            part = work.with_name("work.part")
            shutil.rmtree(part, ignore_errors=True)
            unpack(ctx.storage / "packages" / f"{match[1]}.zip", match[1], part)
            part.rename(work)
        return work
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise WorkloadFailed(f"working_dir {where}: no such folder on this node: give a path that every node can read")
    return folder.resolve()
