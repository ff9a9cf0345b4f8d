"""Waiting for what happens elsewhere, with a deadline and a message that says what was seen last."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def eventually(look: Callable[[], _T], *, timeout_s: float = 150.0, every_s: float = 0.1, what: str = "") -> _T:
    """Return what ``look`` returns once that is true; its AssertionErrors count as not yet."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            seen: object = look()
        except AssertionError as error:
            seen, truth = error, False
        else:
            truth = bool(seen)
        if truth:
            return seen  # type: ignore[return-value]  # it is what look() returned
        if time.monotonic() > deadline_s:
            raise AssertionError(f"{what or 'it'} did not come within {timeout_s:g} s; seen last: {seen!r}")
        time.sleep(every_s)
