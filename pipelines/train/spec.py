"""What users write for ``kind: train``: the model or their own loop, and how long and how to learn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from aios.spec import Count, Strict, WorkloadSpec
from pipelines.roles import check_roles
from pipelines.train.learning import (
    CheckpointsSpec,
    EarlyStoppingSpec,
    Loss,
    Optimizer,
    OptimizerSpec,
    Rate,
    Schedule,
    ScheduleSpec,
    Within,
    given,
)
from pipelines.train.users import FUNCTION
from pipelines.workdir import check_working_dir

BY_CONFIGURATION = (
    "model", "onnx", "loss", "schedule", "precision", "accumulate", "clip_norm", "strategy", "compile", "validation",
    "early_stopping", "checkpoints",
)  # fmt: skip
"""What a loop of the user's own decides by itself."""


class ModelSpec(Strict):
    """A network: ``linear``, ``mlp`` with hidden layers, a small ``cnn`` over square single-channel images, or what a
    function of the user's own returns: ``factory: module:function`` with ``arguments``, called with the numbers of
    features and outputs."""

    type: Literal["linear", "mlp", "cnn", "factory"] = "mlp"
    hidden: tuple[Count, ...] | None = None
    channels: Annotated[tuple[Count, ...], Field(min_length=1)] | None = None
    factory: str | None = Field(default=None, pattern=FUNCTION)
    arguments: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _factory_says_its_type(cls, value: Any) -> Any:
        return {"type": "factory", **value} if isinstance(value, dict) and value.get("factory") else value

    @model_validator(mode="after")
    def _each_to_its_type(self) -> ModelSpec:
        if self.hidden is not None and self.type != "mlp":
            raise ValueError(f"hidden belongs to type mlp, not {self.type}")
        if self.channels is not None and self.type != "cnn":
            raise ValueError(f"channels belongs to type cnn, not {self.type}")
        if (self.factory is None) == (self.type == "factory"):
            raise ValueError("type factory and factory: MODULE:FUNCTION belong together")
        if self.arguments and self.factory is None:
            raise ValueError("arguments belong to factory: MODULE:FUNCTION")
        return self

    @property
    def layers(self) -> tuple[int, ...]:
        return (64,) if self.hidden is None else self.hidden

    def described(self) -> dict[str, Any]:
        """Return what a model card says of the network, enough to build it again."""
        match self.type:
            case "mlp":
                return {"type": "mlp", "hidden": list(self.layers)}
            case "cnn" if self.channels is not None:
                return {"type": "cnn", "channels": list(self.channels)}
            case "factory":
                return {"type": "factory", "factory": self.factory, "arguments": self.arguments}
            case _:
                return {"type": self.type}


class TrainSpec(WorkloadSpec):
    """A dataset version becomes a model version, through Ray Train on ``workers``.

    ``batch_size`` counts the rows of one step over all workers together, in however many parts (``accumulate``) they
    are taken, so that learning does not change with the number of workers. A run continues from the checkpoint of an
    earlier attempt, whatever its number of workers was.
    """

    kind: Literal["train"]
    model: ModelSpec | None = None
    train_loop: str | None = Field(default=None, pattern=FUNCTION)
    train_loop_config: dict[str, Any] = Field(default_factory=dict)
    working_dir: str | None = Field(default=None, min_length=1)
    report_within: Within | None = None

    epochs: Count = 20
    batch_size: Count = 64
    lr: Rate = 1e-3
    optimizer: Optimizer = OptimizerSpec()
    loss: Loss | None = None
    schedule: Schedule = ScheduleSpec()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    accumulate: Count = 1
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    validation: Annotated[float, Field(gt=0, le=0.5)] | None = None
    early_stopping: EarlyStoppingSpec | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    checkpoint_every: Count = 1
    checkpoints: CheckpointsSpec = CheckpointsSpec()
    onnx: bool = False

    @model_validator(mode="after")
    def _roles(self) -> TrainSpec:
        check_roles("inputs", self.inputs, {"data": "dataset"})
        check_roles("outputs", self.outputs, {"model": "model"})
        check_working_dir(self.working_dir)
        if self.train_loop is None:
            self._without_loop()
        else:
            self._with_loop()
        self._batches()
        return self

    def _without_loop(self) -> None:
        if self.train_loop_config or (self.working_dir and not self.of_factory):
            raise ValueError(
                "train_loop_config and working_dir belong to train_loop: MODULE:FUNCTION (working_dir to model.factory)"
            )
        if self.report_within is not None:
            raise ValueError("report_within belongs to train_loop: by configuration every step is reported")
        if self.precision == "fp16" and not self.resources_of_one().get("GPU"):
            raise ValueError("precision fp16 needs GPUs: give each worker one, or use bf16, which CPUs have too")
        if self.strategy == "fsdp" and self.n_workers < 2:
            raise ValueError("strategy fsdp shares the weights among workers: give at least 2, or leave strategy out")
        stopping = self.early_stopping
        for where, metric in (
            ("early_stopping", stopping.metric if stopping else None), ("checkpoints", self.checkpoints.metric),
        ):  # fmt: skip
            if metric is not None and metric.startswith("val_") and self.validation is None:
                raise ValueError(f"{where}.metric {metric} needs validation: the part of the rows, such as 0.1")
        if stopping and self.checkpoints.metric not in (None, stopping.metric):
            raise ValueError(
                f"early_stopping.metric {stopping.metric} and checkpoints.metric {self.checkpoints.metric} both say "
                "what is best: give one"
            )

    def _with_loop(self) -> None:
        if self.model is not None:
            raise ValueError("model and train_loop both say what to train: give one")
        if self.onnx:
            raise ValueError("onnx belongs to model: what a train_loop makes is exported by its author's own code")
        wrong = [key for key in BY_CONFIGURATION if key in given(self)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} and train_loop: the loop decides that itself; use train_loop_config")

    def _batches(self) -> None:
        if self.batch_size < self.n_workers:
            raise ValueError(
                f"batch_size {self.batch_size} is below the {self.n_workers} workers: it counts the rows of a step "
                f"over all workers, so give at least {self.n_workers}"
            )
        if self.batch_size < self.n_workers * self.accumulate:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be taken in {self.accumulate} parts by {self.n_workers} workers: "
                f"give at least {self.n_workers * self.accumulate}, or accumulate less"
            )

    @property
    def n_workers(self) -> int:
        return self.workers.num_workers if self.workers is not None else 1

    @property
    def of_factory(self) -> bool:
        return self.model is not None and self.model.type == "factory"

    @property
    def best_metric(self) -> str | None:
        """What is best is judged by; None: the last epoch is what counts."""
        return self.early_stopping.metric if self.early_stopping else self.checkpoints.metric
