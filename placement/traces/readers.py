"""Every trace format that is known, and which one a file has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from placement.traces import alibaba2020, alibaba2023, gavel, philly, pollux, rows, slurmlogs, tiresias
from placement.traces.model import Trace, TraceError


@dataclass(frozen=True, slots=True)
class Reader:
    """One format: what it is, where it is from, under which licence, and how its files are known and read."""

    name: str
    sentence: str
    source: str
    licence: str
    looks_like: Callable[[Sequence[str]], bool]
    """Whether a file begins like this one; gets its first two lines."""
    read: Callable[[Path], Trace]


READERS: tuple[Reader, ...] = (
    Reader(
        "philly",
        philly.SENTENCE,
        "github.com/msr-fiddle/philly-traces, as extracted in github.com/siasosp23/artifacts",
        "CC BY 4.0",
        philly.looks_like,
        philly.read,
    ),
    Reader(
        "alibaba-2023",
        alibaba2023.SENTENCE,
        "github.com/alibaba/clusterdata, cluster-trace-gpu-v2023",
        "CC BY 4.0; cite ATC 2023",
        alibaba2023.looks_like,
        alibaba2023.read,
    ),
    Reader(
        "alibaba-2020",
        alibaba2020.SENTENCE,
        "github.com/alibaba/clusterdata, cluster-trace-gpu-v2020",
        "CC BY 4.0; cite NSDI 2022",
        alibaba2020.looks_like,
        alibaba2020.read,
    ),
    Reader(
        "helios",
        slurmlogs.HELIOS_SENTENCE,
        "github.com/S-Lab-System-Group/HeliosData",
        "CC BY 4.0; cite SC 2021",
        slurmlogs.looks_like_helios,
        slurmlogs.read_helios,
    ),
    Reader(
        "acme",
        slurmlogs.ACME_SENTENCE,
        "github.com/InternLM/AcmeTrace",
        "see its LICENSE.txt; cite NSDI 2024",
        slurmlogs.looks_like_acme,
        slurmlogs.read_acme,
    ),
    Reader(
        "gavel",
        gavel.SENTENCE,
        "github.com/stanford-futuredata/gavel, scheduler/traces/physical_cluster",
        "MIT",
        gavel.looks_like_physical,
        gavel.read_physical,
    ),
    Reader(
        "gavel-msr",
        gavel.SENTENCE,
        "github.com/stanford-futuredata/gavel, scheduler/traces/msr",
        "MIT",
        gavel.looks_like_msr,
        gavel.read_msr,
    ),
    Reader(
        "pollux",
        pollux.SENTENCE,
        "github.com/petuum/adaptdl, branch osdi21-artifact",
        "Apache-2.0",
        pollux.looks_like,
        pollux.read,
    ),
    Reader(
        "tiresias",
        tiresias.SENTENCE,
        "github.com/SymbioticLab/Tiresias, simulator",
        "Apache-2.0",
        tiresias.looks_like,
        tiresias.read,
    ),
)
"""Every reader. To add one: a file with ``looks_like`` and ``read``, a line here, a tiny sample in the tests."""


def detect(path: Path) -> Reader | None:
    """Return the reader for a file by its first lines, None where no format is known."""
    first = rows.head(path)
    if not first:
        return None
    return next((reader for reader in READERS if reader.looks_like(first)), None)


def read(path: Path) -> Trace:
    """Read a trace in whichever of the known formats it has."""
    reader = detect(path)
    if reader is None:
        known = ", ".join(reader.name for reader in READERS)
        raise TraceError(str(path), 1, None, "its first line is of no known format", f"known are {known}")
    return reader.read(path)
