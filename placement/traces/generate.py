"""Traces made up after published distributions, from a seed: arrivals are Poisson, at ``per_hour`` jobs an hour.

What is published and what is a choice of this file stands at each generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from placement.traces.gangs import GIB, bundle, per_gpu
from placement.traces.model import Job, Trace

T = TypeVar("T", int, float)
Seed = int | np.random.Generator

PHILLY_GPUS: Mapping[int, float] = {1: 0.9317, 2: 0.0221, 4: 0.0227, 8: 0.02, 16: 0.0024, 32: 0.0008, 64: 0.0001}
PHILLY_LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
PHILLY_RUNTIMES_S: Mapping[int, Sequence[float]] = {
    1: (30, 52, 122, 1117, 2716, 19137, 135399, 3256045),
    4: (6, 11, 21, 367, 45388, 233082, 747317, 2750674),
    8: (33, 125, 1876, 23683, 173248, 525618, 1060498, 4628226),
    128: (4, 35, 566, 21137, 104218, 443240, 922629, 1710643),
}
"""Quantiles of the run time of jobs with at most so many GPUs, measured on the public extract of the trace."""

HELIOS_GPUS: Mapping[int, float] = {1: 0.573, 2: 0.12, 4: 0.1, 8: 0.16, 16: 0.027, 32: 0.015, 64: 0.005}
HELIOS_MEDIAN_S, HELIOS_MEAN_S = 206.0, 6652.0

GAVEL_GPUS: Mapping[int, float] = {1: 0.7, 2: 0.1, 4: 0.15, 8: 0.05}

OPENB_GPUS: Mapping[float, float] = {0: 0.133, 0.5: 0.378, 1: 0.480, 2: 0.002, 4: 0.002, 8: 0.005}
OPENB_PARTS: tuple[tuple[int, float], ...] = ((220, 0.1), (460, 0.5), (810, 0.4))
OPENB_CORES: Mapping[float, tuple[float, float, float]] = {
    0: (8, 12.5, 32),
    0.5: (3, 4, 12),
    1: (3, 11.5, 16),
    2: (6, 16, 30),
    4: (32, 32, 60),
    8: (64, 88, 110),
}
"""The 10, 50 and 90 % quantiles of the CPUs that pods ask, by their GPUs, measured on the public trace."""

BORG_TAIL = 0.69


def philly_like(n: int, seed: Seed = 0, per_hour: float = 40.0, n_tenants: int = 15) -> Trace:
    """Return jobs like Microsoft's Philly (Jeon et al., USENIX ATC 2019), as its public extract has them.

    GPU counts and run times are the extract's own: its shares of sizes, and its quantiles of the run time by size with
    straight lines between their logarithms. Of 15 virtual clusters the k-th gets work in proportion to 1 / k.
    """

    def runtime(rng: np.random.Generator, gpus: int) -> float:
        quantiles = next(row for most, row in PHILLY_RUNTIMES_S.items() if gpus <= most)
        return float(np.exp(np.interp(rng.uniform(0.01, 1), PHILLY_LEVELS, np.log(quantiles))))

    def job(rng: np.random.Generator, name: str, at: float) -> Job:
        gpus = _draw(rng, PHILLY_GPUS)
        return Job(name, _tenant(rng, n_tenants), at, runtime(rng, gpus), per_gpu(gpus))

    return _trace("philly-like", "Jobs after the sizes and run times of Microsoft's Philly.", n, seed, per_hour, job)


def helios_like(n: int, seed: Seed = 0, per_hour: float = 100.0, n_tenants: int = 20) -> Trace:
    """Return GPU jobs like SenseTime's Helios (Hu et al., SC 2021, doi:10.1145/3458817.3476223).

    Published: a GPU job runs 206 s in the median and 6,652 s in the mean, uses 3.72 GPUs in the mean, and more than
    half use one. Choices of this file: a log-normal run time through that median and mean, independent of the size,
    and powers of two that add up to that mean.
    """
    sigma = float(np.sqrt(2 * np.log(HELIOS_MEAN_S / HELIOS_MEDIAN_S)))

    def job(rng: np.random.Generator, name: str, at: float) -> Job:
        runtime_s = max(1.0, float(rng.lognormal(np.log(HELIOS_MEDIAN_S), sigma)))
        return Job(name, _tenant(rng, n_tenants), at, runtime_s, per_gpu(_draw(rng, HELIOS_GPUS)))

    return _trace("helios-like", "GPU jobs after the published means of SenseTime's Helios.", n, seed, per_hour, job)


def gavel_like(n: int, seed: Seed = 0, per_hour: float = 5.0, multi_gpu: bool = True) -> Trace:
    """Return jobs as Gavel's continuous experiments draw them (Narayanan et al., OSDI 2020, section 7.1).

    Run time 10^x minutes, x uniform in [1.5, 3] with probability 0.8, else in [3, 4]; one GPU with probability 0.7, two
    0.1, four 0.15, eight 0.05 (``multi_gpu``; else one). Speeds here are the same on every type of accelerator.
    """

    def job(rng: np.random.Generator, name: str, at: float) -> Job:
        exponent = rng.uniform(1.5, 3) if rng.random() < 0.8 else rng.uniform(3, 4)
        gpus = _draw(rng, GAVEL_GPUS) if multi_gpu else 1
        return Job(name, "gavel", at, 60.0 * 10.0**exponent, per_gpu(gpus))

    return _trace("gavel-like", "Poisson arrivals with Gavel's run times and sizes.", n, seed, per_hour, job)


def alibaba_like(n: int, seed: Seed = 0, per_hour: float = 100.0, n_tenants: int = 10) -> Trace:
    """Return pods that share GPUs, like Alibaba's openb (Weng et al., USENIX ATC 2023, table of GPU requests).

    Published: 13.3 % of the pods without a GPU, 37.8 % with a part of one, 48.0 % with one, 0.2 to 0.5 % with 2, 4,
    8. Measured on the public trace: CPUs by GPUs, and the quartiles of the parts. Choices: memory 4 GiB a CPU, a
    log-normal run time with a median of ten minutes and sigma 2.
    """

    def job(rng: np.random.Generator, name: str, at: float) -> Job:
        kind = _draw(rng, OPENB_GPUS)
        part = _draw(rng, dict(OPENB_PARTS)) if kind == 0.5 else round(1000 * kind)
        cores = float(np.interp(rng.random(), (0.1, 0.5, 0.9), OPENB_CORES[kind]))
        pod = bundle(part, round(cores) * 1000, round(cores) * 4 * GIB)
        return Job(name, _tenant(rng, n_tenants), at, max(1.0, float(rng.lognormal(np.log(600), 2))), (pod,))

    return _trace("alibaba-like", "Pods that share GPUs, after Alibaba's openb.", n, seed, per_hour, job)


def google_like(n: int, seed: Seed = 0, per_hour: float = 400.0, n_tenants: int = 20) -> Trace:
    """Return CPU jobs with the tail of Google's Borg (Tirmazi et al., EuroSys 2020, doi:10.1145/3342195.3387517).

    Published: CPU-hours by job are heavy-tailed, Pareto with an exponent near 0.69, and the largest 1 % of jobs use
    more than 99 % of all. Here they are cut to 0.01 to 10,000 CPU-hours. Choices: a job runs for the square root of its
    CPU-hours in hours, at most a day, in tasks of one CPU and 4 GiB, at most 1,000.
    """

    def job(rng: np.random.Generator, name: str, at: float) -> Job:
        least, most = 0.01, 10_000.0
        u = float(rng.uniform(0, 1 - (least / most) ** BORG_TAIL))
        cpu_hours = least * (1 - u) ** (-1 / BORG_TAIL)
        tasks = int(np.clip(round(cpu_hours / min(24.0, cpu_hours**0.5)), 1, 1000))
        task = bundle(0, 1000, 4 * GIB)
        return Job(name, _tenant(rng, n_tenants), at, 3600 * cpu_hours / tasks, (task,) * tasks)

    return _trace("google-like", "CPU jobs with the heavy tail of Google's Borg.", n, seed, per_hour, job)


GENERATORS: Mapping[str, Callable[..., Trace]] = {
    "philly-like": philly_like,
    "helios-like": helios_like,
    "gavel-like": gavel_like,
    "alibaba-like": alibaba_like,
    "google-like": google_like,
}
"""Every generator by its name; each takes the number of jobs and a seed."""


def _trace(
    name: str, sentence: str, n: int, seed: Seed, per_hour: float, job: Callable[[np.random.Generator, str, float], Job]
) -> Trace:
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(3600.0 / per_hour, size=n))
    return Trace(name, tuple(job(rng, f"{name}-{i}", float(at)) for i, at in enumerate(times)), sentence)


def _draw(rng: np.random.Generator, chances: Mapping[T, float]) -> T:
    values, weights = list(chances), np.array(list(chances.values()))
    return values[int(rng.choice(len(values), p=weights / weights.sum()))]


def _tenant(rng: np.random.Generator, n: int) -> str:
    weights = 1.0 / np.arange(1, n + 1)
    return f"vc-{int(rng.choice(n, p=weights / weights.sum()))}"
