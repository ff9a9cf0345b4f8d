"""What users write for ``kind: evaluate``: the model, the data, what is measured, and what it must reach."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from aios.models.aliases import check_alias
from aios.spec import Count, Strict, WorkloadSpec
from pipelines.evaluate.metrics import METRICS, better, parsed
from pipelines.roles import check_roles

Bound = Annotated[float, Field(allow_inf_nan=False)]
_BASELINE = re.compile(r"(?:model://)?([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)(?:@([A-Za-z0-9._:+-]+))?")


class SliceSpec(Strict):
    """Rows by the values of a column: its most frequent ``top`` values, or ranges of a number.

    ``bins`` is how many ranges of about equally many rows, or their inner edges.
    """

    column: str = Field(min_length=1)
    bins: Annotated[int, Field(ge=2, le=50, strict=True)] | tuple[Bound, ...] | None = None
    top: Annotated[int, Field(ge=1, le=100, strict=True)] = 20

    @model_validator(mode="after")
    def _edges_rise(self) -> SliceSpec:
        if isinstance(self.bins, tuple) and (not self.bins or any(a >= b for a, b in pairwise(self.bins))):
            raise ValueError(f"bins of {self.column} are edges between ranges: give at least one, each above the last")
        if self.bins is not None and "top" in self.model_fields_set:
            raise ValueError(f"slices.{self.column}: top is for values, bins for ranges of a number: give one")
        return self


class GateSpec(Strict):
    """What a metric must reach: a least or largest value, or no worse than the baseline by more than ``max_drop``.

    ``slice`` is a column of ``slices`` (every slice of it with ``min_rows`` rows must hold) or one slice's name.
    With ``confident`` the whole confidence interval must hold, not only the value.
    """

    metric: str
    min: Bound | None = None
    max: Bound | None = None
    max_drop: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    slice: str | None = Field(default=None, min_length=1)
    min_rows: Count = 30
    confident: bool = False

    @field_validator("metric")
    @classmethod
    def _known(cls, name: str) -> str:
        parsed(name)
        return name

    @model_validator(mode="after")
    def _bounds(self) -> GateSpec:
        if self.min is None and self.max is None and self.max_drop is None:
            raise ValueError(f"the gate on {self.metric} says nothing: give min, max or max_drop")
        known = METRICS[parsed(self.metric)[0]]
        for name, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and not known.least <= bound <= known.most:
                raise ValueError(
                    f"gates.{self.metric}: {name} is {bound}: it must be from {known.least:g} to {known.most:g}"
                )
        return self


class EvaluateSpec(WorkloadSpec):
    """A model version is measured on one side of a dataset version; ``gates`` say what it must reach.

    A model that misses a gate fails the workload, so that nothing that needs it starts. ``promote`` is an alias that
    the model gets when it meets them all. ``compare_to`` is another version, or an alias, that predicts the same rows.
    ``gates: {accuracy: 0.9}`` is short for a least value (for errors a largest one).
    """

    kind: Literal["evaluate"]
    side: Literal["train", "test", "all"] = "test"
    metrics: tuple[str, ...] = ()
    positive: str | int | bool | None = None
    group: str | None = Field(default=None, min_length=1)
    k: Count = 10
    slices: tuple[SliceSpec, ...] = ()
    compare_to: str | None = None
    bootstrap: Annotated[int, Field(ge=0, le=2000, strict=True)] = 200
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    explain: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 0
    gates: tuple[GateSpec, ...] = ()
    promote: str | None = None

    @field_validator("slices", mode="before")
    @classmethod
    def _short_slices(cls, given: Any) -> Any:
        return [{"column": one} if isinstance(one, str) else one for one in given] if _listed(given) else given

    @field_validator("gates", mode="before")
    @classmethod
    def _short_gates(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return [_gate(name, bound) for name, bound in given.items()]

    @field_validator("metrics")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            parsed(name)
        return names

    @model_validator(mode="before")
    @classmethod
    def _baseline_is_an_input(cls, given: Any) -> Any:
        """Make what is compared to an input, so that its version is fixed and in the lineage."""
        if not isinstance(given, dict) or not isinstance(given.get("compare_to"), str):
            return given
        match = _BASELINE.fullmatch(given["compare_to"])
        if match is None:
            raise ValueError(
                f"compare_to is {given['compare_to']!r}: write NAME@VERSION or an alias, such as NAME@prod"
            )
        name, version = match.groups()
        reference = f"model://{name}" + (f"@{version}" if version else "")
        inputs = {key: value for key, value in dict(given.get("inputs") or {}).items() if key not in BASELINES}
        return {**given, "inputs": {**inputs, baseline_role(version): reference}}

    @model_validator(mode="after")
    def _whole(self) -> EvaluateSpec:
        extra = {} if self.compare_to is None else {role: "model" for role in BASELINES if role in self.inputs}
        check_roles("inputs", self.inputs, {"model": "model", "data": "dataset", **extra})
        check_roles("outputs", self.outputs, {})
        if self.promote is not None:
            check_alias(self.promote)
            if not self.gates:
                raise ValueError("promote needs gates: without one every model would be promoted")
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        columns = [one.column for one in self.slices]
        if len(set(columns)) < len(columns):
            yield f"slices names {next(c for c in columns if columns.count(c) > 1)} twice: give each column once"
        tasks = {METRICS[parsed(name)[0]].task for name in (*self.metrics, *(gate.metric for gate in self.gates))}
        if len(tasks) > 1:
            yield f"metrics and gates are of {' and '.join(sorted(tasks))}: a model does one of them"
        if tasks == {"ranking"} and self.group is None:
            yield "ranking metrics need group: the column that says which rows are ranked among each other"
        if self.group is not None and tasks - {"ranking"}:
            yield f"group is for ranking, but {', '.join(sorted(tasks))} metrics are asked for"
        for gate in self.gates:
            at = f"the gate on {gate.metric}"
            if self.metrics and gate.metric not in self.metrics:
                yield f"{at}: nobody computes it: metrics has {', '.join(self.metrics)}"
            if gate.max_drop is not None and self.compare_to is None:
                yield f"{at}: max_drop needs compare_to: the version that it must not be worse than"
            if gate.confident and not self.bootstrap:
                yield f"{at}: confident needs intervals: bootstrap is 0"
            if (
                gate.slice is not None
                and gate.slice not in columns
                and not any(gate.slice.startswith((f"{column}=", f"{column} ")) for column in columns)
            ):
                yield f"{at}: slice {gate.slice!r} is of no column of slices, which has {', '.join(columns) or 'none'}"


BASELINES = ("baseline", "baseline?")
"""Roles of the version that is compared to; with ``?`` it need not exist yet."""


def baseline_role(version: str | None) -> str:
    """Return the role: an alias may not be given to any version yet, a version must be there."""
    is_alias = version is not None and version != "latest" and not version.removeprefix("v").isdecimal()
    return "baseline?" if is_alias else "baseline"


def _gate(name: Any, bound: Any) -> Any:
    if isinstance(bound, dict):
        return {"metric": name, **bound}
    base = str(name).partition("[")[0]
    way = "max" if base in METRICS and better(base) < 0 else "min"
    return {"metric": name, way: bound}


def _listed(given: Any) -> bool:
    return isinstance(given, (list, tuple))
