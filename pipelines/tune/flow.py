"""The flow of a tuning: trials through Ray Tune, one on each free bundle of the gang, then the best one as a model.

Ray Tune's own files are of one attempt. What outlives it are each trial's checkpoints and ``trials.json``: a later
attempt tells the search and the scheduler of them and goes on with the trials that were under way.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune import Callback
from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler

from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.files import digest_of_file, read_json, write_json
from pipelines.models.weights import WEIGHTS as TENSORS
from pipelines.models.weights import save_tensors
from pipelines.roles import name_of
from pipelines.run import NODE_KEY, quiet, stop_file
from pipelines.train.checkpoint import read_state
from pipelines.train.flow import _publish  # a trial is published as any training is
from pipelines.train.table import read_manifest
from pipelines.tune.searching import OnBundles, points_of
from pipelines.tune.spec import TuneSpec
from pipelines.tune.trial import FAILED, OUTCOME, WEIGHTS, YIELDED, Order, latest, run_trial
from pipelines.tune.trials import Trial, Trials
from pipelines.workdir import working_dir

WRITE_EVERY_S = 2.0
SHARE_OF_GRACE = 0.6
"""How much of its grace an attempt waits for its trials to save their progress."""


def tune(spec: TuneSpec, ctx: RunContext) -> Result:
    """Try points of the space until there are enough or the time is over; the best becomes the model."""
    quiet()
    for name in ("ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    root = Path(ctx.checkpoint) if ctx.checkpoint else ctx.dir / "trials"
    root.mkdir(parents=True, exist_ok=True)
    trials = Trials.read(root, spec.metric, spec.mode)
    points = points_of(spec)

    # 1. Trials.
    with stop_file(ctx) as stop:
        search = OnBundles(spec, points, trials, len(ctx.nodes))
        if search.left or len(trials.found) < points.n:
            _run(spec, ctx, search, stop)
    trials.write()

    # 2. The best one.
    best = trials.best()
    if best is None:
        failed = [one for one in trials.found.values() if one.error]
        why = (
            f"the first: {failed[0].error}" if failed else "none came to the end of an epoch: give a larger time_budget"
        )
        raise WorkloadFailed(f"none of {len(trials.found)} trials has a {spec.metric}: {why}", exit_code=1)
    if best.status != "finished":
        ctx.reporter.log(f"no trial was trained to its end: {best.name} is taken as it was after epoch {best.epochs}")
    report = _report(spec, ctx, trials, best)
    made = _model(spec, ctx, trials, best)
    ctx.reporter.log(
        f"{best.name} is best of {len(trials.found)}: {spec.metric} {best.score:.4f} with {_told(best.config)}"
    )
    metrics = {**best.metrics, "trial": best.name, "trials": len(trials.found)}
    return Result((*made.artefacts, report), metrics)


def _run(spec: TuneSpec, ctx: RunContext, search: OnBundles, stop: Path) -> None:
    """Run trials on the gang's bundles; raises Preempted once the attempt was asked to end."""
    global _watch
    order = Order(
        spec, ctx.inputs["data"].uri, search.trials.root, max(1, ctx.bundles[0].get("CPU") // 1000), stop,
        working_dir(spec.train.get("working_dir"), ctx), ctx.reporter, ctx.check_fence, ctx.alive,
    )  # fmt: skip
    bundles, nodes = [bundle.to_ray() for bundle in ctx.bundles], ctx.nodes

    def on_its_bundle(config: Mapping[str, Any]) -> PlacementGroupFactory:
        i = config["bundle"]
        return PlacementGroupFactory([bundles[i]], bundle_label_selector=[{NODE_KEY: nodes[i]}])

    trainable = ray_tune.with_resources(ray_tune.with_parameters(run_trial, order=order), on_its_bundle)
    left_s = None if spec.time_budget is None else max(0.1, spec.time_budget - search.trials.spent_s)
    longest = spec.trial({name: one.first() for name, one in spec.space.items()}).epochs
    if "epochs" in spec.space:
        longest = 10_000
    asha = AsyncHyperBandScheduler(
        max_t=longest + 1,  # one that comes to its end ends by itself
        grace_period=min(spec.grace_epochs, longest), reduction_factor=spec.reduction_factor,
    )  # fmt: skip
    tuner = ray_tune.Tuner(
        trainable,
        tune_config=ray_tune.TuneConfig(
            metric=spec.metric, mode=spec.mode, search_alg=search, num_samples=search.points.n + len(nodes),
            scheduler=asha if spec.scheduler == "asha" else FIFOScheduler(), time_budget_s=left_s,
            max_concurrent_trials=None,
        ),
        run_config=ray_tune.RunConfig(
            name="tune", storage_path=str(ctx.dir), callbacks=[Told()], verbose=0,
            failure_config=ray_tune.FailureConfig(max_failures=0),
        ),
    )  # fmt: skip
    _watch = Watch(spec, ctx, search, stop)
    try:
        tuner.fit()
    except Exception:
        if not ctx.stop_event.is_set():
            raise
    finally:
        _watch.close()
        _watch = None
    if ctx.stop_event.is_set():
        ctx.reporter.saved(str(search.trials.root), _watched_epochs(search.trials))
        raise Preempted


class Watch:
    """Hears of each trial, keeps what is known of it, and ends the tuning once the attempt was asked to end."""

    def __init__(self, spec: TuneSpec, ctx: RunContext, search: OnBundles, stop: Path) -> None:
        self.spec, self.ctx, self.search, self.stop = spec, ctx, search, stop
        self.trials = search.trials
        self.began_s = self.wrote_s = time.monotonic()
        self.asked_s: float | None = None
        self.spent_s = self.trials.spent_s

    def step(self, running: list[str]) -> None:
        now_s = time.monotonic()
        if self.ctx.stop_event.is_set():
            self.asked_s = self.asked_s or now_s
            names = [self.search.trial(id).name for id in running if id in self.search.held]
            waiting = [name for name in names if not (self.trials.root / name / YIELDED).exists()]
            if not waiting or now_s > self.asked_s + SHARE_OF_GRACE * self.ctx.grace_s:
                raise Preempted
        if now_s > self.wrote_s + WRITE_EVERY_S:
            self.wrote_s = now_s
            self.write()

    def result(self, id: str, metrics: Mapping[str, Any]) -> None:
        trial = self.search.trial(id)
        trial.metrics = {k: v for k, v in metrics.items() if k in _KEPT and isinstance(v, (int, float))}
        trial.epochs = int(metrics.get("epoch", metrics["training_iteration"]))
        score = float(metrics[self.spec.metric])
        trial.score = score if score == score else None
        best = self.trials.ranked()
        self.ctx.reporter.progress(
            {"trials": len(self.trials.found), "running": len(self.trials.unfinished()), "trial": trial.name,
             **trial.metrics, f"best_{self.spec.metric}": best[0].score if best else None}
        )  # fmt: skip

    def complete(self, id: str, error: str = "") -> None:
        trial = self.search.trial(id)
        folder = self.trials.root / trial.name
        if (folder / FAILED).exists():
            trial.status, trial.error = "failed", str(read_json(folder / FAILED)["error"])
        elif error:
            trial.status, trial.error = "failed", error
        elif (folder / OUTCOME).exists() and read_json(folder / OUTCOME)["ended"] == "finished":
            trial.status = "finished"
            found = read_json(folder / OUTCOME)["metrics"]
            trial.metrics = {k: v for k, v in found.items() if k in _KEPT}
            trial.score = float(found.get(self.spec.metric, trial.score))
        else:
            trial.status = "stopped"
        value = "no result" if trial.score is None else f"{self.spec.metric} {trial.score:.4f}"
        why = f": {trial.error}" if trial.error else ""
        self.ctx.reporter.log(
            f"{trial.name} {trial.status} after epoch {trial.epochs}, {value}, {_told(trial.config)}{why}"
        )
        self.write()

    def write(self) -> None:
        self.trials.spent_s = self.spent_s + time.monotonic() - self.began_s
        self.ctx.check_fence()
        self.trials.write()
        self.ctx.reporter.saved(str(self.trials.root), _watched_epochs(self.trials))

    def close(self) -> None:
        self.trials.spent_s = self.spent_s + time.monotonic() - self.began_s
        if not self.ctx.stop_event.is_set():  # the time is over: what still ran is as good as it was
            for trial in self.trials.unfinished():
                trial.status = "stopped"
        self.trials.write()


_KEPT = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "best_epoch", "epochs_done")
_watch: Watch | None = None
"""Of the one tuning of this process: Ray Tune writes its callbacks to a file, so they hold nothing."""


class Told(Callback):  # type: ignore[misc]  # Ray ships no types for it
    """Passes on what Ray Tune tells of trials."""

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if _watch is not None:
            _watch.step([trial.trial_id for trial in trials if trial.status == "RUNNING"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if _watch is not None:
            _watch.result(trial.trial_id, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _watch is not None:
            _watch.complete(trial.trial_id)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if _watch is not None:
            text = str(trial.get_error() or "the trial's process ended")
            _watch.complete(trial.trial_id, text.strip().splitlines()[-1][:300])


def _watched_epochs(trials: Trials) -> int:
    return sum(one.epochs for one in trials.found.values())


def _model(spec: TuneSpec, ctx: RunContext, trials: Trials, best: Trial) -> Result:
    """Register what the best trial learned, with its parameters."""
    folder = trials.root / best.name
    weights = ctx.artefact_dir("model", name_of(spec.outputs["model"]))
    if (folder / WEIGHTS / TENSORS).exists():
        shutil.copytree(folder / WEIGHTS, weights, dirs_exist_ok=True)
    else:
        checkpoint = latest(folder)
        if checkpoint is None:
            raise WorkloadFailed(
                f"trial {best.name} left no checkpoint, so there is no model: give a larger time_budget"
            )
        save_tensors(read_state(str(checkpoint))["model"], weights)
    tuned = {
        "metric": spec.metric, "score": best.score, "trials": len(trials.found), "trial": best.name,
        "search": spec.search, "point": best.config,
    }  # fmt: skip
    more = {"workers": 1, "resumed_from": None, "tuned": tuned}
    manifest = read_manifest(ctx.inputs["data"].uri)
    return _publish(spec.trial(best.config), ctx, weights=weights, manifest=manifest, metrics=best.metrics, more=more)


def _report(spec: TuneSpec, ctx: RunContext, trials: Trials, best: Trial) -> Artefact:
    path = ctx.artefact_dir("report", spec.name) / "report.json"
    ctx.check_fence()
    report = {
        "format": 1,
        "name": spec.name,
        "data": ctx.inputs["data"].reference,
        "metric": spec.metric,
        "mode": spec.mode,
        "search": spec.search,
        "best": best.name,
        "spent_s": round(trials.spent_s, 1),
        "trials": [asdict(one) for one in trials.found.values()],
    }
    write_json(path, report)
    meta = {"data": report["data"], "trials": len(trials.found), "best": best.name, "metric": spec.metric}
    return Artefact("report", spec.name, str(path), f"sha256:{digest_of_file(path)}", json.dumps(meta))


def _told(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in config.items())
