"""Workloads by what people type: an id, a name, a pipeline, or the beginning of an id.

What has left the state is found by its short record, and read from the log.
"""

from __future__ import annotations

from aios.api.service import Service
from aios.complaints import did_you_mean
from aios.errors import Ambiguous, NotFound
from aios.kernel.events import WorkloadId
from aios.kernel.state import State, Workload


def find(service: Service, ref: str) -> tuple[Workload, ...]:
    """Return the workloads that a reference means: one, or all stages of a pipeline.

    An exact id wins, then a name (its newest workload), then a pipeline, then the beginning of an id or name.
    Raises NotFound and Ambiguous, which say what there is.
    """
    return tuple(workload_of(service, id) for id in find_ids(service.state(), ref))


def find_one(service: Service, ref: str) -> Workload:
    """Return the one workload of a reference; a pipeline is ambiguous."""
    found = find(service, ref)
    if len(found) > 1:
        hint = f"say which: {', '.join(w.work.name for w in found)}"
        raise Ambiguous(f"{ref!r} is a pipeline of {len(found)} workloads", hint=hint)
    return found[0]


def workload_of(service: Service, id: WorkloadId) -> Workload:
    """Return a workload as it is now; one that was retired, as the log has it. Raises NotFound."""
    workload = service.state().workloads.get(id)
    if workload is None:
        workload = service.recall(id)
    if workload is None:
        raise NotFound(f"there is no workload {id[:63]!r}", hint="list them: aios ps -a")
    return workload


def find_ids(state: State, ref: str) -> tuple[WorkloadId, ...]:
    """Return the ids that a reference means."""
    if (exact := WorkloadId(ref)) in state.workloads or exact in state.retired:
        return (exact,)
    if ref in state.names:
        return (state.names[ref],)
    return of_pipeline(state, ref) or (_by_prefix(state, ref),)


def of_pipeline(state: State, name: str) -> tuple[WorkloadId, ...]:
    """Return a pipeline's stages, the newest of each name, in order of submission."""
    depths: dict[WorkloadId, int] = {}
    stages = []
    for own, id in state.names.items():
        one = state.workloads.get(id) or state.retired.get(id)
        if one is not None and one.pipeline == name:
            stages.append((one.submitted_s, _depth(state, id, depths), own, id))
    return tuple(id for *_, id in sorted(stages))


def _depth(state: State, id: WorkloadId, known: dict[WorkloadId, int]) -> int:
    """Return the length of the longest chain of needs below a stage."""
    if id not in known:
        one = state.workloads.get(id) or state.retired.get(id)
        known[id] = 0 if one is None else 1 + max((_depth(state, need, known) for need in one.needs), default=0)
    return known[id]


def _by_prefix(state: State, ref: str) -> WorkloadId:
    matches = sorted(id for table in (state.workloads, state.retired) for id in table if ref and id.startswith(ref))
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = matches[:10]
        more = f" and {len(matches) - len(shown)} more" if len(matches) > len(shown) else ""
        raise Ambiguous(f"{ref[:63]!r} is the beginning of {len(matches)} ids", hint=f"one of {', '.join(shown)}{more}")
    near = did_you_mean(ref, [*state.names, *state.workloads])
    raise NotFound(f"there is no workload {ref[:63]!r}", hint=f"{near} list them: aios ps -a".strip())
