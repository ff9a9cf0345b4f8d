"""What a trace asks of a cluster: how long its jobs run alone, the load they offer, arrivals for another load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from placement.model import ACCELERATOR_KEY, Node, NodeState, total
from placement.throughput import units
from placement.traces.model import Job, Trace


def at_load(trace: Trace, nodes: Sequence[Node], load: float) -> Trace:
    """Return the trace with its arrivals stretched so that jobs ask for ``load`` of the cluster while they come.

    Raises ValueError where no stretching can do it: all jobs come at once, or none asks for anything.
    """
    if not 0 < load < float("inf"):
        raise ValueError(f"a load of {load} cannot be offered: ask for a positive number such as 0.8")
    offered = offered_load(trace, nodes)
    if not offered:
        raise ValueError(f"{trace.name}: all jobs come at once, so there is no load to set")
    return replace(trace, jobs=tuple(replace(job, submitted_s=job.submitted_s * offered / load) for job in trace.jobs))


def offered_load(trace: Trace, nodes: Sequence[Node]) -> float | None:
    """Return the accelerator-seconds of all jobs over those of the cluster from the first submission to the last one.

    Jobs run on the cluster's mix of types. 1 is a cluster that never has to idle and never catches up; None where all
    come at once.
    """
    times = [job.submitted_s for job in trace.jobs]
    size = units(total(node.resources for node in _ready(nodes)))
    span_s = max(times, default=0.0) - min(times, default=0.0)
    if not span_s or not size:
        return None
    asked = (isolated_s(job, nodes) * units(total(bundle.resources for bundle in job.bundles)) for job in trace.jobs)
    return sum(asked) / (size * span_s)


def isolated_s(job: Job, nodes: Sequence[Node]) -> float:
    """Return how long a job runs alone on the cluster's mix of accelerator types."""
    if not job.speed:
        return job.runtime_s
    speeds, speed, sizes = dict(job.speed), 0.0, 0.0
    for type_, size in _sizes_by_type(nodes).items():
        speed, sizes = speed + size * speeds.get(type_, 1.0), sizes + size
    return job.runtime_s * sizes / speed


def _sizes_by_type(nodes: Sequence[Node]) -> Mapping[str, float]:
    sizes: dict[str, float] = {}
    for node in _ready(nodes):
        type_ = node.label(ACCELERATOR_KEY)
        if type_ is not None:
            sizes[type_] = sizes.get(type_, 0.0) + units(node.resources)
    return sizes or {"": 1.0}


def _ready(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if node.state is NodeState.READY]
