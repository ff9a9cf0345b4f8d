"""The ``script`` engine: free-form Ray code inside a placement group on the planned nodes."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from pipelines.script.spec import ScriptSpec
from placement.model import Demand


class ScriptEngine:
    kind = "script"
    spec_type = ScriptSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray is loaded where work runs, not where specs are read.
        from pipelines.script.flow import run_script

        return run_script(spec, ctx)
