"""What users write for ``kind: evaluate``: the model, the data, and the scores it must reach."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from aios.models.aliases import check_alias
from aios.spec import WorkloadSpec
from pipelines.roles import check_roles

Score = Literal["accuracy", "precision", "recall", "f1", "r2", "mae"]
OF_CLASSES = ("accuracy", "precision", "recall", "f1")
LOWER_IS_BETTER = frozenset({"mae"})


class EvaluateSpec(WorkloadSpec):
    """A model version is measured on the test part of a dataset version; ``gates`` say what it must reach.

    A gate is a least value (``accuracy: 0.9``), for ``mae`` a largest one. A model that misses a gate fails the
    workload, so that nothing that needs it starts. ``promote`` is an alias that the model gets when it meets them all.
    """

    kind: Literal["evaluate"]
    promote: str | None = None
    gates: dict[Score, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _roles(self) -> EvaluateSpec:
        check_roles("inputs", self.inputs, {"model": "model", "data": "dataset"})
        check_roles("outputs", self.outputs, {})
        if self.promote is not None:
            check_alias(self.promote)
            if not self.gates:
                raise ValueError("promote needs gates: without one every model would be promoted")
        for score, bound in self.gates.items():
            if score in OF_CLASSES and not 0 <= bound <= 1:
                raise ValueError(f"gates.{score} is {bound}: it must be from 0 to 1")
        return self
