"""The flow of an optimisation: the passes as one task on the planned node, then a report and the best variant."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError

from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.data.reading import digest_of_version
from pipelines.files import digest_of_file, write_json, write_whole
from pipelines.models.onnx import ONNX, can_export
from pipelines.models.register import registered
from pipelines.models.verified import verified
from pipelines.optimise.page import page
from pipelines.optimise.spec import OptimiseSpec
from pipelines.optimise.work import Order, work
from pipelines.roles import name_of
from pipelines.run import Whereabouts, actor_options, on_nodes, quiet, stop_file
from pipelines.train.network import read_card
from pipelines.workdir import working_dir

NOTHING_BETTER = 105
"""Exit code where no variant kept its gate and was better than the original."""


def optimise(spec: OptimiseSpec, ctx: RunContext) -> Result:
    """Make variants of ``inputs.model`` and register the best; raises WorkloadFailed where none is better."""
    quiet()
    if not can_export():
        raise WorkloadFailed("optimise needs packages that are not installed here: pip install 'aios[optimise]'")
    model, data, teacher = ctx.inputs["model"], ctx.inputs["data"], ctx.inputs.get("teacher")
    original = verified(model, ctx.storage)
    with stop_file(ctx) as stop:
        order = Order(
            spec, original, data.uri, data.reference, verified(teacher, ctx.storage) if teacher else None,
            teacher.reference if teacher else "", working_dir(spec.working_dir, ctx) if spec.working_dir else Path(),
            ctx.dir, ctx.checkpoint, stop, max(1, ctx.bundles[0].get("CPU") // 1000), Whereabouts.of(ctx), ctx.reporter,
            ctx.check_fence, ctx.alive,
        )  # fmt: skip
        found = _on_the_node(order, ctx)
    if found is None:
        if ctx.stop_reason == "stop":
            return Result()
        raise Preempted
    return _published(spec, ctx, found)


def _on_the_node(order: Order, ctx: RunContext) -> dict[str, Any] | None:
    """Run the passes as one task; None where it was asked to end."""
    options = {**actor_options(ctx.bundles[0]), "label_selector": on_nodes(ctx.nodes[:1]), "max_retries": 0}
    task = ray.remote(_passes).options(scheduling_strategy="DEFAULT", **options).remote(order)
    try:
        found: dict[str, Any] | None = ray.get(task)
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, BaseException) else error
        raise cause from None
    return found


def _passes(order: Order) -> dict[str, Any] | None:
    try:
        return work(order)
    except Preempted:
        return None


def _published(spec: OptimiseSpec, ctx: RunContext, found: dict[str, Any]) -> Result:
    """Write the report, and register the variant that is taken."""
    model, data = ctx.inputs["model"], ctx.inputs["data"]
    report = {**found, "model": model.reference, "data": data.reference}
    ctx.check_fence()
    folder = ctx.artefact_dir("report", spec.name)
    write_json(folder / "report.json", report)
    write_whole(folder / "report.html", page(report).encode())
    rows = {row["name"]: row for row in report["variants"]}
    taken = rows[report["taken"]]
    ctx.reporter.log(f"the report is {folder / 'report.html'}")
    if report["taken"] == "original":
        rejected = sum(bool(row["rejected"]) for row in report["variants"])
        raise WorkloadFailed(
            f"no variant is better than {model.reference}: {rejected} of {len(rows) - 1} lose too much, the others are "
            f"not {'faster' if spec.prefer == 'latency' else 'smaller'}; the report is {folder / 'report.html'}: give "
            "other passes, or a larger max_drop",
            exit_code=NOTHING_BETTER,
        )
    meta = {"model": model.reference, "data": data.reference, "rows": report["rows"], "taken": report["taken"]}
    summary = Artefact(
        "report", spec.name, str(folder / "report.json"), f"sha256:{digest_of_file(folder / 'report.json')}",
        json.dumps(meta),
    )  # fmt: skip
    metrics = {
        report["metric"]: round(taken["score"], 6), "faster": taken["faster"], "smaller": taken["smaller"],
        "variant": report["taken"],
    }  # fmt: skip
    return Result((_registered(spec, ctx, report, taken), summary), metrics)


def _registered(spec: OptimiseSpec, ctx: RunContext, report: dict[str, Any], taken: dict[str, Any]) -> Artefact:
    model, data = ctx.inputs["model"], ctx.inputs["data"]
    card = read_card(Path(model.uri))
    folder = ctx.artefact_dir("model", name_of(spec.outputs["model"]))
    shutil.copyfile(ctx.dir / "variants" / f"{taken['name']}.onnx", folder / ONNX)
    keys = ("name", "score", "rejected", "note", "faster", "smaller", "size_bytes", "memory_bytes", "rows_per_s")
    table = [
        {**{key: row[key] for key in keys}, **{f"p{p}_{size}": row["latency"][str(size)][f"p{p}_us"]
         for size in (1, 32) for p in (50, 99)}}
        for row in report["variants"]
    ]  # fmt: skip
    made = {
        **{key: value for key, value in card.items() if key != "files"},
        "name": name_of(spec.outputs["model"]),
        "model": {"type": "onnx", "of": _plain(card["model"]), "variant": taken["name"], **(taken["form"] or {})},
        "scores": {report["metric"]: round(taken["score"], 6)},
        "optimised": {
            "metric": report["metric"], "data": data.reference, "taken": taken["name"],
            "passes": [one.model_dump(exclude_unset=True, mode="json") for one in spec.passes], "variants": table,
        },
        "lineage": {
            "workload": ctx.workload, "attempt": ctx.attempt, "tenant": ctx.tenant, "code": spec.working_dir,
            "parent": model.reference, "teacher": ctx.inputs["teacher"].reference if "teacher" in ctx.inputs else None,
        },
        "evaluated": {"reference": data.reference, "digest": digest_of_version(data.uri)},
    }  # fmt: skip
    return registered(folder, made)


def _plain(model: dict[str, Any]) -> dict[str, Any]:
    """Return a description without those of the versions before it."""
    of: dict[str, Any] = model.get("of", model)
    return of
