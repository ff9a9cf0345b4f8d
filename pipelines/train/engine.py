"""The ``train`` engine: a dataset version to a model version, through Ray Train on the planned nodes."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from aios.errors import InvalidSpec
from pipelines.train.spec import TrainSpec
from placement.model import Demand


class TrainEngine:
    kind = "train"
    spec_type = TrainSpec

    def demand(self, spec: Any) -> Demand:
        demand = gang(spec)
        if not demand.bundles[0].resources.get("CPU"):
            raise InvalidSpec(f"{spec.name}: a training worker needs CPU", hint="give each worker at least CPU: 0.1")
        return demand

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray and torch are loaded where work runs, not where specs are read.
        from pipelines.train.flow import train

        return train(spec, ctx)
