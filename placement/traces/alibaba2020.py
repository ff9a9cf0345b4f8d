"""Alibaba's PAI cluster of 2020 (NSDI 2022): the table of tasks, in its published columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placement.model import Bundle
from placement.traces import rows
from placement.traces.gangs import GIB, MOST_BUNDLES, bundle
from placement.traces.model import Job, Trace, TraceError

SENTENCE = (
    "Alibaba's PAI of 2020: two months of training and inference on 6,500 GPUs, gangs of unlike tasks and parts of "
    "GPUs; good for gangs, sharing and types."
)
COLUMNS = (
    "job_name",
    "task_name",
    "inst_num",
    "status",
    "start_time",
    "end_time",
    "plan_cpu",
    "plan_mem",
    "plan_gpu",
    "gpu_type",
)
"""Of pai_task_table.csv, which has no header: plan_cpu and plan_gpu in hundredths, plan_mem in GB, times in seconds."""


def looks_like(first: Sequence[str]) -> bool:
    fields = first[0].split(",")
    return len(fields) == len(COLUMNS) and fields[3] in ("Terminated", "Failed", "Running", "Waiting")


def read(path: Path) -> Trace:
    """Read jobs: all tasks of one job_name are one gang. Jobs that did not start or end are left out.

    A task that asks for more than one GPU in parts gets whole ones. The table names no user: there is one tenant.
    """
    tasks: dict[str, list[rows.Row]] = {}
    for row in rows.table(path, COLUMNS, header=False):
        tasks.setdefault(row.text("job_name"), []).append(row)
    jobs = []
    for name, parts in tasks.items():
        begins = [part.number("start_time", 0) for part in parts if part.text("start_time")]
        ends = [part.number("end_time", 0) for part in parts if part.text("end_time")]
        if begins and ends and max(ends) > min(begins):
            bundles = tuple(one for part in parts for one in _instances(part))
            if len(bundles) > MOST_BUNDLES:
                problem = f"job {name} has {len(bundles)} instances"
                raise TraceError(str(path), parts[0].line, 3, problem, f"at most {MOST_BUNDLES} are one gang")
            jobs.append(Job(name, "pai", min(begins), max(ends) - min(begins), bundles))
    return rows.trace("alibaba-2020", jobs, SENTENCE)


def _instances(part: rows.Row) -> tuple[Bundle, ...]:
    gpu = round(part.number("plan_gpu", 0, 0.0) * 10)
    gpu = -(-gpu // 1000) * 1000 if gpu > 1000 else gpu
    cpu, memory = round(part.number("plan_cpu", 0, 0.0) * 10), round(part.number("plan_mem", 0, 0.0) * GIB)
    wanted = part.text("gpu_type")
    types = (wanted,) if gpu and wanted not in ("", "MISC", "CPU") else ()
    return (bundle(gpu, cpu, memory, types),) * part.count("inst_num", 1, 1)
