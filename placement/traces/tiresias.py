"""Tiresias's simulator input (NSDI 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placement.traces import rows
from placement.traces.gangs import per_gpu
from placement.traces.model import Job, Trace

SENTENCE = (
    "Tiresias: 60 training jobs of minutes on up to 8 GPUs, one every half minute; good as a small test of queues."
)
COLUMNS = ("job_id", "num_gpu", "submit_time", "model_name", "duration")


def looks_like(first: Sequence[str]) -> bool:
    return set(COLUMNS) <= set(first[0].split(","))


def read(path: Path) -> Trace:
    """Read jobs: GPUs, submission and duration in seconds. The table names no user: there is one tenant."""
    jobs = []
    for row in rows.table(path, COLUMNS):
        runtime_s, n_gpus = row.number("duration", 0), row.count("num_gpu")
        if runtime_s > 0 and n_gpus:
            name = f"tiresias-{row.text('job_id')}"
            jobs.append(Job(name, "tiresias", row.number("submit_time", 0), runtime_s, per_gpu(n_gpus)))
    return rows.trace("tiresias", jobs, SENTENCE, first_s=0.0)
