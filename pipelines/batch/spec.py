"""What users write for ``kind: batch``: the model, the rows, and what is kept beside the predictions."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from aios.spec import Count, WorkloadSpec
from pipelines.roles import check_roles


class BatchSpec(WorkloadSpec):
    """A model version predicts every row of a dataset version; rows and predictions are a new dataset version.

    ``keep`` are the columns that go along (all where it is left out). Work is committed portion by portion, so a run
    that was preempted or lost goes on where it was: no row is predicted twice, none is left out.
    """

    kind: Literal["batch"]
    side: Literal["train", "test"] | None = None
    keep: tuple[str, ...] | None = None
    prediction: str = "prediction"
    probabilities: bool = False
    portion_rows: Count = 1_000_000

    @model_validator(mode="after")
    def _roles(self) -> BatchSpec:
        check_roles("inputs", self.inputs, {"model": "model", "data": "dataset"})
        check_roles("outputs", self.outputs, {"data": "dataset"})
        if self.keep is not None and self.prediction in self.keep:
            raise ValueError(f"keep has {self.prediction!r}, which is the prediction's column")
        if self.inputs["data"].partition("@")[0] == self.outputs["data"].partition("@")[0]:
            raise ValueError("outputs.data is inputs.data: predictions go to a dataset of their own")
        return self
