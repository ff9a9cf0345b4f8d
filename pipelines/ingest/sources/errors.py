"""What is wrong with a source, in words for its owner: which file, row and column, and what now."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_SHOWN = 60


class BadSource(Exception):
    """The source cannot be read as it was asked for; the message is the user's. Survives the way through a Ray task."""


def shown(value: object) -> str:
    """Return a value as it can stand in a message: short, on one line."""
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("unicode_escape").decode() if not text.isprintable() else text
    return f"{text[:LONGEST_SHOWN]}…" if len(text) > LONGEST_SHOWN else text


def listed(names: Sequence[object], most: int = 10) -> str:
    """Return names with commas between, at most ``most`` of them."""
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest} more" if rest > 0 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
