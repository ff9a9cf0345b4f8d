"""A light engine for load: bundles that hold their place and say where they are, effects that are counted in a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import ray

from aios.checkpoints import seal
from aios.engines import Preempted, Result, RunContext, gang
from aios.kernel.events import Artefact
from aios.spec import WorkloadSpec
from placement.model import Demand
from tests.ray.probe import append

TICK_S = 0.1


class TickSpec(WorkloadSpec):
    """``ticks`` tenths of a second of work; ``gang``: with a process for each bundle; ``deaf``: heeds no stop."""

    kind: Literal["tick"] = "tick"
    effects: str
    ticks: int = 5
    gang: bool = False
    deaf: bool = False
    saves_in_s: float = 0.0


class Hand:
    """Holds one bundle."""

    def __init__(self, alive: Any, reporter: Any, bundle: int) -> None:
        alive()
        reporter.ran_on(ray.get_runtime_context().get_node_id(), bundle)

    def hold(self) -> None:
        return


class TickEngine:
    kind = "tick"
    spec_type = TickSpec

    def demand(self, spec: Any) -> Demand:
        return gang(spec)

    def run(self, spec: Any, ctx: RunContext) -> Result:
        append(spec.effects, f"start {ctx.workload} {ctx.attempt} {ctx.fence} {ctx.step}")
        hands = [self._hand(ctx, i) for i in range(len(ctx.nodes))] if spec.gang else []
        ray.get([hand.hold.remote() for hand in hands])
        for node in () if spec.gang else ctx.nodes:
            ctx.reporter.ran_on(node)
        for step in range(ctx.step, spec.ticks):
            if ctx.stop_event.wait(TICK_S) and not spec.deaf:
                self._save(spec, ctx, step)
                raise Preempted
            if step % 20 == 19:
                ray.get([hand.hold.remote() for hand in hands])
            if spec.deaf:
                time.sleep(TICK_S)
        ctx.check_fence()
        append(spec.effects, f"end {ctx.workload} {ctx.attempt} {ctx.fence}")
        path = ctx.artefact_dir("model", ctx.name) / "done"
        path.write_text("done", encoding="utf-8")
        return Result((Artefact("model", ctx.name, str(path), "sha256:0"),))

    def _hand(self, ctx: RunContext, i: int) -> Any:
        hand = ray.remote(Hand).options(
            num_cpus=ctx.bundles[i].get("CPU") / 1000, label_selector={"ray.io/node-id": ctx.nodes[i]}
        )
        return hand.remote(ctx.alive, ctx.reporter, i)

    def _save(self, spec: Any, ctx: RunContext, step: int) -> None:
        time.sleep(spec.saves_in_s)
        folder: Path = ctx.dir / f"step-{step}"
        folder.mkdir(exist_ok=True)
        (folder / "state").write_text(str(step), encoding="utf-8")
        ctx.check_fence()
        seal(folder)
        ctx.reporter.saved(str(folder), step)
