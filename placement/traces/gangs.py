"""Bundles for jobs of which a trace gives only totals."""

from __future__ import annotations

from functools import cache

from placement.model import ACCELERATOR_KEY, Bundle, Resources, Selector

MOST_BUNDLES = 10_000
GIB = 2**30
MIB = 2**20


@cache
def bundle(gpu_milli: int = 0, cpu_milli: int = 0, memory: int = 0, types: tuple[str, ...] = ()) -> Bundle:
    """Return one bundle; ``types`` are the accelerators that it may use, empty for any."""
    selector = Selector.parse({ACCELERATOR_KEY: f"in({','.join(types)})"}) if types else Selector()
    return Bundle(Resources.of({"GPU": gpu_milli, "CPU": cpu_milli, "memory": memory}), selector)


def per_gpu(n_gpus: int, cpu_milli: int = 0) -> tuple[Bundle, ...]:
    """Return a bundle for each GPU, with its part of the job's CPUs."""
    return (bundle(1000, cpu_milli // n_gpus),) * n_gpus


def per_node(n_nodes: int, cpu_milli: int) -> tuple[Bundle, ...]:
    """Return a bundle for each node of a job without GPUs; at least a thousandth of a CPU each."""
    return (bundle(0, max(1, cpu_milli // n_nodes)),) * n_nodes
