"""Two clusters that Slurm kept the log of: SenseTime's Helios (SC 2021) and Shanghai AI Lab's Acme (NSDI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placement.traces import rows
from placement.traces.gangs import per_gpu, per_node
from placement.traces.model import Job, Trace

HELIOS_SENTENCE = (
    "SenseTime's Helios: six months of training in four clusters of virtual clusters, half of the jobs without a GPU; "
    "good for long histories and tenants of unlike size."
)
ACME_SENTENCE = (
    "Shanghai AI Lab's Acme: six months of large-language-model work, from evaluations of minutes to pre-training on a "
    "thousand GPUs; good for extreme mixes of size."
)
HELIOS = ("job_id", "user", "vc", "gpu_num", "cpu_num", "node_num", "state", "submit_time", "duration")
ACME = ("job_id", "user", "node_num", "gpu_num", "cpu_num", "type", "state", "submit_time", "duration")


def looks_like_helios(first: Sequence[str]) -> bool:
    return set(HELIOS) <= set(first[0].split(","))


def looks_like_acme(first: Sequence[str]) -> bool:
    return set(ACME) <= set(first[0].split(","))


def read_helios(path: Path) -> Trace:
    """Read a ``cluster_log.csv``: the tenant is the virtual cluster; jobs that never ran are left out."""
    return rows.trace("helios", _jobs(path, HELIOS, "vc"), HELIOS_SENTENCE)


def read_acme(path: Path) -> Trace:
    """Read a ``trace_seren.csv`` or ``trace_kalos.csv``: the tenant is the type of work (Pretrain, Evaluation, ...)."""
    return rows.trace("acme", _jobs(path, ACME, "type"), ACME_SENTENCE)


def _jobs(path: Path, columns: Sequence[str], tenant: str) -> list[Job]:
    jobs = []
    for row in rows.table(path, columns):
        runtime_s = row.number("duration", 0, 0.0)
        n_gpus, cpu, n_nodes = row.count("gpu_num"), row.count("cpu_num") * 1000, row.count("node_num")
        if runtime_s > 0 and (n_gpus or cpu):
            bundles = per_gpu(n_gpus, cpu) if n_gpus else per_node(max(1, n_nodes), cpu)
            jobs.append(Job(row.text("job_id"), row.text(tenant), row.time("submit_time"), runtime_s, bundles))
    return jobs
