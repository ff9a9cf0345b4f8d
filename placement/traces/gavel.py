"""Gavel's traces (OSDI 2020) with its table of measured throughputs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from placement.model import ACCELERATOR_KEY, Node, NodeId, Resources
from placement.traces import rows
from placement.traces.gangs import bundle
from placement.traces.model import Job, Trace, TraceError

SENTENCE = (
    "Gavel: training jobs of 26 models with measured throughputs on V100, P100 and K80, alone, at scale and in pairs; "
    "good for heterogeneity and finish-time fairness."
)
PHYSICAL = (
    "job_type",
    "command",
    "working_directory",
    "num_steps_arg",
    "needs_data_dir",
    "total_steps",
    "scale_factor",
    "priority_weight",
    "slo",
    "arrival_time",
)
MSR = ("job_type", "command", "num_steps_arg", "needs_data_dir", "total_steps", "arrival_time", "scale_factor")
TABLES = ("simulation_throughputs.json.gz", "physical_cluster_throughputs.json.gz", "simulation_throughputs.json")
REFERENCE = "V100"
_KEY = re.compile(r"\('(.*)', (\d+)\)")


@dataclass(frozen=True, slots=True)
class Throughputs:
    """Steps per second of a model with so many workers: together on a server, and spread over servers."""

    alone: Mapping[str, Mapping[tuple[str, int], float]]
    """By type (V100, ...), then (model, workers)."""
    spread: Mapping[str, Mapping[tuple[str, int], float]]
    pairs: Mapping[str, Mapping[tuple[str, int], Mapping[tuple[str, int], tuple[float, float]]]]
    """By type, job and the job it shares a GPU with: steps per second of both."""

    def speeds(self, model: str, n: int) -> dict[str, float]:
        """Return the throughput on each type; 0 where it cannot run.

        A size that was not measured counts as the largest smaller one that was, in proportion.
        """
        return {kind: _at(table, model, n) for kind, table in self.alone.items()}

    def scaling(self, model: str, n: int) -> tuple[tuple[int, float], ...]:
        """Return the throughput on the reference type by the number of workers, relative to all ``n``."""
        table = self.alone[REFERENCE]
        most = _at(table, model, n)
        sizes = sorted(size for name, size in table if name == model and size <= n and table[name, size] > 0)
        return tuple((size, table[model, size] / most) for size in sizes) if most > 0 else ()


def _at(table: Mapping[tuple[str, int], float], model: str, n: int) -> float:
    measured = next((size for size in range(n, 0, -1) if (model, size) in table), 0)
    return table[model, measured] * n / measured if measured else 0.0


def read_throughputs(path: Path) -> Throughputs:
    """Read a table of steps per second by worker type, by "('model', workers)", by "null" (alone) or the other job."""
    try:
        raw = json.loads("".join(rows.lines(path)))
    except json.JSONDecodeError as error:
        raise TraceError(
            str(path), error.lineno, error.colno, error.msg, "give one of Gavel's throughput tables"
        ) from None
    alone: dict[str, dict[tuple[str, int], float]] = {}
    spread: dict[str, dict[tuple[str, int], float]] = {}
    pairs: dict[str, dict[tuple[str, int], dict[tuple[str, int], tuple[float, float]]]] = {}
    for worker, table in raw.items():
        kind, _, where = worker.partition("_")
        into = spread if where else alone
        for key, entries in table.items():
            job = _job_key(path, key)
            into.setdefault(kind.upper(), {})[job] = float(entries["null"])
            if not where:
                shared = {_job_key(path, o): (float(v[0]), float(v[1])) for o, v in entries.items() if o != "null"}
                pairs.setdefault(kind.upper(), {})[job] = shared
    return Throughputs(alone, spread, pairs)


def _job_key(path: Path, key: str) -> tuple[str, int]:
    match = _KEY.fullmatch(key)
    if match is None:
        raise TraceError(str(path), None, None, f"{key!r} is no job", "write \"('model', workers)\"")
    return match[1], int(match[2])


def looks_like_physical(first: Sequence[str]) -> bool:
    return first[0].count("\t") == len(PHYSICAL) - 1


def looks_like_msr(first: Sequence[str]) -> bool:
    return first[0].count("\t") == len(MSR) - 1


def read_physical(path: Path, throughputs: Path | None = None, tenant: str = "gavel") -> Trace:
    """Read a trace of ten columns; ``throughputs`` is the table, by default found beside it or one folder up."""
    return _read(path, PHYSICAL, throughputs, tenant)


def read_msr(path: Path, throughputs: Path | None = None, tenant: str | None = None) -> Trace:
    """Read a trace of seven columns, one virtual cluster; its file names the tenant."""
    return _read(path, MSR, throughputs, tenant or path.name.split(".")[0])


def _read(path: Path, columns: Sequence[str], throughputs: Path | None, tenant: str) -> Trace:
    table = read_throughputs(throughputs or _beside(path))
    jobs = []
    for row in rows.table(path, columns, header=False, separator="\t"):
        model, n = row.text("job_type"), row.count("scale_factor", 1)
        speeds = table.speeds(model, n)
        reference = speeds.get(REFERENCE, 0.0)
        if reference <= 0:
            raise row.error(
                "job_type", f"{model!r} with {n} workers has no throughput on {REFERENCE}", "use its own table"
            )
        runtime_s = row.number("total_steps", 1) / reference
        able = tuple(sorted(kind for kind, speed in speeds.items() if speed > 0))
        bundles = (bundle(1000, types=() if len(able) == len(speeds) else able),) * n
        jobs.append(
            Job(
                f"{tenant}-{row.line}",
                tenant,
                row.number("arrival_time", 0),
                runtime_s,
                bundles,
                speed=tuple((kind, speeds[kind] / reference) for kind in able),
                scaling=table.scaling(model, n),
            )
        )
    return rows.trace("gavel", jobs, SENTENCE, first_s=0.0)


def _beside(path: Path) -> Path:
    for folder in path.resolve().parents[:4]:
        for name in TABLES:
            if (folder / name).is_file():
                return folder / name
    raise TraceError(
        str(path), None, None, "Gavel's throughput table is not beside it", f"pass the path of {TABLES[0]}"
    )


def cluster(v100: int = 8, p100: int = 16, k80: int = 24, gpus_per_node: int = 4) -> tuple[Node, ...]:
    """Return Gavel's physical cluster (OSDI 2020, section 7.1: 8 V100, 16 P100, 24 K80) as equal nodes of each type."""
    nodes = []
    for kind, n in (("V100", v100), ("P100", p100), ("K80", k80)):
        for i, first in enumerate(range(0, n, gpus_per_node)):
            amounts = Resources.of({"GPU": 1000 * min(gpus_per_node, n - first)})
            nodes.append(Node(NodeId(f"{kind.lower()}-{i}"), amounts, ((ACCELERATOR_KEY, kind),)))
    return tuple(nodes)
