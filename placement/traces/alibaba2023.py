"""Alibaba's GPU cluster of 2023 ("openb"): pods that share GPUs, and the nodes they ran on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from placement.model import ACCELERATOR_KEY, Node, NodeId, Resources
from placement.traces import rows
from placement.traces.gangs import MIB, bundle
from placement.traces.model import Job, Trace

SENTENCE = (
    "Alibaba's openb of 2023: 8,152 pods, most with a part of one GPU, on 1,213 GPU nodes of several types; good for "
    "packing, fragmentation and GPU sharing."
)
PODS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
MORE = ("gpu_spec", "qos", "creation_time", "deletion_time", "scheduled_time")
"""What some of the lists leave out: any type, best effort, and no times."""
NODES = ("sn", "cpu_milli", "memory_mib", "gpu", "model")
PRIORITY = {"LS": 1, "Guaranteed": 1}
"""Latency-sensitive and guaranteed pods come before burstable and best-effort ones."""


def looks_like(first: Sequence[str]) -> bool:
    return set(PODS) <= set(first[0].split(","))


def read(path: Path) -> Trace:
    """Read pods as jobs of one bundle each.

    ``gpu_milli`` counts where ``num_gpu`` is 1; ``gpu_spec`` lists the allowed types. A pod runs from its
    ``scheduled_time`` (where it has none: from its creation) to its ``deletion_time``, at least a second.
    """
    jobs = []
    for row in rows.table(path, PODS, optional=MORE):
        n_gpus, part = row.count("num_gpu"), row.count("gpu_milli", default=1000)
        types = tuple(sorted(t for t in row.text("gpu_spec", "").split("|") if t))
        gpu = part if n_gpus == 1 else n_gpus * 1000
        one = bundle(gpu, row.count("cpu_milli"), row.count("memory_mib") * MIB, types)
        created = row.number("creation_time", 0, 0.0)
        began = row.number("scheduled_time", 0, created)
        runtime_s = max(1.0, row.number("deletion_time", 0, 0.0) - began)
        jobs.append(Job(row.text("name"), "openb", created, runtime_s, (one,), PRIORITY.get(row.text("qos", ""), 0)))
    return rows.trace("alibaba-2023", jobs, SENTENCE)


def read_nodes(path: Path) -> tuple[Node, ...]:
    """Read the cluster: cores in thousandths, memory in MiB, number of GPUs and their type."""
    nodes = []
    for row in rows.table(path, NODES):
        gpu = row.count("gpu") * 1000
        amounts = {"GPU": gpu, "CPU": row.count("cpu_milli"), "memory": row.count("memory_mib") * MIB}
        model = row.text("model")
        labels = ((ACCELERATOR_KEY, model),) if model and gpu else ()
        nodes.append(Node(NodeId(row.text("sn")), Resources.of(amounts), labels))
    return tuple(nodes)
