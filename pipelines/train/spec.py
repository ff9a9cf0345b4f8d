"""What users write for ``kind: train``: the model or their own loop, and how long and how to learn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from aios.spec import Count, Strict, WorkloadSpec
from pipelines.roles import check_roles
from pipelines.workdir import check_working_dir


class ModelSpec(Strict):
    """A network: ``linear``, ``mlp`` with hidden layers, or a small ``cnn`` over square single-channel images."""

    type: Literal["linear", "mlp", "cnn"] = "mlp"
    hidden: tuple[Count, ...] | None = None

    @model_validator(mode="after")
    def _hidden_belongs_to_mlp(self) -> ModelSpec:
        if self.hidden is not None and self.type != "mlp":
            raise ValueError(f"hidden belongs to type mlp, not {self.type}")
        return self

    @property
    def layers(self) -> tuple[int, ...]:
        return (64,) if self.hidden is None else self.hidden


class TrainSpec(WorkloadSpec):
    """A dataset version becomes a model version, through Ray Train on ``workers``.

    ``batch_size`` counts the rows of one step over all workers together, so that learning does not change with the
    number of workers. A run continues from the checkpoint of an earlier attempt, whatever its number of workers was.
    """

    kind: Literal["train"]
    model: ModelSpec | None = None
    train_loop: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    train_loop_config: dict[str, Any] = Field(default_factory=dict)
    working_dir: str | None = Field(default=None, min_length=1)

    epochs: Count = 20
    batch_size: Count = 64
    lr: Annotated[float, Field(gt=0, le=10)] = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    seed: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    checkpoint_every: Count = 1
    onnx: bool = False

    @model_validator(mode="after")
    def _roles(self) -> TrainSpec:
        check_roles("inputs", self.inputs, {"data": "dataset"})
        check_roles("outputs", self.outputs, {"model": "model"})
        check_working_dir(self.working_dir)
        if self.train_loop is None and (self.train_loop_config or self.working_dir):
            raise ValueError("train_loop_config and working_dir belong to train_loop: MODULE:FUNCTION")
        if self.train_loop is not None and self.model is not None:
            raise ValueError("model and train_loop both say what to train: give one")
        if self.train_loop is not None and self.onnx:
            raise ValueError("onnx belongs to model: what a train_loop makes is exported by its author's own code")
        n_workers = self.workers.num_workers if self.workers is not None else 1
        if self.batch_size < n_workers:
            raise ValueError(
                f"batch_size {self.batch_size} is below the {n_workers} workers: it counts the rows of a step over all "
                f"workers, so give at least {n_workers}"
            )
        return self
