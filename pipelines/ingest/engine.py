"""The ``ingest`` engine: raw rows to a dataset version, through Ray Data on the planned nodes."""

from __future__ import annotations

from typing import Any

from aios.engines import Result, RunContext, gang
from pipelines.ingest.spec import IngestSpec
from placement.model import Demand


class IngestEngine:
    kind = "ingest"
    spec_type = IngestSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        # Ray is loaded where work runs, not where specs are read.
        from pipelines.ingest.flow import ingest

        return ingest(spec, ctx)
