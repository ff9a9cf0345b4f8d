"""The flow of an evaluation: rows are predicted and summed on the planned nodes, then metrics, gates and the report.

What an attempt has summed is saved with how many rows it is of, so that a later attempt goes on behind them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray.data
from ray.data import DataContext

from aios.checkpoints import seal
from aios.engines import Preempted, Result, RunContext, WorkloadFailed
from aios.kernel.events import Artefact
from pipelines.evaluate.explained import explained
from pipelines.evaluate.gates import Measured, missed, verdicts
from pipelines.evaluate.judging import JudgeRows, Plan
from pipelines.evaluate.metrics import better, parsed
from pipelines.evaluate.page import page
from pipelines.evaluate.planning import baseline_of, planned_for
from pipelines.evaluate.ranking import ranked
from pipelines.evaluate.report import report_of
from pipelines.evaluate.results import differences, values_of
from pipelines.evaluate.spec import EvaluateSpec
from pipelines.evaluate.sums import BLOCK, Key, Sums, packed, unpacked
from pipelines.files import digest_of_file, read_json, write_folder, write_json, write_whole
from pipelines.run import Whereabouts, ended_on_request, quiet, slice_context

GATE_MISSED = 105
"""Exit code of a workload whose model misses a gate."""
LARGEST_PIECE = 16 * BLOCK
SAVE_EVERY_S = 20.0
PAGE = "report.html"


def evaluate(spec: EvaluateSpec, ctx: RunContext) -> Result:
    """Judge ``inputs.model`` on ``inputs.data``; raises WorkloadFailed where a gate is missed."""
    quiet()
    options = slice_context(ctx.nodes, ctx.bundles)
    DataContext.get_current().execution_options.preserve_order = (
        True  # sums of a prefix of the rows can be gone on from
    )

    # 1. What is measured, and whether it all fits together.
    plan, n_rows = planned_for(spec, ctx)
    if spec.compare_to is not None and baseline_of(ctx) is None:
        ctx.reporter.log(
            f"no baseline: no version is called {spec.compare_to} yet, so there is nothing to compare with"
        )

    # 2. Predict and sum.
    if spec.group is not None:
        with ended_on_request(ctx):
            sums, unlabelled = ranked(plan, spec, ctx, options)
    else:
        sums, unlabelled = _summed(plan, n_rows, ctx, options)
    if not sums["model", ""].each[0].any():
        raise WorkloadFailed(f"no row of {ctx.inputs['data'].reference} says what is expected: column {plan.target!r}")

    # 3. Metrics, differences, gates.
    measured = _measured(plan, sums, spec)
    found = verdicts(spec.gates, measured, plan.slices, len(plan.models) > 1)
    failed = missed(found)

    # 4. Which features it went by.
    with ended_on_request(ctx):
        attributions = explained(plan, spec.explain, ctx, options) if spec.explain else None

    # 5. Report, then gate: a model that misses its gates has a report too.
    report = report_of(spec, ctx, plan, sums, measured, found, unlabelled, attributions)
    artefact = _write(spec, ctx, report, failed)
    headline = {name: round(one.value, 6) for name, one in measured[""].values.items() if "[" not in name}
    rows = {"rows": sums["model", ""].n}
    said = spec.metrics or report["shown"][:7]
    ctx.reporter.log(" ".join(f"{name} {value:.4f}" for name, value in headline.items() if name in said))
    ctx.reporter.progress({**headline, **rows})
    if failed:
        what = "groups" if spec.group else "rows"
        raise WorkloadFailed(
            f"gate: {'; '.join(failed)} (model {report['model']} on {rows['rows']} {what} of {report['data']}): train "
            f"it longer or lower the gate; the report is {Path(artefact.uri).with_name(PAGE)}",
            exit_code=GATE_MISSED,
            artefacts=[artefact],
        )
    return Result((artefact,), {**headline, **rows})


def _summed(plan: Plan, n_rows: int, ctx: RunContext, options: Mapping[str, float]) -> tuple[dict[Key, Sums], int]:
    """Return the sums over all rows, going on from what an earlier attempt has saved."""
    sums, done, unlabelled = _begin(plan, ctx)
    saved_s = time.monotonic()
    pieces = list(_pieces(done, n_rows, len(ctx.nodes)))
    try:
        if pieces:
            with ended_on_request(ctx):
                ranges = ray.data.from_items(pieces, override_num_blocks=len(pieces))
                task = JudgeRows(plan, Whereabouts.of(ctx))
                parts = ranges.map_batches(task, batch_format="pyarrow", batch_size=1, **options)
                for part in parts.iter_rows():
                    if part["problem"]:
                        raise WorkloadFailed(part["problem"])
                    for key, more in unpacked(part["sums"]).items():
                        sums[key].merge(more)
                    done, unlabelled = int(part["stop"]), unlabelled + int(part["unlabelled"])
                    ctx.reporter.progress({"rows": done, "of": n_rows})
                    if time.monotonic() - saved_s > SAVE_EVERY_S:
                        _save(ctx, sums, done, unlabelled)
                        saved_s = time.monotonic()
    except Preempted:
        if done:
            _save(ctx, sums, done, unlabelled)
        raise
    return sums, unlabelled


def _pieces(done: int, n_rows: int, n_bundles: int) -> Iterator[dict[str, int]]:
    """Yield ranges of rows that begin at multiples of ``BLOCK``: a few for each bundle, none too large to lose."""
    share = -(-(n_rows - done) // (4 * n_bundles))
    size = min(LARGEST_PIECE, max(BLOCK, -(-share // BLOCK) * BLOCK))
    for start in range(done, n_rows, size):
        yield {"start": start, "stop": min(start + size, n_rows)}


def _begin(plan: Plan, ctx: RunContext) -> tuple[dict[Key, Sums], int, int]:
    if not ctx.checkpoint:
        return plan.empty(), 0, 0
    folder = Path(ctx.checkpoint)
    meta = read_json(folder / "rows.json")
    return unpacked((folder / "sums.npz").read_bytes()), int(meta["done"]), int(meta["unlabelled"])


def _save(ctx: RunContext, sums: Mapping[Key, Sums], done: int, unlabelled: int) -> None:
    def fill(part: Path) -> None:
        (part / "sums.npz").write_bytes(packed(sums))
        write_json(part / "rows.json", {"done": done, "unlabelled": unlabelled})
        seal(part)

    ctx.check_fence()
    path = ctx.dir / f"rows-{done:012d}"
    if not path.exists():
        write_folder(path, fill)
    ctx.reporter.saved(str(path), done)


def _measured(plan: Plan, sums: Mapping[Key, Sums], spec: EvaluateSpec) -> dict[str, Measured]:
    found = {}
    for label in ["", *(one.label for one in plan.slices)]:
        measure = plan.part_measure if label else plan.measure
        ours = sums["model", label]
        values = values_of(measure, ours, spec.confidence)
        difference = {}
        if ("baseline", label) in sums:
            ways = {name: better(parsed(name)[0]) for name in values}
            both = differences(measure, ours, sums["baseline", label], spec.confidence, ways)
            difference = {name: one for name, one in both.items() if name in values}
        found[label] = Measured(ours.n, values, difference)
    return found


def _write(spec: EvaluateSpec, ctx: RunContext, report: dict[str, Any], failed: list[str]) -> Artefact:
    path = ctx.artefact_dir("report", spec.name) / "report.json"
    ctx.check_fence()
    write_whole(path.with_name(PAGE), page(report).encode())
    write_json(path, report)
    kept = ("model", "baseline", "data", "rows", "task")
    meta: dict[str, Any] = {name: report[name] for name in kept if report[name] is not None}
    meta |= {"missed": failed, "page": PAGE}
    if spec.promote is not None:
        meta["promote"] = spec.promote
    meta["scores"] = {name: one["value"] for name, one in report["scores"].items() if "[" not in name}
    return Artefact("report", spec.name, str(path), f"sha256:{digest_of_file(path)}", json.dumps(meta))
