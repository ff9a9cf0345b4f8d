"""What users write for ``kind: tune``: a training, what of it varies, and what is best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from aios.spec import Count, PositiveSeconds, Strict, WorkloadSpec
from pipelines.roles import check_roles
from pipelines.train.learning import METRICS
from pipelines.train.spec import TrainSpec

Number = Annotated[float, Field(allow_inf_nan=False)]
OWN = ("kind", "name", "inputs", "outputs", "workers", "tenant", "priority")
HELD_OUT = 0.2
"""The part of the training rows by which trials are judged where ``train`` says none."""


class RangeSpec(Strict):
    """The values that one parameter may take; exactly one of these. ``grid`` tries each of its values."""

    uniform: tuple[Number, Number] | None = None
    loguniform: tuple[Number, Number] | None = None
    randint: tuple[int, int] | None = None
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    grid: Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _one_that_is_a_range(self) -> RangeSpec:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform, loguniform, randint, choice, grid")
        ends = self.uniform or self.loguniform or self.randint
        if ends is not None and ends[0] >= ends[1]:
            raise ValueError(f"{given[0]} goes from {ends[0]:g} to {ends[1]:g}: the second must be larger")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError("loguniform begins above 0")
        return self

    def first(self) -> Any:
        """Return a value of it, to see whether the rest fits."""
        values = self.choice or self.grid or self.uniform or self.loguniform or self.randint
        assert values is not None
        return values[0]


class TuneSpec(WorkloadSpec):
    """Trials of a training (``train``: fields of ``kind: train``), each on one bundle; the best one is the model.

    ``space`` names what varies by its path in ``train`` (``lr``, ``model.hidden``). ``num_samples`` is how many trials
    there are, for each point of the grid where there is one. ``scheduler: asha`` ends trials early that do worse than
    others have done by then.
    """

    kind: Literal["tune"]
    train: dict[str, Any] = Field(default_factory=dict)
    space: Annotated[dict[str, RangeSpec], Field(min_length=1)]
    metric: str = "val_loss"
    num_samples: Count = 10
    search: Literal["random", "optuna"] = "random"
    scheduler: Literal["asha", "none"] = "asha"
    grace_epochs: Count = 1
    reduction_factor: Annotated[int, Field(ge=2, le=10, strict=True)] = 3
    time_budget: PositiveSeconds | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0

    @model_validator(mode="after")
    def _whole(self) -> TuneSpec:
        check_roles("inputs", self.inputs, {"data": "dataset"})
        check_roles("outputs", self.outputs, {"model": "model"})
        if self.metric not in METRICS:
            raise ValueError(f"metric {self.metric!r} is none that a training reports: {', '.join(METRICS)}")
        own = [key for key in OWN if key in self.train]
        if own:
            raise ValueError(f"train has {', '.join(own)}: these are given beside train, not in it")
        if self.train.get("train_loop"):
            raise ValueError("train has a train_loop: a trial is trained by configuration (model, lr, optimizer, …)")
        if self.search == "optuna" and any(one.grid is not None for one in self.space.values()):
            raise ValueError("search: optuna has no grid: use choice, or search: random")
        try:
            self.trial({name: one.first() for name, one in self.space.items()})
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(str(part) for part in first["loc"]) or "train"
            raise ValueError(f"train with space: {at}: {first['msg'].removeprefix('Value error, ')}") from None
        return self

    def trial(self, config: Mapping[str, Any]) -> TrainSpec:
        """Return the training of one point of the space."""
        train: dict[str, Any] = {**self.train}
        if self.metric.startswith("val_"):
            train.setdefault("validation", HELD_OUT)
        for path, value in config.items():
            _put(train, path.split("."), value)
        resources = self.workers.resources_per_worker if self.workers is not None else None
        own = {"workers": {"resources_per_worker": resources}} if resources else {}
        fields = {"kind": "train", "name": self.name, "inputs": self.inputs, "outputs": self.outputs, **own}
        return TrainSpec.model_validate({**train, **fields})

    @property
    def mode(self) -> Literal["min", "max"]:
        return "min" if self.metric.endswith("loss") else "max"


def _put(into: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value by its path; what is on the way is copied, so that trials share nothing."""
    for key in path[:-1]:
        inner = into.get(key)
        into[key] = {**inner} if isinstance(inner, dict) else {}
        into = into[key]
    into[path[-1]] = list(value) if isinstance(value, tuple) else value
