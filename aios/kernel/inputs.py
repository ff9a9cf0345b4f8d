"""Which version of a dataset or model a workload reads, and the next number of what it makes."""

from __future__ import annotations

from aios.kernel.actions import ResolvedInput
from aios.kernel.events import Artefact, Published, WorkloadId
from aios.kernel.state import State, Workload

SCHEMES = ("dataset", "model")
"""Types of artefact that have versions."""


def is_versioned(reference: str) -> bool:
    return reference.partition("://")[0] in SCHEMES and "://" in reference


def split(reference: str) -> tuple[str, str]:
    """Return a reference's key (``dataset://name``) and version, empty where it names none."""
    key, _, version = reference.partition("@")
    return key, version


def resolve(state: State, workload: Workload, reference: str) -> Published | None:
    """Return the version that a reference means for a workload, None where there is none.

    A version that a workload it needs has made comes first, then the newest. Versions that came after the first grant
    are not seen: every look gives the same answer, and what goes on from a checkpoint reads what it began with.
    """
    key, wanted = split(reference)
    versions = state.versions.get(key, ())
    if workload.attempts:
        versions = tuple(v for v in versions if v.at_s <= workload.attempts[0].granted_s)
    if wanted and wanted != "latest":
        return next((v for v in versions if str(v.version) == wanted.removeprefix("v")), None)
    upstream = _upstream(state, workload)
    return next((v for v in reversed(versions) if v.workload in upstream), versions[-1] if versions else None)


def resolved(state: State, workload: Workload) -> tuple[ResolvedInput, ...]:
    """Return a workload's inputs with their exact versions; what has no versions is passed on as it stands."""
    found = []
    for role, reference in workload.work.inputs:
        version = resolve(state, workload, reference) if is_versioned(reference) else None
        if version is None:
            found.append(ResolvedInput(role, reference, reference))
        else:
            exact = f"{split(reference)[0]}@{version.version}"
            found.append(ResolvedInput(role, exact, version.artefact.uri, version.artefact.meta))
    return tuple(found)


def names(state: State, workload: Workload) -> tuple[str, ...]:
    """Return the exact versions that a workload read: its lineage."""
    return tuple(one.reference for one in resolved(state, workload))


def next_version(state: State, artefact: Artefact) -> int:
    versions = state.versions.get(f"{artefact.type}://{artefact.name}", ())
    return versions[-1].version + 1 if versions else 1


def _upstream(state: State, workload: Workload) -> frozenset[WorkloadId]:
    """Return all workloads that must have succeeded before this one."""
    seen: set[WorkloadId] = set()
    todo = list(workload.work.needs)
    while todo:
        id = todo.pop()
        if id not in seen and id in state.workloads:
            seen.add(id)
            todo.extend(state.workloads[id].work.needs)
    return frozenset(seen)
