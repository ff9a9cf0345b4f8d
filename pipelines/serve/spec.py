"""What users write for ``kind: serve``: the model, where it answers, and with how many replicas."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from aios.spec import Count, WorkloadSpec
from pipelines.roles import check_roles


class ServeSpec(WorkloadSpec):
    """A model version answers over HTTP until it is stopped; each replica is one bundle of the plan."""

    kind: Literal["serve"]
    service: ClassVar[bool] = True

    route_prefix: Annotated[str, Field(pattern=r"^/[A-Za-z0-9][A-Za-z0-9._/-]*$")] | None = None
    num_replicas: Count = 1
    min_replicas: Count | None = None
    max_ongoing_requests: Count = 16

    @model_validator(mode="after")
    def _roles(self) -> ServeSpec:
        check_roles("inputs", self.inputs, {"model": "model"})
        check_roles("outputs", self.outputs, {})
        if self.workers is not None:
            raise ValueError("workers does not belong to serve: give num_replicas, and num_cpus and so on for each one")
        if self.min_replicas is not None and self.min_replicas > self.num_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above num_replicas {self.num_replicas}")
        return self

    @property
    def route(self) -> str:
        return (self.route_prefix or f"/{self.name}").rstrip("/")
