"""An engine for tests: a worker per bundle on its node, effects appended to a file, and a file that lets it end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import ray

from aios.engines import Preempted, Result, RunContext, WorkloadFailed, gang
from aios.kernel.events import Artefact
from aios.spec import WorkloadSpec
from placement.model import Demand

TICK_S = 0.05


class ProbeSpec(WorkloadSpec):
    """``effects``: the file that each start, step and end is written to; ``until``: the file that lets it end."""

    kind: Literal["probe"] = "probe"
    effects: str
    until: str = ""
    fails: Literal["", "workload", "engine", "exit"] = ""
    ignores_stop: bool = False
    detached: bool = False


class Worker:
    """One per bundle; says where it runs."""

    def __init__(self, reporter: object, bundle: int, alive: Callable[[], None]) -> None:
        alive()
        reporter.ran_on(ray.get_runtime_context().get_node_id(), bundle)  # type: ignore[attr-defined]

    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


class ProbeEngine:
    kind = "probe"
    spec_type = ProbeSpec

    def demand(self, spec: ProbeSpec) -> Demand:
        return gang(spec)

    def run(self, spec: ProbeSpec, ctx: RunContext) -> Result:
        append(spec.effects, f"start {ctx.name} {ctx.attempt} {ctx.step}")
        workers = [self._worker(ctx, idx, spec.detached) for idx in range(len(ctx.nodes))]
        ray.get([worker.node.remote() for worker in workers])
        print(f"{ctx.name} runs")
        match spec.fails:
            case "workload":
                raise WorkloadFailed("ValueError: the label is missing", detail="line 3", exit_code=7)
            case "engine":
                raise RuntimeError("broken")
            case "exit":
                raise SystemExit(3)
        self._wait(spec, ctx, workers)
        ctx.check_fence()
        append(spec.effects, f"end {ctx.name} {ctx.attempt}")
        path = ctx.artefact_dir("report", ctx.name) / "done"
        path.write_text("done", encoding="utf-8")
        return Result((Artefact("report", ctx.name, str(path)),), {"nodes": len(ctx.nodes)})

    def _worker(self, ctx: RunContext, idx: int, detached: bool) -> object:
        amounts = ctx.bundles[idx].to_ray()
        options = {
            "num_cpus": amounts.pop("CPU", 0),
            "num_gpus": amounts.pop("GPU", 0),
            "memory": amounts.pop("memory", None),
            "resources": amounts,
            "label_selector": {"ray.io/node-id": ctx.nodes[idx]},
        }
        if detached:
            options |= {"name": f"{ctx.run_name}/worker-{idx}", "lifetime": "detached"}
        return ray.remote(Worker).options(**options).remote(ctx.reporter, idx, ctx.alive)

    def _wait(self, spec: ProbeSpec, ctx: RunContext, workers: list) -> None:
        step = ctx.step
        while spec.until and not Path(spec.until).exists():
            if ctx.stop_event.wait(TICK_S) and not spec.ignores_stop:
                step += 1
                saved = ctx.dir / str(step)
                saved.write_text("half way", encoding="utf-8")
                ctx.reporter.saved(str(saved), step)
                append(spec.effects, f"yield {ctx.name} {ctx.attempt} {step}")
                raise Preempted
            time.sleep(TICK_S if spec.ignores_stop else 0)
            ray.get([worker.node.remote() for worker in workers])


def append(path: str, line: str) -> None:
    """Add a line in one write, so that lines of several processes do not mix."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)
