"""Checks of what a stage takes and makes, shared by the engines' specs."""

from __future__ import annotations

from collections.abc import Mapping


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
    unknown = sorted(set(given) - set(wanted))
    if unknown:
        roles = ", ".join(wanted) or "nothing"
        raise ValueError(f"{what} has {', '.join(unknown)}, which this kind does not know: it takes {roles}")


def name_of(reference: str) -> str:
    """Return the name in ``type://name[@version]``."""
    return reference.partition("://")[2].partition("@")[0]
