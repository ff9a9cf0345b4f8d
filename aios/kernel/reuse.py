"""Which finished stages stand for a run: the same code, parameters and inputs, and what they made is there.

Code and parameters are in a workload's content (packages are named by their hash). Inputs are compared by the versions
that were read then and would be read now.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aios.kernel.events import WorkloadId
from aios.kernel.inputs import find, split
from aios.kernel.ports import NewWork
from aios.kernel.records import record
from aios.kernel.state import State, Status, Tombstone


def source_of(state: State, one: Tombstone) -> Tombstone | None:
    """Return the record of the workload that really ran, None where that is not known any more."""
    return one if one.reused is None else record(state, one.reused)


def unchanged(state: State, one: Tombstone, again: Collection[WorkloadId] = ()) -> bool:
    """Return whether a workload that succeeded would do the same again.

    It would not where something that it needs runs ``again``, where an input has a newer version, or where what it made
    was removed. What was made by a stage that it needs stays as that stage does.
    """
    source = source_of(state, one)
    if source is None or one.status is not Status.SUCCEEDED or one.service:
        return False
    if any(need in again for need in one.needs):
        return False
    if not all(_made_by(state, reference, source.id) for reference in source.outputs):
        return False
    for reference, exact in source.read:
        key, version = split(reference)
        now = find(state, key, version)
        if now is None or exact not in (f"{key}@{now.version}", f"{key}.{now.version}"):
            return False
    return True


def reusable(
    state: State, work: NewWork, before: Mapping[str, Tombstone], standing: Collection[str]
) -> WorkloadId | None:
    """Return the workload whose result stands for a stage that is submitted again, None where it has to run.

    ``before`` are the earlier workloads of the submission's names, ``standing`` the names that need not run.
    """
    older = before.get(work.name)
    if not work.cache or older is None or (older.content, older.tenant) != (work.content, work.tenant):
        return None
    if any(need not in standing for need in work.needs):
        return None
    needed = (record(state, id) for id in older.needs)
    if {need.name for need in needed if need is not None} != set(work.needs):
        return None
    source = source_of(state, older)
    return source.id if source is not None and unchanged(state, older) else None


def _made_by(state: State, reference: str, id: WorkloadId) -> bool:
    key, _ = split(reference)
    versions = state.versions.get(key, ())
    return any(one.workload == id and find(state, key, str(one.version)) is not None for one in versions)
