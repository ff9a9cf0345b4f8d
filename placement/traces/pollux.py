"""Pollux's workloads (OSDI 2021), which Sia uses too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from placement.traces import rows
from placement.traces.gangs import per_gpu
from placement.traces.model import Job, Trace

SENTENCE = (
    "Pollux: 160 training jobs of six applications within eight hours, arriving as in Philly's busiest hours; good for "
    "elastic jobs on 64 GPUs."
)
COLUMNS = ("name", "time", "application", "num_replicas", "batch_size")
GPU_HOURS: Mapping[str, float] = {
    "cifar10": 10**-0.5,
    "ncf": 10**-0.5,
    "bert": 10**0.5,
    "deepspeech2": 10**0.5,
    "yolov3": 10**1.5,
    "imagenet": 10**2.5,
}
"""The trace has no run times. These are the geometric middles of the size classes of Pollux's workload, in GPU-hours:
small 0.1 to 1, medium 1 to 10, large 10 to 100, extra large 100 to 1000. Pass measured ones where there are any."""


def looks_like(first: Sequence[str]) -> bool:
    return first[0].split(",") == list(COLUMNS)


def read(path: Path, gpu_hours: Mapping[str, float] | None = None, elastic: bool = False) -> Trace:
    """Read jobs; each runs for its application's GPU-hours / num_replicas. ``elastic``: from one replica up."""
    hours = GPU_HOURS if gpu_hours is None else gpu_hours
    jobs = []
    for row in rows.table(path, COLUMNS):
        application, n = row.text("application"), row.count("num_replicas", 1)
        if application not in hours:
            raise row.error("application", f"{application!r} has no GPU-hours", f"one of {', '.join(sorted(hours))}")
        runtime_s = hours[application] * 3600.0 / n
        least = 1 if elastic else -1
        jobs.append(Job(row.text("name"), application, row.number("time", 0), runtime_s, per_gpu(n), min_bundles=least))
    return rows.trace("pollux", jobs, SENTENCE, first_s=0.0)
