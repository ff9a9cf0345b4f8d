"""The ``batch`` engine: a model version over a dataset version, through Ray Data on the planned nodes."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from pipelines.batch.spec import BatchSpec
from placement.model import Demand


class BatchEngine:
    kind = "batch"
    spec_type = BatchSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray and torch are loaded where work runs, not where specs are read.
        from pipelines.batch.flow import predict_rows

        return predict_rows(spec, ctx)
