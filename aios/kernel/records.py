"""What is known of a workload whether it is in the state or was retired: the few fields that others ask about."""

from __future__ import annotations

from collections.abc import Iterator

from aios.kernel.events import WorkloadId
from aios.kernel.inputs import is_versioned, names, split
from aios.kernel.state import State, Status, Tombstone, Workload


def record(state: State, id: WorkloadId) -> Tombstone | None:
    """Return the short record of a workload, None where no such workload was ever accepted."""
    workload = state.workloads.get(id)
    return state.retired.get(id) if workload is None else short(state, workload)


def short(state: State, workload: Workload) -> Tombstone:
    """Return what stays of a workload when it leaves the state."""
    work = workload.work
    return Tombstone(
        work.id,
        work.name,
        work.kind,
        work.tenant,
        work.content,
        workload.status,
        workload.submitted_s,
        workload.finished_s,
        priority=work.priority,
        reason=workload.reason,
        pipeline=work.pipeline,
        needs=work.needs,
        reused=workload.reused,
        service=work.service,
        user=work.user,
        exit_code=workload.exit_code,
        waited_s=workload.waited_s,
        ran_s=workload.ran_s,
        n_attempts=len(workload.attempts),
        outputs=tuple(reference for _, reference in work.outputs if is_versioned(reference)),
        read=tuple(_read(state, workload)) if workload.status is Status.SUCCEEDED else (),
        reports=tuple(artefact for artefact in workload.artefacts if artefact.type == "report"),
    )


def status_of(state: State, id: WorkloadId) -> Status | None:
    """Return what became of a workload so far, None where no such workload was ever accepted."""
    workload = state.workloads.get(id) or state.retired.get(id)
    return None if workload is None else workload.status


def _read(state: State, workload: Workload) -> Iterator[tuple[str, str]]:
    """Give each input that had versions as it was named and as it was read; what its needs made stays as they do."""
    inputs = [reference for _, reference in workload.work.inputs]
    if not inputs:
        return
    needed = (record(state, id) for id in workload.work.needs)
    made = {split(reference)[0] for need in needed if need is not None for reference in need.outputs}
    for reference, exact in zip(inputs, names(state, workload), strict=True):
        if is_versioned(reference) and split(reference)[0] not in made:
            yield reference, exact
