"""Work that did not succeed, submitted again in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aios.kernel.events import (
    Submitted,
    Work,
    WorkloadId,
)
from aios.kernel.evolve import Fold
from aios.kernel.ports import (
    Accepted,
    Refused,
    Reply,
    Retry,
)
from aios.kernel.records import record
from aios.kernel.reuse import unchanged
from aios.kernel.state import State, Status, Tombstone
from aios.kernel.submitting import new_id
from placement.model import DemandId


def retry_work(fold: Fold, now_s: float, retry: Retry) -> Reply:
    """Submit again what did not succeed, in its place: it needs what succeeded before and what is tried again now."""
    found = [one for id in retry.workloads if (one := record(fold.state, id)) is not None]
    works = {id: fold.state.workloads[id].work for id in retry.workloads if id in fold.state.workloads}
    works.update({work.id: work for work in retry.retired if work.id in fold.state.retired})
    unknown = [id for id in retry.workloads if id not in works]
    if unknown:
        return Refused("not_found", f"there is no workload {unknown[0]!r}", "list them with `aios ps -a`")
    again = _again(fold.state, found, retry.afresh)
    if not again:
        which = ", ".join(f"{w.id} is {w.status.value}" for w in found)
        return Refused("rejected", f"nothing to try again: {which}", "--no-cache runs what has succeeded once more")
    taken = [w for w in again if fold.state.names.get(w.name, w.id) != w.id]
    if taken:
        newer = fold.state.names[taken[0].name]
        return Refused("rejected", f"{taken[0].id} was submitted again already, as {newer}", f"aios retry {newer}")
    ids = {w.id: new_id(fold.state, w.name, nth) for nth, w in enumerate(again)}
    todo = {w.id: works[w.id] for w in again}
    while todo:
        free = [id for id, work in todo.items() if not any(need in todo for need in work.needs)]
        for id in free:
            work = todo.pop(id)
            demand = replace(work.demand, id=DemandId(ids[id]), submitted_s=now_s, deadline_s=_later(work, now_s))
            needs = tuple(ids.get(need, need) for need in work.needs)
            fold.record(Submitted(now_s, replace(work, id=ids[id], demand=demand, needs=needs)))
    return Accepted(tuple(ids.values()))


def _again(state: State, found: Sequence[Tombstone], afresh: bool) -> list[Tombstone]:
    """Return what has to run again: what did not succeed, what read something older, and what needs either."""
    again: dict[WorkloadId, Tombstone] = {}
    for workload in found:  # what is needed stands before what needs it
        over = workload.status.over
        if over and (afresh or workload.status is not Status.SUCCEEDED or not unchanged(state, workload, again)):
            again[workload.id] = workload
    return list(again.values())


def _later(work: Work, now_s: float) -> float | None:
    """Return a deadline as long after now as it was after the first submission."""
    deadline_s = work.demand.deadline_s
    return None if deadline_s is None else now_s + deadline_s - work.demand.submitted_s
