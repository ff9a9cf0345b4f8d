"""Facts about the versions of datasets and models."""

from __future__ import annotations

from dataclasses import dataclass

from aios.kernel.events.work import Artefact, WorkloadId


@dataclass(frozen=True, slots=True)
class Published:
    """A dataset or model version exists from here on."""

    at_s: float
    artefact: Artefact
    version: int
    workload: WorkloadId  # empty: somebody published it by hand
    attempt: int
    inputs: tuple[str, ...] = ()  # resolved references it was made from
    by: str = ""


@dataclass(frozen=True, slots=True)
class VersionTagged:
    """A version has a name from here on, which another may have had before; 0: none has it any more."""

    at_s: float
    key: str  # dataset://name
    tag: str
    version: int
    by: str = ""


@dataclass(frozen=True, slots=True)
class VersionsRemoved:
    """Versions are out of use, and their bytes may be gone."""

    at_s: float
    key: str
    versions: tuple[int, ...]
    why: str = ""
    by: str = ""
