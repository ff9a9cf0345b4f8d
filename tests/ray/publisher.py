"""An engine for tests: publishes a range of rows, and waits at points that a test names until it is let go."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import ray.data

from aios.engines import Result, RunContext, gang
from aios.spec import WorkloadSpec
from pipelines.data.publish import artefact, commit, place_of
from pipelines.run import Whereabouts, quiet, slice_context
from placement.model import Demand

TICK_S = 0.05
BLOCKS = 4


class PublisherSpec(WorkloadSpec):
    """``start`` and ``stop`` are the ids of the rows; ``holds_at`` is where every attempt waits for the file ``go``."""

    kind: Literal["publisher"] = "publisher"
    folder: str
    start: int = 0
    stop: int = 400
    mode: Literal["overwrite", "append"] = "append"
    holds_at: Literal["", "writing", "committed"] = ""
    table: Literal["lance", "delta"] = "lance"


@dataclass(frozen=True)
class Held:
    """A point that says that it was reached, by whom, and waits until the test lets it go on."""

    folder: str
    attempt: int
    active: bool

    def wait(self) -> None:
        if not self.active:
            return
        folder = Path(self.folder)
        (folder / f"reached-{self.attempt}").write_text(str(os.getpid()), encoding="utf-8")
        while not (folder / "go").exists():
            time.sleep(TICK_S)


@dataclass(frozen=True)
class Rows:
    """Makes the rows; the block with the first id holds."""

    start: int
    held: Held
    whereabouts: Whereabouts

    def __call__(self, batch: pa.Table) -> pa.Table:
        self.whereabouts.say()
        ids = [self.start + i for i in batch["id"].to_pylist()]
        if self.start in ids:
            self.held.wait()
        return pa.table({"id": ids, "node": [ray.get_runtime_context().get_node_id()] * len(ids)})


class PublisherEngine:
    kind = "publisher"
    spec_type = PublisherSpec

    def demand(self, spec: PublisherSpec) -> Demand:
        return gang(spec)

    def run(self, spec: PublisherSpec, ctx: RunContext) -> Result:
        quiet()
        options = slice_context(ctx.nodes, ctx.bundles)
        place = place_of(ctx, format_=spec.table)
        held = Held(spec.folder, ctx.attempt, spec.holds_at == "writing")
        rows = ray.data.range(spec.stop - spec.start, override_num_blocks=BLOCKS)
        rows = rows.map_batches(Rows(spec.start, held, Whereabouts.of(ctx)), batch_format="pyarrow", **options)
        done = commit(ctx, place, rows, spec.mode, **options)
        Held(spec.folder, ctx.attempt, spec.holds_at == "committed").wait()
        return Result((artefact(ctx, done, {}, spec),), {"rows": done.commit.fingerprint.rows})


@dataclass(frozen=True)
class Deaf:
    """A reporter that nobody listens to."""

    heard: list[Any] = field(default_factory=list)

    def ran_on(self, node_id: str, bundle: int | None = None) -> None:
        pass

    def saved(self, uri: str, step: int) -> None:
        self.heard.append((uri, step))

    def progress(self, metrics: Mapping[str, Any]) -> None:
        pass

    def preempting(self) -> bool:
        return False

    def log(self, line: str) -> None:
        pass
