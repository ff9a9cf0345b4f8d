"""Workloads by what people type: an id, a name, a pipeline, or the beginning of an id."""

from __future__ import annotations

from aios.complaints import did_you_mean
from aios.errors import Ambiguous, NotFound
from aios.kernel.events import WorkloadId
from aios.kernel.state import State, Workload


def find(state: State, ref: str) -> tuple[Workload, ...]:
    """Return the workloads that a reference means: one, or all stages of a pipeline.

    An exact id wins, then a name (its newest workload), then a pipeline, then the beginning of an id or name.
    Raises NotFound and Ambiguous, which say what there is.
    """
    if (exact := state.workloads.get(WorkloadId(ref))) is not None:
        return (exact,)
    if ref in state.names:
        return (state.workloads[state.names[ref]],)
    if stages := of_pipeline(state, ref):
        return stages
    return (_by_prefix(state, ref),)


def find_one(state: State, ref: str) -> Workload:
    """Return the one workload of a reference; a pipeline is ambiguous."""
    found = find(state, ref)
    if len(found) > 1:
        hint = f"say which: {', '.join(w.work.name for w in found)}"
        raise Ambiguous(f"{ref!r} is a pipeline of {len(found)} workloads", hint=hint)
    return found[0]


def of_pipeline(state: State, name: str) -> tuple[Workload, ...]:
    """Return a pipeline's stages, the newest of each name, in order of submission."""
    stages = [state.workloads[id] for id in state.names.values() if state.workloads[id].work.pipeline == name]
    return tuple(sorted(stages, key=lambda w: (w.submitted_s, _depth(state, w), w.work.name)))


def _depth(state: State, workload: Workload) -> int:
    """Return the length of the longest chain of needs below a stage."""
    needs = [state.workloads[id] for id in workload.work.needs if id in state.workloads]
    return 1 + max((_depth(state, need) for need in needs), default=0)


def _by_prefix(state: State, ref: str) -> Workload:
    matches = {id: w for id, w in state.workloads.items() if ref and id.startswith(ref)}
    if len(matches) == 1:
        return next(iter(matches.values()))
    if matches:
        shown = sorted(matches)[:10]
        more = f" and {len(matches) - len(shown)} more" if len(matches) > len(shown) else ""
        raise Ambiguous(f"{ref[:63]!r} is the beginning of {len(matches)} ids", hint=f"one of {', '.join(shown)}{more}")
    near = did_you_mean(ref, [*state.names, *state.workloads])
    raise NotFound(f"there is no workload {ref[:63]!r}", hint=f"{near} list them: aios ps -a".strip())
