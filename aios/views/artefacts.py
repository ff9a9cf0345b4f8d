"""Versions of datasets and models, endpoints and reports, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aios.views.schema import SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ArtefactView:
    """A dataset version, a model version, an endpoint or a report."""

    type: str
    name: str
    uri: str
    version: int | None = None
    digest: str = ""
    workload: str = ""
    attempt: int = 0
    at_s: float = 0.0
    inputs: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    reference: str = ""
    origin: str | None = None
    tags: tuple[str, ...] = ()
    by: str = ""
    removed: bool = False


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A source, a version, an endpoint or a report; ``id`` is its exact reference."""

    id: str
    type: str
    detail: str = ""
    workload: str = ""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LineageView:
    """What a version was made from, back to the sources, and what was made from it; edges go with the data."""

    root: str
    nodes: tuple[LineageNode, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class ArtefactList:
    artefacts: tuple[ArtefactView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class AliasView:
    """An alias of a model: the version that has it, the one that had it before (0: none), since when and by whom."""

    model: str
    alias: str
    version: int
    before: int = 0
    at_s: float = 0.0
    by: str = ""


@dataclass(frozen=True, slots=True)
class AliasList:
    aliases: tuple[AliasView, ...] = ()
    schemaVersion: int = SCHEMA_VERSION
