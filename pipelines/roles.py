"""Checks of what a stage takes and makes, shared by the engines' specs."""

from __future__ import annotations

import re
from collections.abc import Mapping

BRANCH = re.compile(r"(?!v\d+$)[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def check_roles(what: str, given: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise ValueError unless ``given`` has exactly the roles of ``wanted``, each a reference of its type.

    Parameters
    ----------
    what : str
        ``inputs`` or ``outputs``.
    wanted : mapping
        Role to type, such as ``{"data": "dataset"}``.
    """
    for role, type_ in wanted.items():
        reference = given.get(role)
        if reference is None:
            raise ValueError(f"{what} needs {role!r}: write {what}: {{{role}: {type_}://NAME}}")
        if not reference.startswith(f"{type_}://"):
            raise ValueError(f"{what}.{role} is {reference!r}: it must be a {type_}, such as {type_}://NAME")
        if what == "outputs":
            _check_output(role, reference)
    unknown = sorted(set(given) - set(wanted))
    if unknown:
        roles = ", ".join(wanted) or "nothing"
        raise ValueError(f"{what} has {', '.join(unknown)}, which this kind does not know: it takes {roles}")


def _check_output(role: str, reference: str) -> None:
    """Raise ValueError where an output names a version, which is given to it, and not a branch of a dataset."""
    key, _, branch = reference.partition("@")
    if branch and (not key.startswith("dataset://") or not BRANCH.fullmatch(branch) or branch == "latest"):
        raise ValueError(
            f"outputs.{role} is {reference!r}: a new version gets its number by itself; write {key}, or for a branch "
            "of a dataset a name (a-z, 0-9, '-') that begins with a letter, such as dataset://NAME@trial"
        )


def name_of(reference: str) -> str:
    """Return the name in ``type://name[@version]``."""
    return reference.partition("://")[2].partition("@")[0]
