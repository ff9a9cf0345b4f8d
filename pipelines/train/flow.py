"""The flow of a training run: a Ray Train worker group on the planned nodes, then a model version."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import WorkerGroupError

from aios.checkpoints import SEAL
from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from pipelines.data.reading import digest_of_version, types_of
from pipelines.failure import describe
from pipelines.files import read_json
from pipelines.models.onnx import can_export, export
from pipelines.models.register import registered
from pipelines.models.signature import signature_of
from pipelines.models.weights import restore
from pipelines.roles import name_of
from pipelines.run import one_each, quiet, stop_file
from pipelines.train.job import Job, described
from pipelines.train.learning import given
from pipelines.train.loop import train_worker
from pipelines.train.network import build
from pipelines.train.notice import TellWorkers
from pipelines.train.silence import SILENT
from pipelines.train.spec import TrainSpec
from pipelines.train.table import read_manifest
from pipelines.train.user_loop import UserJob, user_worker
from pipelines.workdir import working_dir

OUTCOME = "outcome.json"
CHECKPOINTS = "checkpoints"

FAST = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",  # also the pace at which reports and the end are noticed
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "60",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # AIOS tells the loop itself
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def train(spec: TrainSpec, ctx: RunContext) -> Result:
    """Train on exactly the planned nodes, from ``ctx.checkpoint`` where there is one."""
    quiet()
    if (spec.onnx or spec.of_factory) and not can_export():
        what = "onnx: true" if spec.onnx else "model.factory"
        raise WorkloadFailed(f"{what} needs packages that are not installed here: pip install 'aios[optimise]'")
    for name, value in FAST.items():
        os.environ.setdefault(name, value)
    manifest = read_manifest(ctx.inputs["data"].uri)
    weights = ctx.artefact_dir("model", name_of(spec.outputs["model"]))
    code = working_dir(spec.working_dir, ctx)
    with stop_file(ctx) as stop:
        if spec.train_loop is None:
            fit(train_worker, {"job": _job(spec, ctx, stop, weights, code)}, ctx)
        else:
            _fit_users(spec, ctx, stop, code)
    outcome = read_json(ctx.dir / OUTCOME)
    if outcome["ended"] == "yielded":
        if ctx.stop_reason == "stop":
            return Result(metrics=outcome["metrics"])
        ctx.reporter.saved(outcome["checkpoint"], outcome["step"])  # the worker's own word may still be on its way
        raise Preempted
    if spec.train_loop is not None:
        _keep_last(outcome, weights)
    return _publish(spec, ctx, weights, manifest, outcome["metrics"])


def _job(spec: TrainSpec, ctx: RunContext, stop: Path, weights: Path, code: Path) -> Job:
    return Job(
        spec=spec,
        data=ctx.inputs["data"].uri,
        checkpoint=ctx.checkpoint,
        nodes=ctx.nodes,
        n_threads=_n_threads(ctx),
        checkpoints=ctx.dir / CHECKPOINTS,
        stop_file=stop,
        outcome=ctx.dir / OUTCOME,
        weights=weights,
        working_dir=code,
        reporter=ctx.reporter,
        check_fence=ctx.check_fence,
        alive=ctx.alive,
    )


def _model(spec: TrainSpec) -> dict[str, Any]:
    if spec.train_loop is not None:
        return {"type": "custom", "train_loop": spec.train_loop}
    return described(spec)


def _n_threads(ctx: RunContext) -> int:
    return max(1, ctx.bundles[0].get("CPU") // 1000)


def _fit_users(spec: TrainSpec, ctx: RunContext, stop: Path, folder: Path) -> None:
    """Run the user's own loop; what it raises is told by the user's own line."""
    assert spec.train_loop is not None
    job = UserJob(
        train_loop=spec.train_loop,
        config={**spec.train_loop_config, "data": ctx.inputs["data"].uri},
        working_dir=folder,
        report_within=spec.report_within,
        checkpoint=ctx.checkpoint,
        step=ctx.step,
        nodes=ctx.nodes,
        n_threads=_n_threads(ctx),
        checkpoints=ctx.dir / CHECKPOINTS,
        stop_file=stop,
        outcome=ctx.dir / OUTCOME,
        reporter=ctx.reporter,
        check_fence=ctx.check_fence,
        alive=ctx.alive,
    )
    try:
        fit(user_worker, {"job": job}, ctx, (TellWorkers(stop),))
    except WorkerGroupError as error:
        if job.outcome.exists() and (left := read_json(job.outcome))["ended"] == SILENT:
            raise _silent(spec, left) from None
        _, first = min(error.worker_failures.items())
        if isinstance(first, RayError):  # a worker or its node is gone: not the user's
            raise
        told = describe(getattr(first, "_base_exc", first), folder, str(error))
        raise WorkloadFailed(told.message, detail=told.detail, exit_code=1) from None


def _keep_last(outcome: dict[str, Any], weights: Path) -> None:
    """Make the last checkpoint of a user's loop the model version."""
    if not outcome["checkpoint"]:
        n = outcome["reports"]
        how = f"reported {n} time{'s' * (n != 1)} and left no checkpoint" if n else "returned and has never reported"
        raise WorkloadFailed(
            f"train_loop {how}, so there is no model: call ray.train.report(metrics, checkpoint=...)", exit_code=1
        )
    shutil.copytree(outcome["checkpoint"], weights, ignore=shutil.ignore_patterns(SEAL), dirs_exist_ok=True)


def _silent(spec: TrainSpec, left: dict[str, Any]) -> WorkloadFailed:
    n = left["reports"]
    before = f"after {n} report{'s' * (n != 1)}" if n else "and has never done so"
    return WorkloadFailed(
        f"train_loop {spec.train_loop} has not reported for {left['silent_s']:g} s {before}; it stood at "
        f"{left['place']}: call ray.train.report(metrics) at least every {spec.report_within:g} s, or give a longer "
        "report_within",
        exit_code=1,
    )


def fit(loop: Any, config: dict[str, Any], ctx: RunContext, callbacks: Sequence[Any] = ()) -> None:
    """Run ``loop`` on one worker per bundle, worker i's bundle on ``ctx.nodes[i]``; raises what the loop raised."""
    resources = ctx.bundles[0].to_ray()
    trainer = TorchTrainer(
        loop,
        train_loop_config=config,
        torch_config=TorchConfig(backend=_backend(resources.get("GPU", 0) > 0), timeout_s=120),
        scaling_config=ScalingConfig(
            num_workers=len(ctx.nodes),
            use_gpu=resources.get("GPU", 0) > 0,
            resources_per_worker=resources,
            placement_strategy="PACK",
            label_selector=one_each(ctx.nodes),
        ),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=str(ctx.dir),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            callbacks=list(callbacks),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise first_cause(error) from None


def _backend(gpus: bool) -> str:
    """Return how ranks talk: over gloo, and GPUs over NCCL where this PyTorch has it."""
    return "cpu:gloo,cuda:nccl" if gpus and torch.distributed.is_nccl_available() else "gloo"


def first_cause(error: WorkerGroupError) -> Exception:
    """Return the failure of the lowest rank that failed for a reason of its own, not because a peer went away."""
    causes = [getattr(e, "_base_exc", e) for _, e in sorted(error.worker_failures.items())]
    own = [cause for cause in causes if isinstance(cause, WorkloadFailed)]
    return own[0] if own else error


def _publish(
    spec: TrainSpec,
    ctx: RunContext,
    weights: Path,
    manifest: dict[str, Any],
    metrics: dict[str, Any],
    more: Mapping[str, Any] | None = None,
) -> Result:
    """Describe what the workers left, make them durable, and return them as a model version.

    ``more`` is what else the card says of the training.
    """
    data = ctx.inputs["data"]
    scores = {name: metrics[name] for name in ("accuracy", "loss", "val_accuracy", "val_loss") if name in metrics}
    card = {
        "format": 2,
        "name": name_of(spec.outputs["model"]),
        "task": manifest["task"],
        "model": _model(spec),
        "features": manifest["features"],
        "target": manifest["target"],
        "classes": manifest["classes"],
        "statistics": manifest["statistics"],
        "recipe": manifest.get("recipe"),
        "signature": signature_of(manifest, types_of(data.uri)),
        "trained": {
            "epochs": metrics.get("epochs_done", spec.epochs),
            "best_epoch": metrics.get("best_epoch"),
            "batch_size": spec.batch_size,
            "lr": spec.lr,
            "seed": spec.seed,
            **_learning(spec),
            "workers": len(ctx.nodes),
            "resumed_from": ctx.step if ctx.checkpoint else None,
            "torch": torch.__version__,
            **({"train_loop_config": spec.train_loop_config} if spec.train_loop_config else {}),
            **(more or {}),
        },
        "lineage": {
            "workload": ctx.workload,
            "attempt": ctx.attempt,
            "tenant": ctx.tenant,
            "code": spec.working_dir,
            "parent": ctx.bases["model"].reference if "model" in ctx.bases else None,
        },
        "scores": scores,
        "dataset": {"reference": data.reference, "uri": data.uri, "digest": digest_of_version(data.uri)},
    }
    ctx.check_fence()
    if spec.onnx or spec.of_factory:
        _export(spec, card, weights, working_dir(spec.working_dir, ctx), ctx)
    return Result((registered(weights, card),), metrics)


def _learning(spec: TrainSpec) -> dict[str, Any]:
    """Return what the card says of how it was learned: what was given, the optimizer by its name where that is all."""
    if spec.train_loop is not None:
        return {"optimizer": spec.optimizer.type}
    optimizer = spec.optimizer.parameters()
    found: dict[str, Any] = {"optimizer": optimizer if len(optimizer) > 1 else spec.optimizer.type}
    if spec.loss is not None:
        found["loss"] = spec.loss.parameters()
    if "schedule" in given(spec):
        found["schedule"] = spec.schedule.parameters()
    if spec.early_stopping is not None:
        found["early_stopping"] = spec.early_stopping.model_dump()
    plain = ("precision", "accumulate", "clip_norm", "strategy", "compile", "validation")
    return {**found, **{key: getattr(spec, key) for key in plain if key in given(spec)}}


def _export(spec: TrainSpec, card: dict[str, Any], folder: Path, code: Path, ctx: RunContext) -> None:
    """Add the ONNX file; a network that ONNX has no words for goes without, and the log says so.

    What a factory makes cannot go without: nothing else of it can be loaded where its code is not.
    """
    network = build(card["model"], len(card["features"]), len(card["classes"] or [0]), card["statistics"], code)
    restore(network, folder, card["name"])
    try:
        export(network, len(card["features"]), folder)
    except Exception as error:  # the exporter's own, of many kinds
        if spec.of_factory:
            raise
        ctx.reporter.log(f"no model.onnx: the network cannot be exported: {str(error).splitlines()[0]}")
