"""Secrets by name: looked up where the work runs, and never in a spec, a version or a log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.ingest.sources.errors import BadSource

VARIABLE = "AIOS_SECRET_"
FOLDER = "AIOS_SECRETS"


def secret(reference: str | None, env: Mapping[str, str] | None = None) -> str | None:
    """Return the value behind ``secret:NAME``: from ``AIOS_SECRET_NAME``, else the file NAME in ``AIOS_SECRETS``."""
    if reference is None:
        return None
    env = os.environ if env is None else env
    name = reference.removeprefix("secret:")
    variable = VARIABLE + re.sub(r"\W", "_", name).upper()
    if variable in env:
        return env[variable]
    folder = Path(env.get(FOLDER) or Path(env.get("AIOS_HOME") or Path.home() / ".aios") / "secrets").expanduser()
    path = folder / name
    if not path.is_file():
        raise BadSource(
            f"secret {name!r} is not known on this node: set the variable {variable}, or write the file {path}"
        )
    return path.read_text(encoding="utf-8").rstrip("\r\n")


def without(text: str, secrets: Iterable[str | None]) -> str:
    """Return a message of a library with every secret in it blotted out."""
    for value in secrets:
        if value:
            text = text.replace(value, "***")
    return text
