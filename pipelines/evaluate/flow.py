"""The flow of an evaluation: predict the test part through Ray Data on the planned nodes, score, report, gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from aios.engines import Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.data.reading import of_side, read_input, types_of
from pipelines.evaluate.scores import missed, scores_of_classes, scores_of_quantity
from pipelines.evaluate.spec import EvaluateSpec
from pipelines.files import digest_of_file, write_json
from pipelines.models.signature import misfits, told
from pipelines.models.verified import verified
from pipelines.run import Whereabouts, ended_on_request, quiet, slice_context
from pipelines.train.network import load, predict, read_card
from pipelines.train.table import read_manifest

GATE_MISSED = 105
"""Exit code of a workload whose model misses a gate."""
BATCH = 4096


def evaluate(spec: EvaluateSpec, ctx: RunContext) -> Result:
    """Score ``inputs.model`` on the test part of ``inputs.data``; raises WorkloadFailed where a gate is missed."""
    quiet()
    options = slice_context(ctx.nodes, ctx.bundles)
    model, data = ctx.inputs["model"], ctx.inputs["data"]
    card, manifest = read_card(verified(model, ctx.storage)), read_manifest(data.uri)
    _check_fit(card, manifest, model.reference, data.reference)
    _check_types(card, types_of(data.uri), model.reference, data.reference)

    # 1. Predict.
    with ended_on_request(ctx):
        test = read_input(data, [*card["features"], manifest["target"]], of_side(data.uri, "test"), **options)
        guess = Predict(model.uri, manifest["target"], Whereabouts.of(ctx))
        rows = test.map_batches(guess, batch_format="pandas", batch_size=BATCH, **options).to_pandas()

    # 2. Score.
    expected, predicted = rows["expected"].tolist(), rows["predicted"].tolist()
    if card["classes"] is None:
        scores = scores_of_quantity(expected, predicted)
    else:
        scores = scores_of_classes(expected, predicted, _classes(card, expected))

    # 3. Report, then gate: a model that misses its gates has a report too.
    failed = missed(scores, spec.gates)
    artefact = _report(spec, ctx, scores, len(rows), failed)
    headline = {name: round(value, 6) for name, value in scores.items() if isinstance(value, float)}
    ctx.reporter.log(" ".join(f"{name} {value:.4f}" for name, value in headline.items()))
    ctx.reporter.progress({**headline, "rows": len(rows)})
    if failed:
        raise WorkloadFailed(
            f"gate: {'; '.join(failed)} (model {model.reference} on {len(rows)} rows of {data.reference}): "
            f"train it longer or lower the gate; the scores are in {artefact.uri}",
            exit_code=GATE_MISSED,
        )
    return Result((artefact,), {**headline, "rows": len(rows)})


@dataclass(frozen=True, slots=True)
class Predict:
    """Predict a batch of rows inside a Ray Data task."""

    model: str
    target: str
    whereabouts: Whereabouts

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.whereabouts.say()
        network, card = loaded(self.model)
        predicted, _ = predict(network, card, frame[card["features"]].to_numpy(dtype="float64"))
        return pd.DataFrame({"expected": frame[self.target], "predicted": predicted})


@cache
def loaded(model: str) -> tuple[nn.Module, dict[str, Any]]:
    torch.set_num_threads(1)
    return load(Path(model))


def _check_fit(card: Mapping[str, Any], manifest: Mapping[str, Any], model: str, data: str) -> None:
    lacks = sorted(set(card["features"]) - set(manifest["features"]))
    if lacks:
        raise WorkloadFailed(
            f"{data} lacks {', '.join(lacks[:5])}{', …' if len(lacks) > 5 else ''}, which {model} was trained on: "
            "evaluate it on a version of the dataset that it was trained on"
        )
    if card.get("recipe") != manifest.get("recipe"):
        raise WorkloadFailed(
            f"{data} was prepared by other steps or statistics than the training data of {model}: evaluate it on "
            "that version, or on one that rows were added to with the same steps"
        )
    if card["task"] != manifest["task"]:
        raise WorkloadFailed(f"{model} does {card['task']}, but {data} is for {manifest['task']}")


def _check_types(card: Mapping[str, Any], types: Mapping[str, str], model: str, data: str) -> None:
    problems = misfits(card["signature"], types)
    if problems:
        raise WorkloadFailed(f"{data} does not fit the signature of {model}: {told(problems)}: cast it in its ingest")


def _classes(card: Mapping[str, Any], expected: list[Any]) -> list[Any]:
    """Return the model's classes and those that only the data has, which are always missed."""
    return [*card["classes"], *sorted({value for value in expected if value not in card["classes"]}, key=str)]


def _report(spec: EvaluateSpec, ctx: RunContext, scores: Mapping[str, Any], n_rows: int, failed: list[str]) -> Artefact:
    path = ctx.artefact_dir("report", spec.name) / "report.json"
    report = {
        "format": 1,
        "model": ctx.inputs["model"].reference,
        "data": ctx.inputs["data"].reference,
        "rows": n_rows,
        "scores": scores,
        "gates": dict(spec.gates),
        "missed": failed,
    }
    ctx.check_fence()
    write_json(path, report)
    meta: dict[str, Any] = {"model": report["model"], "data": report["data"], "rows": n_rows, "missed": failed}
    if spec.promote is not None:
        meta["promote"] = spec.promote
    meta["scores"] = {name: value for name, value in scores.items() if isinstance(value, float)}
    return Artefact("report", spec.name, str(path), f"sha256:{digest_of_file(path)}", json.dumps(meta))
