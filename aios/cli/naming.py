"""Who asks, and how a version is called in a command."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aios.views import ArtefactView


def user() -> str:
    """Return who asks, as the machine knows them; empty where it does not."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def short_of(view: ArtefactView) -> str:
    """Return what a user types for a version: ``NAME@7``, or ``NAME@BRANCH.2``."""
    return view.reference.partition("://")[2] or f"{view.name}@{view.version}"
