"""Microsoft's Philly trace (ATC 2019), in the extract published with Sia."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placement.traces import rows
from placement.traces.gangs import per_gpu
from placement.traces.model import Job, Trace

SENTENCE = (
    "Microsoft's Philly: three months of deep-learning training in 15 virtual clusters, mostly one GPU and minutes "
    "long, with a tail of days; good for waiting, backfill and fairness among tenants."
)
COLUMNS = ("timestamp", "duration", "num_gpus", "gpu_time", "cluster")


def looks_like(first: Sequence[str]) -> bool:
    return first[0].split(",") == list(COLUMNS)


def read(path: Path) -> Trace:
    """Read jobs: timestamp of submission, duration in seconds, number of GPUs, virtual cluster (the tenant).

    Jobs that never ran (duration 0) or used no GPU are left out.
    """
    jobs = []
    for row in rows.table(path, COLUMNS):
        runtime_s, n_gpus = row.number("duration", 0), row.count("num_gpus")
        if runtime_s > 0 and n_gpus:
            name = f"philly-{row.line}"
            jobs.append(Job(name, row.text("cluster"), row.time("timestamp"), runtime_s, per_gpu(n_gpus)))
    return rows.trace("philly", jobs, SENTENCE)
