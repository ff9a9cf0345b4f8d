"""Which version of a dataset or model a workload reads, and the next number of what it makes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aios.kernel.actions import ResolvedInput
from aios.kernel.events import Artefact, Published, WorkloadId
from aios.kernel.state import State, Workload

SCHEMES = ("dataset", "model")
"""Types of artefact that have versions."""


def is_versioned(reference: str) -> bool:
    return reference.partition("://")[0] in SCHEMES and "://" in reference


def may_be_missing(role: str) -> bool:
    """Return whether work starts without this input too: its role ends in ``?`` (what is compared to, at first)."""
    return role.endswith("?")


def split(reference: str) -> tuple[str, str]:
    """Return a reference's key (``dataset://name``) and version, empty where it names none."""
    key, _, version = reference.partition("@")
    return key, version


def resolve(state: State, workload: Workload, reference: str) -> Published | None:
    """Return the version that a reference means for a workload, None where there is none.

    A version that a workload it needs has made comes first, then the newest. Versions and tags that came after the
    first grant are not seen: every look gives the same answer, and what goes on from a checkpoint reads what it began
    with.
    """
    key, wanted = split(reference)
    until_s = workload.attempts[0].granted_s if workload.attempts else None
    if wanted and wanted != "latest":
        return find(state, key, wanted, until_s)
    versions = there(state, key, until_s)
    upstream = _upstream(state, workload)
    return next((v for v in reversed(versions) if v.workload in upstream), versions[-1] if versions else None)


def find(state: State, key: str, wanted: str, until_s: float | None = None) -> Published | None:
    """Return the version that a text after ``@`` means: a number, a tag, a branch (its newest), or a moment (the
    newest of then), as they were at ``until_s``."""
    versions = there(state, key, until_s)
    by_number = {str(v.version): v for v in versions}
    if wanted in ("", "latest"):
        return versions[-1] if versions else None
    if wanted.removeprefix("v") in by_number:
        return by_number[wanted.removeprefix("v")]
    if (tagged := tags_at(state, key, until_s).get(wanted)) is not None:
        return by_number.get(str(tagged))
    name, _, number = wanted.rpartition(".")
    if branch := there(state, f"{key}@{wanted}", until_s):
        return branch[-1]
    if number.isdecimal() and (branch := there(state, f"{key}@{name}", until_s)):
        return next((v for v in branch if v.version == int(number)), None)
    if (moment_s := moment(wanted)) is not None:
        return next((v for v in reversed(versions) if v.at_s <= moment_s), None)
    return None


def moment(text: str) -> float | None:
    """Return the seconds since 1970 of a date or time in ISO 8601 (UTC where it names no zone), None for other text."""
    if not text[:4].isdecimal() or "-" not in text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def tags_at(state: State, key: str, until_s: float | None = None) -> Mapping[str, int]:
    """Return which version each tag named at that time, or names now."""
    found: dict[str, int] = {}
    for event in state.tags.get(key, ()):
        if until_s is None or event.at_s <= until_s:
            found[event.tag] = event.version
    return {tag: version for tag, version in found.items() if version}


def there(state: State, key: str, until_s: float | None = None) -> tuple[Published, ...]:
    """Return the versions of a name that were there at that time and are in use now."""
    removed = state.removed.get(key, frozenset())
    versions = state.versions.get(key, ())
    if not removed and until_s is None:
        return versions
    return tuple(v for v in versions if v.version not in removed and (until_s is None or v.at_s <= until_s))


def key_of(artefact: Artefact) -> str:
    return f"{artefact.type}://{artefact.name}"


def exact(key: str, version: int) -> str:
    """Return the reference to one version of a name, or of a branch of a name."""
    return f"{key}.{version}" if "@" in key else f"{key}@{version}"


def named(reference: str) -> tuple[str, int] | None:
    """Return key and version of an exact reference, None where it is none."""
    key, _, rest = reference.partition("@")
    if rest.isdecimal():
        return key, int(rest)
    branch, _, number = rest.rpartition(".")
    return (f"{key}@{branch}", int(number)) if branch and number.isdecimal() else None


def bases(state: State, workload: Workload) -> tuple[ResolvedInput, ...]:
    """Return, for each output with versions, the one that a new version of it is to be built on now.

    A branch without versions begins at the newest version of the name.
    """
    found = []
    for role, reference in workload.work.outputs:
        key = reference  # of a name, or of a branch: dataset://name@branch
        base = _newest(state, key) or _newest(state, split(key)[0])
        if base is not None:
            artefact = base.artefact
            found.append(ResolvedInput(role, exact(key_of(artefact), base.version), artefact.uri, artefact.meta))
    return tuple(found)


def built_on(state: State, artefact: Artefact) -> bool:
    """Return whether an artefact was built on what is still the newest version of its name.

    A branch's first version may be built on any; what stands for itself follows whatever there is.
    """
    key = key_of(artefact)
    newest = _newest(state, key)
    if artefact.origin is None or (newest is None and ("@" in key or not artefact.origin)):
        return True
    return newest is not None and artefact.origin == exact(key, newest.version)


def _newest(state: State, key: str) -> Published | None:
    versions = there(state, key)
    return versions[-1] if versions else None


def resolved(state: State, workload: Workload) -> tuple[ResolvedInput, ...]:
    """Return a workload's inputs with their exact versions; what has no versions is passed on as it stands."""
    found = []
    for role, reference in workload.work.inputs:
        version = resolve(state, workload, reference) if is_versioned(reference) else None
        if version is None:
            found.append(ResolvedInput(role, reference, reference))
        else:
            named = exact(key_of(version.artefact), version.version)
            found.append(ResolvedInput(role, named, version.artefact.uri, version.artefact.meta))
    return tuple(found)


def names(state: State, workload: Workload) -> tuple[str, ...]:
    """Return the exact versions that a workload read: its lineage."""
    return tuple(one.reference for one in resolved(state, workload))


def next_version(state: State, artefact: Artefact) -> int:
    versions = state.versions.get(key_of(artefact), ())
    return versions[-1].version + 1 if versions else 1


def _upstream(state: State, workload: Workload) -> frozenset[WorkloadId]:
    """Return all workloads that must have succeeded before this one."""
    seen: set[WorkloadId] = set()
    todo = list(workload.work.needs)
    while todo:
        id = todo.pop()
        need = state.workloads.get(id) or state.retired.get(id)
        if id not in seen and need is not None:
            seen.add(id)
            if need.reused is not None:
                seen.add(need.reused)  # what it made stands for what this one would have made
            todo.extend(need.needs)
    return frozenset(seen)
