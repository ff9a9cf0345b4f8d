"""Pipelines written in Python: stages one after the other, joined by the artefacts that pass between them."""

from __future__ import annotations

from typing import Any

from aios.errors import InvalidSpec


class Pipeline:
    """A pipeline to submit.

    Parameters
    ----------
    name : str
    tenant : str
        Who it is for.
    priority : int
        Higher comes first, and may displace lower.

    Examples
    --------
    >>> digits = (
    ...     Pipeline("digits", tenant="vision")
    ...     .stage(kind="ingest", source={"sklearn": "digits"}, outputs={"data": "dataset://digits"})
    ...     .stage(kind="train", inputs={"data": "dataset://digits"}, outputs={"model": "model://digits"})
    ... )
    >>> [stage["name"] for stage in digits.to_dict()["stages"]]
    ['ingest', 'train']
    """

    def __init__(
        self, name: str, *, tenant: str = "default", priority: int = 0, labels: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._head: dict[str, Any] = {"tenant": tenant, "priority": priority, "labels": dict(labels or {})}
        self._stages: list[dict[str, Any]] = []

    def stage(self, name: str | None = None, *, kind: str, **keys: Any) -> Pipeline:
        """Add a stage, named after its kind where no name is given; returns the pipeline."""
        name = name or kind
        if any(stage["name"] == name for stage in self._stages):
            raise InvalidSpec(f"{self.name}: two stages are named {name!r}", hint="give the second a name of its own")
        self._stages.append({"kind": kind, "name": name, **keys})
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the document that a YAML file would hold."""
        if not self._stages:
            raise InvalidSpec(f"pipeline {self.name!r} has no stages", hint="add one with .stage(kind=...)")
        return {"kind": "pipeline", "name": self.name, **self._head, "stages": [dict(s) for s in self._stages]}

    def __repr__(self) -> str:
        return f"Pipeline({self.name!r}: {' → '.join(stage['name'] for stage in self._stages) or 'no stages'})"
