"""Which finished stages stand for a run: the same code, parameters and inputs, and what they made is there.

Code and parameters are in a workload's content (packages are named by their hash). Inputs are compared by the versions
that were read then and would be read now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aios.kernel.events import WorkloadId
from aios.kernel.inputs import find, is_versioned, names, split
from aios.kernel.ports import NewWork
from aios.kernel.state import State, Status, Workload


def source_of(state: State, workload: Workload) -> Workload | None:
    """Return the workload that really ran, None where that is not known any more."""
    return workload if workload.reused is None else state.workloads.get(workload.reused)


def unchanged(state: State, workload: Workload, again: Collection[WorkloadId] = ()) -> bool:
    """Return whether a workload that succeeded would do the same again.

    It would not where something that it needs runs ``again``, where an input has a newer version, or where what it made
    was removed.
    """
    source = source_of(state, workload)
    if source is None or workload.status is not Status.SUCCEEDED or workload.work.service:
        return False
    if any(need in again for need in workload.work.needs):
        return False
    made = [reference for _, reference in source.work.outputs if is_versioned(reference)]
    if not all(_made_by(state, reference, source.id) for reference in made):
        return False
    makers = _makers(state, source)
    read = dict(zip((role for role, _ in source.work.inputs), names(state, source), strict=True))
    for role, reference in source.work.inputs:
        if not is_versioned(reference) or split(reference)[0] in makers:
            continue  # made by a stage that it needs, which stays as it is
        key, version = split(reference)
        now = find(state, key, version)
        if now is None or read[role] not in (f"{key}@{now.version}", f"{key}.{now.version}"):
            return False
    return True


def reusable(
    state: State, work: NewWork, before: Mapping[str, Workload], standing: Collection[str]
) -> WorkloadId | None:
    """Return the workload whose result stands for a stage that is submitted again, None where it has to run.

    ``before`` are the earlier workloads of the submission's names, ``standing`` the names that need not run.
    """
    older = before.get(work.name)
    if not work.cache or older is None or (older.work.content, older.work.tenant) != (work.content, work.tenant):
        return None
    if any(need not in standing for need in work.needs):
        return None
    if {state.workloads[id].work.name for id in older.work.needs if id in state.workloads} != set(work.needs):
        return None
    source = source_of(state, older)
    return source.id if source is not None and unchanged(state, older) else None


def _made_by(state: State, reference: str, id: WorkloadId) -> bool:
    key, _ = split(reference)
    versions = state.versions.get(key, ())
    return any(one.workload == id and find(state, key, str(one.version)) is not None for one in versions)


def _makers(state: State, workload: Workload) -> set[str]:
    """Return what the workloads make that this one needs."""
    needed = (state.workloads.get(id) for id in workload.work.needs)
    return {split(reference)[0] for need in needed if need is not None for _, reference in need.work.outputs}
