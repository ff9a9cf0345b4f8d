"""What users write about how to learn: loss, optimizer, learning rate, early stopping, checkpoints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from aios.spec import Count, PositiveSeconds, Strict

Rate = Annotated[float, Field(gt=0, le=10)]
Fraction = Annotated[float, Field(ge=0, le=1)]
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


def given(spec: Strict) -> dict[str, Any]:
    """Return the fields that say something else than their default."""
    fields = type(spec).model_fields
    return {key: getattr(spec, key) for key in fields if getattr(spec, key) != fields[key].get_default()}


def _short(value: object) -> object:
    return {"type": value} if isinstance(value, str) else value


class Typed(Strict):
    """A choice (``type``) with parameters, some of which belong to one choice alone; its name alone will do."""

    type: str

    def parameters(self) -> dict[str, Any]:
        """Return what was given, its type first."""
        return {"type": self.type, **{key: value for key, value in self.model_dump().items() if self._given(key)}}

    def _given(self, key: str) -> bool:
        return key in given(self) and key != "type"

    def _belongs(self, owners: dict[str, tuple[str, ...]]) -> None:
        for key, types in owners.items():
            if self._given(key) and self.type not in types:
                raise ValueError(f"{key} belongs to {' and '.join(types)}, not to {self.type}: leave it out")


class LossSpec(Typed):
    """What is made small: ``cross_entropy`` for classes, ``mse``, ``mae`` or ``huber`` for a quantity."""

    type: Literal["cross_entropy", "mse", "mae", "huber"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["balanced"] | None = None
    delta: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _owners(self) -> LossSpec:
        classes = ("cross_entropy",)
        self._belongs({"label_smoothing": classes, "class_weights": classes, "delta": ("huber",)})
        return self


class OptimizerSpec(Typed):
    """How weights follow from gradients."""

    type: Literal["adam", "adamw", "sgd"] = "adam"
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8

    @model_validator(mode="after")
    def _owners(self) -> OptimizerSpec:
        adams = ("adam", "adamw")
        self._belongs({"momentum": ("sgd",), "nesterov": ("sgd",), "betas": adams, "eps": adams})
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum, such as 0.9")
        return self


class ScheduleSpec(Typed):
    """How the learning rate changes with the steps: ``warmup_steps`` up to ``lr``, then as ``type`` says.

    ``cosine`` and ``linear`` end at ``final`` times ``lr``; ``step`` multiplies by ``factor`` every ``every`` epochs.
    """

    type: Literal["constant", "cosine", "linear", "step"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0, le=10_000_000, strict=True)] = 0
    final: Fraction = 0.0
    every: Count = 10
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _owners(self) -> ScheduleSpec:
        self._belongs({"final": ("cosine", "linear"), "every": ("step",), "factor": ("step",)})
        return self


class EarlyStoppingSpec(Strict):
    """Training ends when ``metric`` has not become better by ``min_delta`` for ``patience`` epochs."""

    metric: Literal["loss", "accuracy", "val_loss", "val_accuracy"] = "val_loss"
    patience: Count = 5
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class CheckpointsSpec(Strict):
    """Which checkpoints are made and kept: the ``last`` ones, and the ``best`` ones by ``metric``.

    ``every_steps`` makes them inside an epoch too. ``asynchronous`` writes them while training goes on.
    """

    every_steps: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] | None = None
    last: Count = 3
    best: Annotated[int, Field(ge=0, le=1000, strict=True)] = 1
    metric: Literal["loss", "accuracy", "val_loss", "val_accuracy"] | None = None
    asynchronous: bool = True


Loss = Annotated[LossSpec, BeforeValidator(_short)]
Optimizer = Annotated[OptimizerSpec, BeforeValidator(_short)]
Schedule = Annotated[ScheduleSpec, BeforeValidator(_short)]
Within = PositiveSeconds
