"""The flow of a script: a placement group on the planned nodes, the runner inside it, all of it gone at the end."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RuntimeEnvSetupError
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from aios.checkpoints import seal
from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.failure import Ended
from pipelines.files import digest_of, sync_tree
from pipelines.roles import name_of
from pipelines.run import one_each, stop_file
from pipelines.script.output import CHILD_HOOK, LOG, Follow
from pipelines.script.runner import Command, Runner
from pipelines.script.spec import ScriptSpec
from pipelines.workdir import working_dir

GROUP_TIMEOUT_S = 60.0
STEP_S = 0.2
EXIT = "exit"
"""In the attempt's folder; the code of a script that ended its own process."""


def run_script(spec: ScriptSpec, ctx: RunContext) -> Result:
    """Run ``spec.entrypoint`` on the planned nodes; its exit code comes through unchanged."""
    folder = working_dir(spec.working_dir, ctx)
    env = _environment(spec, ctx, folder)
    group = placement_group(
        [bundle.to_ray() for bundle in ctx.bundles],
        strategy="PACK",
        name=ctx.run_name,
        bundle_label_selector=one_each(ctx.nodes),
    )
    runner = None
    try:
        if not _ready(group, ctx):
            return _yielded(ctx, env)
        for i, node in sorted(placement_group_table(group)["bundles_to_node_id"].items()):
            ctx.reporter.ran_on(node, int(i))
        runner = _runner(spec, group, env)
        with stop_file(ctx) as stop:
            command = Command(spec.entrypoint, spec.is_python, folder, stop, ctx.dir / EXIT, ctx.grace_s / 2, ctx.alive)
            ended = _wait(runner.run.remote(command), command, ctx)
    finally:
        if runner is not None:
            ray.kill(runner, no_restart=True)  # first: an actor whose group is removed under it hangs
        remove_placement_group(group)
    if ctx.stop_event.is_set() and (ended is None or ended.interrupted or ended.code != 0):
        return _yielded(ctx, env)
    assert ended is not None, "only a stop ends the wait without a word"
    if ended.code != 0:
        raise WorkloadFailed(ended.message, detail=ended.detail, exit_code=ended.code)
    return Result(_artefacts(spec, ctx), {"exit_code": 0})


def _environment(spec: ScriptSpec, ctx: RunContext, folder: Path) -> dict[str, str]:
    """Return the script's environment: the user's variables, and where AIOS puts and expects things."""
    env = {str(name): str(value) for name, value in spec.environment().items()}
    for name in ("output", "checkpoint"):
        (ctx.dir / name).mkdir(exist_ok=True)
    env |= {
        "AIOS_WORKLOAD": ctx.workload,
        "AIOS_ATTEMPT": str(ctx.attempt),
        "AIOS_OUTPUT_DIR": str(ctx.dir / "output"),
        "AIOS_CHECKPOINT_DIR": str(ctx.dir / "checkpoint"),
        "AIOS_RESUME_FROM": ctx.checkpoint,
        LOG: str(ctx.dir / "log.txt"),
        "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH", "")])]),
        "PYTHONUNBUFFERED": "1",
        "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of tasks whose sibling failed first: that one is told
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        **CHILD_HOOK,
    }
    env |= {f"AIOS_INPUT_{role.upper()}": input_.uri for role, input_ in ctx.inputs.items()}
    env |= {f"AIOS_OUTPUT_{role.upper()}": str(folder) for role, folder in _output_folders(ctx).items()}
    return env


def _output_folders(ctx: RunContext) -> dict[str, Path]:
    return {
        role: ctx.artefact_dir(reference.partition("://")[0], name_of(reference))
        for role, reference in ctx.outputs.items()
    }


def _ready(group: PlacementGroup, ctx: RunContext) -> bool:
    """Wait until all bundles stand; False when asked to stop before."""
    waited_s = 0.0
    while not group.wait(STEP_S):
        waited_s += STEP_S
        if ctx.stop_event.is_set():
            return False
        if waited_s >= GROUP_TIMEOUT_S:
            state = placement_group_table(group)["stats"]["scheduling_state"]
            raise RuntimeError(f"the planned nodes {', '.join(ctx.nodes)} did not take the bundles: Ray says {state}")
    return True


def _runner(spec: ScriptSpec, group: PlacementGroup, env: dict[str, str]) -> Any:
    runtime_env: dict[str, Any] = {"env_vars": env}
    if spec.runtime_env.pip:
        runtime_env["pip"] = list(spec.runtime_env.pip)
    options = ray.remote(Runner).options(
        num_cpus=0,
        max_restarts=0,
        runtime_env=runtime_env,
        scheduling_strategy=PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        ),
    )
    return options.remote()


def _wait(run: Any, command: Command, ctx: RunContext) -> Ended | None:
    """Return how the command ended; None when it did not within the grace after a stop."""
    left_s = max(ctx.grace_s * 0.8, 2.0)
    printed = Follow(Path(ctx.dir) / "log.txt", ctx.reporter.log)
    while left_s > 0:
        done, _ = ray.wait([run], timeout=STEP_S)
        printed.pass_on(to_the_end=bool(done))
        if done:
            return _outcome(run, command, ctx)
        if ctx.stop_event.is_set():
            left_s -= STEP_S
    return None


def _outcome(run: Any, command: Command, ctx: RunContext) -> Ended | None:
    try:
        ended: Ended = ray.get(run)
        return ended
    except RuntimeEnvSetupError as error:
        last = str(error).splitlines()[-1]
        raise WorkloadFailed(f"runtime_env could not be set up: {last}", detail=str(error)) from None
    except RayActorError as error:
        if ctx.stop_event.is_set():
            return None
        if command.exit_file.exists():
            return command.exited(int(command.exit_file.read_text(encoding="utf-8")))
        raise WorkloadFailed(
            f"{shlex.join(command.argv)} lost its process (a signal, a crash in native code, or out of memory)",
            detail=str(error),
            exit_code=1,
        ) from None


def _yielded(ctx: RunContext, env: dict[str, str]) -> Result:
    """End after a stop; a preempted script that has left a checkpoint continues from it."""
    if ctx.stop_reason == "stop":
        return Result()
    checkpoint = Path(env["AIOS_CHECKPOINT_DIR"])
    if any(checkpoint.iterdir()):
        seal(checkpoint)
        sync_tree(checkpoint)
        ctx.reporter.saved(str(checkpoint), ctx.step + 1)
    raise Preempted


def _artefacts(spec: ScriptSpec, ctx: RunContext) -> tuple[Artefact, ...]:
    """Return what the script left in the folders of its outputs."""
    out = []
    for role, folder in _output_folders(ctx).items():
        if not any(folder.iterdir()):
            raise WorkloadFailed(f"outputs.{role} is empty: the script must write it to $AIOS_OUTPUT_{role.upper()}")
        sync_tree(folder)
        ctx.check_fence()
        type_, name = ctx.outputs[role].partition("://")[0], name_of(ctx.outputs[role])
        meta = json.dumps({"made_by": shlex.join(spec.entrypoint)})
        out.append(Artefact(type_, name, str(folder), digest_of(folder), meta))
    return tuple(out)
