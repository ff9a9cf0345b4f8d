"""The ``serve`` engine: a model version as an HTTP endpoint, through Ray Serve on the planned nodes."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from pipelines.serve.spec import ServeSpec
from placement.model import Demand


class ServeEngine:
    kind = "serve"
    spec_type = ServeSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec, spec.num_replicas, spec.min_replicas or spec.num_replicas)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray is loaded where work runs, not where specs are read.
        from pipelines.serve.flow import serve_model

        return serve_model(spec, ctx)
