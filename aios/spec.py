"""What users write: workloads, tenants and the cluster's rules, validated at the door (pydantic stays outside).

Field names are Ray's wherever Ray has one.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from placement.model import ACCELERATOR_KEY, Resources, Selector, parse_amount

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
REFERENCE = re.compile(r"(dataset|model)://([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(@[A-Za-z0-9._:+-]+)?")
_DURATION = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|h|d)?\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is no name: use 1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
        )
    return value


def _reference(value: str) -> str:
    if not REFERENCE.fullmatch(value):
        raise ValueError(f"{value!r} is no reference: write dataset://NAME, model://NAME, or with @VERSION")
    return value


def _duration(value: object) -> object:
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is no duration: write a number with ms, s, m, h or d, such as 30s")
        return float(match[1]) * _SECONDS[match[2]]
    return value


def seconds(text: str) -> float:
    """Return a duration that people wrote (``30s``, ``5m``); raises ValueError."""
    value = _duration(text)
    assert isinstance(value, float)
    return value


def _amounts(value: dict[str, int | float | str]) -> dict[str, int | float | str]:
    for name, amount in value.items():
        parse_amount(name, amount)
    return value


def _memory(value: object) -> object:
    if value is not None:
        parse_amount("memory", value)
    return value


def _selector(value: dict[str, str]) -> dict[str, str]:
    Selector.parse(value)
    return value


Name = Annotated[str, AfterValidator(_name)]
Reference = Annotated[str, AfterValidator(_reference)]
Seconds = Annotated[float, BeforeValidator(_duration), Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)]
Amounts = Annotated[dict[str, int | float | str], AfterValidator(_amounts)]
Memory = Annotated[int | float | str, BeforeValidator(_memory)]
LabelSelector = Annotated[dict[str, str], AfterValidator(_selector)]
Count = Annotated[int, Field(ge=1, le=10_000, strict=True)]


Factor = Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]
"""A throughput, relative to another."""


class Strict(BaseModel):
    """Base of all that users write: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _one_cpu() -> dict[str, int | float | str]:
    return {"CPU": 1}


class WorkersSpec(Strict):
    """A gang of equal workers; all or nothing unless ``min_workers`` is below ``num_workers``."""

    num_workers: Count = 1
    min_workers: Count | None = None
    resources_per_worker: Amounts = Field(default_factory=_one_cpu)
    label_selector: LabelSelector = Field(default_factory=dict)
    placement_strategy: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    scaling: dict[Annotated[int, Field(ge=1, le=10_000)], Factor] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _range(self) -> WorkersSpec:
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(f"min_workers is {self.min_workers}, above num_workers {self.num_workers}")
        above = [n for n in self.scaling if n > self.num_workers]
        if above:
            raise ValueError(f"scaling names {above[0]} workers, above num_workers {self.num_workers}")
        return self


class AlternativeSpec(Strict):
    """Another form in which a workload may run, where its first one cannot start.

    ``throughput`` is relative to the first form. What is left out is as in the first form.
    """

    workers: WorkersSpec | None = None
    accelerator_type: str | None = None
    label_selector: LabelSelector | None = None
    throughput: Annotated[float, Field(gt=0, le=1_000, allow_inf_nan=False)] = 1.0

    @model_validator(mode="after")
    def _other(self) -> AlternativeSpec:
        if self.workers is None and self.accelerator_type is None and self.label_selector is None:
            raise ValueError("says nothing else than the first form: give workers, accelerator_type or label_selector")
        return self


class TopologySpec(Strict):
    """Bundles together (pack) or apart (spread) at a label level; ``node`` is the node itself."""

    pack: str | None = None
    spread: str | None = None
    required: bool = False
    slice: Annotated[int, Field(ge=0, le=10_000, strict=True)] = 0
    skew: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None

    @property
    def key(self) -> str:
        return self.pack or self.spread or ""

    @model_validator(mode="after")
    def _one(self) -> TopologySpec:
        if (self.pack is None) == (self.spread is None):
            raise ValueError("give exactly one of pack and spread")
        if self.slice and self.pack is None:
            raise ValueError("slice belongs to pack: so many bundles in a row stand together")
        if self.skew is not None and self.spread is None:
            raise ValueError("skew belongs to spread: how far the numbers of bundles may differ")
        return self


def _levels(value: object) -> object:
    if value is None:
        return ()
    return (value,) if isinstance(value, (TopologySpec, dict)) else value


TopologyLevels = Annotated[
    tuple[TopologySpec, ...],
    BeforeValidator(_levels, json_schema_input_type=TopologySpec | tuple[TopologySpec, ...] | None),
]
"""One level, or a list of them that hold at once."""


class WorkloadSpec(Strict):
    """What every kind of workload has. Engines derive their own from it."""

    kind: str
    name: Name
    tenant: Name = "default"
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000, strict=True)] = 0
    labels: dict[str, str] = Field(default_factory=dict)

    num_cpus: float = Field(default=1, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    memory: Memory | None = None
    resources: Amounts = Field(default_factory=dict)
    accelerator_type: str | None = None
    label_selector: LabelSelector = Field(default_factory=dict)
    workers: WorkersSpec | None = None
    topology: TopologyLevels = ()
    alternatives: Annotated[tuple[AlternativeSpec, ...], Field(max_length=8)] = ()
    speed: dict[str, Factor] = Field(default_factory=dict)
    deadline: Seconds | None = None
    on_deadline: Literal["warn", "stop"] = "warn"
    time_limit: PositiveSeconds | None = None
    profile: str = Field(default="", max_length=63)

    preemptible: bool = True
    max_retries: Annotated[int, Field(ge=0, le=100, strict=True)] = 0
    max_attempts: Count | None = None
    cache: bool = False
    grace: Seconds = 30.0
    estimate: Seconds | None = None

    needs: tuple[Name, ...] = ()
    inputs: dict[str, Reference] = Field(default_factory=dict)
    outputs: dict[str, Reference] = Field(default_factory=dict)

    service: ClassVar[bool] = False

    @model_validator(mode="after")
    def _something_to_stop_at(self) -> WorkloadSpec:
        if self.on_deadline == "stop" and self.deadline is None:
            raise ValueError("on_deadline: stop needs a deadline, such as 4h")
        return self

    @model_validator(mode="after")
    def _one_shape(self) -> WorkloadSpec:
        single = {"num_cpus", "num_gpus", "memory", "resources"} & self.model_fields_set
        if self.workers is not None and single:
            raise ValueError(
                f"workers and {', '.join(sorted(single))} both say what it needs: put it into resources_per_worker"
            )
        return self

    def resources_of_one(self) -> Resources:
        """Return what one bundle needs."""
        if self.workers is not None:
            return Resources.parse(self.workers.resources_per_worker)
        wanted: dict[str, Any] = {"CPU": self.num_cpus, "GPU": self.num_gpus, **self.resources}
        if self.memory is not None:
            wanted["memory"] = self.memory
        return Resources.parse(wanted)

    def selector_of_one(self) -> Selector:
        """Return the selector of one bundle, the accelerator type included."""
        wanted = dict(self.label_selector)
        if self.workers is not None:
            wanted.update(self.workers.label_selector)
        if self.accelerator_type is not None:
            wanted[ACCELERATOR_KEY] = self.accelerator_type
        return Selector.parse(wanted)

    def alternative(self, other: AlternativeSpec) -> WorkloadSpec:
        """Return what this would ask for in another form."""
        given = {name: getattr(other, name) for name in ("workers", "accelerator_type", "label_selector")}
        return self.model_copy(update={name: value for name, value in given.items() if value is not None})


class StageSpec(BaseModel):
    """A stage is a workload whose name is unique in its pipeline; its other keys are its kind's."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str
    name: Name


class PipelineSpec(Strict):
    """Workloads joined by the artefacts that pass between them; tenant and priority hold for all stages."""

    kind: Literal["pipeline"]
    name: Name
    tenant: Name = "default"
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000, strict=True)] = 0
    labels: dict[str, str] = Field(default_factory=dict)
    cache: bool = False
    stages: tuple[StageSpec, ...] = Field(min_length=1)


class PreemptionSpec(Strict):
    within: Literal["never", "lower_priority", "lower_or_newer"] = "lower_priority"
    reclaim: Literal["never", "lower_priority", "any"] = "any"
    borrow: Literal["never", "lower_priority", "fair"] = "never"


class PolicySpec(Strict):
    """The rules of the whole cluster; what is left out has its default."""

    kind: Literal["policy"] = "policy"
    fairness: str = "drf"
    preemption: PreemptionSpec = Field(default_factory=PreemptionSpec)
    backfill: bool = True
    migration: bool = False
    objective: Literal["strict", "weighted", "goodput"] = "strict"
    ageing: Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)] | None = None
    time_slice: Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)] | None = None
    usage_half_life: Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)] = 7 * 86_400.0
    interference: tuple[tuple[str, str, Annotated[float, Field(gt=0, le=1)]], ...] = ()

    @model_validator(mode="after")
    def _slices(self) -> PolicySpec:
        if self.objective == "goodput" and self.time_slice is None:
            raise ValueError("objective goodput needs a time_slice, such as 6m: work takes turns by it")
        return self


class ReservationSpec(Strict):
    """Nodes that are kept for some tenants, or for nobody (maintenance), for a time.

    ``starts`` is a moment with its time zone (2026-12-24T08:00Z) or ``in 2h``.
    """

    kind: Literal["reservation"] = "reservation"
    name: Name
    nodes: tuple[str, ...] = Field(min_length=1)
    starts: str
    duration: Annotated[float, BeforeValidator(_duration), Field(gt=0, allow_inf_nan=False)]
    tenants: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _moment(self) -> ReservationSpec:
        self.starts_s(0.0)
        return self

    def starts_s(self, now_s: float) -> float:
        """Return when it begins, in seconds on a clock that shows ``now_s``; raises ValueError."""
        text = self.starts.strip()
        if text == "now":
            return now_s
        if text.startswith("in "):
            after = _duration(text.removeprefix("in ").strip())
            if isinstance(after, float):
                return now_s + after
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(f"starts: {text!r} is no moment: write 2026-12-24T08:00Z, in 2h, or now")
        return moment.timestamp()


class TenantSpec(Strict):
    """A team: weight, quota (guaranteed), limit (cap), place in the tree; may borrow and lend."""

    kind: Literal["tenant"] = "tenant"
    name: Name
    parent: Name | None = None
    weight: float = Field(default=1.0, ge=1e-6, le=1e6, allow_inf_nan=False)
    quota: Amounts | None = None
    borrow_limit: Amounts | None = None
    lend_limit: Amounts | None = None
    limit: Amounts | None = None
    max_running: Count | None = None
    max_pending: Count | None = None
    max_running_per_user: Count | None = None
    max_pending_per_user: Count | None = None
    time_limit: PositiveSeconds | None = None
    preemption: PreemptionSpec | None = None
