"""Aliases of model versions: what may be one, and the version that had it before."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from aios.kernel.events import VersionTagged
from aios.kernel.inputs import moment
from aios.spec import NAME


def check_alias(alias: str) -> None:
    """Raise ValueError where a text could be taken for a version or a moment, or is no name."""
    if alias == "latest" or alias.removeprefix("v").isdecimal():
        raise ValueError(f"{alias!r} looks like a version: an alias is a name, such as prod or canary")
    if moment(alias) is not None or not NAME.fullmatch(alias):
        raise ValueError(f"{alias!r} is no alias: a name of a-z, 0-9 and '-' that is no date, such as prod or canary")


def before(history: Sequence[VersionTagged], alias: str, gone: Collection[int] = ()) -> tuple[int, int]:
    """Return the version that has an alias now and the one that had it before; 0 where there is none.

    Moving an alias to a version that had it already takes back what came after that one: two rollbacks in a row go two
    versions back.
    """
    stack: list[int] = []
    for event in history:
        if event.tag != alias:
            continue
        if event.version in stack:
            del stack[stack.index(event.version) + 1 :]
        elif event.version:
            stack.append(event.version)
    latest = next((event.version for event in reversed(history) if event.tag == alias), 0)
    if not latest:
        return 0, 0
    earlier = [version for version in stack if version != latest and version not in gone]
    return latest, earlier[-1] if earlier else 0
