"""The ``tune`` engine: trials of a training through Ray Tune on the planned nodes, the best one a model version."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from aios.errors import InvalidSpec
from pipelines.tune.spec import TuneSpec
from placement.model import Demand


class TuneEngine:
    kind = "tune"
    spec_type = TuneSpec

    def demand(self, spec: Any) -> Demand:
        demand = gang(spec)
        if not demand.bundles[0].resources.get("CPU"):
            raise InvalidSpec(f"{spec.name}: a trial needs CPU", hint="give each worker at least CPU: 0.1")
        return demand

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray and torch are loaded where work runs, not where specs are read.
        from pipelines.tune.flow import tune

        return tune(spec, ctx)
