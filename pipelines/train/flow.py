"""The flow of a training run: a Ray Train worker group on the planned nodes, then a model version."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import WorkerGroupError

from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.files import digest_of, read_json, sync_tree, write_json
from pipelines.roles import name_of
from pipelines.run import one_each, quiet, stop_file
from pipelines.train.loop import KEEP, Job, train_worker
from pipelines.train.network import CARD
from pipelines.train.spec import ModelSpec, TrainSpec
from pipelines.train.table import read_manifest

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
    for name, value in FAST.items():
        os.environ.setdefault(name, value)
    data = Path(ctx.inputs["data"].uri)
    manifest = read_manifest(data)
    weights = ctx.artefact_dir("model", name_of(spec.outputs["model"]))
    outcome = ctx.dir / "outcome.json"
    model = spec.model or ModelSpec()
    with stop_file(ctx) as stop:
        job = Job(
            model={"type": model.type, "hidden": list(model.layers)},
            epochs=spec.epochs,
            batch_size=spec.batch_size,
            lr=spec.lr,
            optimizer=spec.optimizer,
            seed=spec.seed,
            checkpoint_every=spec.checkpoint_every,
            data=data,
            checkpoint=ctx.checkpoint,
            nodes=ctx.nodes,
            n_threads=max(1, ctx.bundles[0].get("CPU") // 1000),
            checkpoints=ctx.dir / "checkpoints",
            stop_file=stop,
            outcome=outcome,
            weights=weights,
            reporter=ctx.reporter,
        )
        fit(train_worker, {"job": job}, ctx)
    ended = read_json(outcome)
    if ended["ended"] == "yielded":
        if ctx.stop_reason == "stop":
            return Result(metrics=ended["metrics"])
        raise Preempted
    return _publish(spec, ctx, job, manifest, ended["metrics"])


def fit(loop: Any, config: dict[str, Any], ctx: RunContext, callbacks: Sequence[Any] = ()) -> None:
    """Run ``loop`` on one worker per bundle, worker i's bundle on ``ctx.nodes[i]``; raises what the loop raised."""
    resources = ctx.bundles[0].to_ray()
    trainer = TorchTrainer(
        loop,
        train_loop_config=config,
        torch_config=TorchConfig(backend="gloo", timeout_s=120),
        scaling_config=ScalingConfig(
            num_workers=len(ctx.nodes),
            use_gpu=resources.get("GPU", 0) > 0,
            resources_per_worker=resources,
            placement_strategy="PACK",
            label_selector=one_each(ctx.nodes),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(ctx.dir),
            failure_config=FailureConfig(max_failures=0, controller_failure_limit=0),
            checkpoint_config=KEEP,
            callbacks=list(callbacks),
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise first_cause(error) from None


def first_cause(error: WorkerGroupError) -> Exception:
    """Return the failure of the lowest rank that failed for a reason of its own, not because a peer went away."""
    causes = [getattr(e, "_base_exc", e) for _, e in sorted(error.worker_failures.items())]
    own = [cause for cause in causes if isinstance(cause, WorkloadFailed)]
    return own[0] if own else error


def _publish(spec: TrainSpec, ctx: RunContext, job: Job, manifest: dict[str, Any], metrics: dict[str, Any]) -> Result:
    """Describe the weights that rank 0 left, make them durable, and return them as a model version."""
    data = ctx.inputs["data"]
    scores = {name: metrics[name] for name in ("accuracy", "loss") if name in metrics}
    card = {
        "format": 1,
        "name": name_of(spec.outputs["model"]),
        "task": manifest["task"],
        "model": job.model,
        "features": manifest["features"],
        "target": manifest["target"],
        "classes": manifest["classes"],
        "statistics": manifest["statistics"],
        "signature": {
            "inputs": [{"name": name, "type": "number"} for name in manifest["features"]],
            "outputs": {"name": manifest["target"], "task": manifest["task"]},
        },
        "trained": {
            "epochs": job.epochs,
            "batch_size": job.batch_size,
            "lr": job.lr,
            "optimizer": job.optimizer,
            "seed": job.seed,
            "workers": len(ctx.nodes),
            "resumed_from": ctx.step if ctx.checkpoint else None,
            "torch": torch.__version__,
        },
        "scores": scores,
        "dataset": {"reference": data.reference, "uri": data.uri, "digest": manifest["digest"]},
    }
    ctx.check_fence()
    write_json(job.weights / CARD, card)
    sync_tree(job.weights)
    meta = {key: card[key] for key in ("task", "model", "trained", "scores", "dataset", "classes")}
    artefact = Artefact("model", card["name"], str(job.weights), digest_of(job.weights), json.dumps(meta))
    return Result((artefact,), metrics)
