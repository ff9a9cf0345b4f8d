"""The ``evaluate`` engine: scores of a model version on a dataset version's test part, and gates on them."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from pipelines.evaluate.spec import EvaluateSpec
from placement.model import Demand


class EvaluateEngine:
    kind = "evaluate"
    spec_type = EvaluateSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray and torch are loaded where work runs, not where specs are read.
        from pipelines.evaluate.flow import evaluate

        return evaluate(spec, ctx)
