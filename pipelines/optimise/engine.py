"""The ``optimise`` engine: passes over a model version, each measured and gated, and the best variant registered."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from pipelines.optimise.spec import OptimiseSpec
from placement.model import Demand


class OptimiseEngine:
    kind = "optimise"
    spec_type = OptimiseSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray and torch are loaded where work runs, not where specs are read.
        from pipelines.optimise.flow import optimise

        return optimise(spec, ctx)
