"""Dataset versions and evaluations of them without Ray: pieces are judged in this process, as its tasks would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from aios.engines import Input, RunContext
from pipelines.evaluate.flow import _measured, _pieces
from pipelines.evaluate.gates import Verdict, verdicts
from pipelines.evaluate.judging import JudgeRows, Plan
from pipelines.evaluate.planning import planned_for
from pipelines.evaluate.report import report_of
from pipelines.evaluate.spec import EvaluateSpec
from pipelines.evaluate.sums import Key, Sums, unpacked
from pipelines.files import write_json
from placement.model import Resources

ROLES = {"model": "model://m", "data": "dataset://rows"}


def dataset(folder: Path, rows: pa.Table, *, target: str = "y", task: str = "classification", **more: Any) -> Input:
    """Return a version whose rows are all of the test side."""
    (folder / "test").mkdir(parents=True)
    pyarrow.parquet.write_table(rows, folder / "test" / "part-00000.parquet")
    classes = sorted(set(rows[target].to_pylist()) - {None}) if task == "classification" else None
    features = [name for name in rows.schema.names if name != target]
    manifest = {"features": features, "target": target, "task": task, "classes": classes, "digest": "sha256:1", **more}
    write_json(folder / "manifest.json", manifest)
    return Input("dataset://rows@1", str(folder))


def spec_of(**fields: Any) -> EvaluateSpec:
    return EvaluateSpec.model_validate({"kind": "evaluate", "name": "check", "inputs": ROLES, **fields})


def context(inputs: Mapping[str, Input], storage: Path, **more: Any) -> RunContext:
    folder = storage / "attempt"
    folder.mkdir(parents=True, exist_ok=True)
    reporter: Any = SimpleNamespace(log=lambda line: None, progress=lambda metrics: None, saved=lambda uri, step: None)
    return RunContext(
        workload="check-1", name="check", tenant="t", attempt=1, fence=1, nodes=("n",),
        bundles=(Resources.parse({"CPU": 1}),), inputs=inputs, outputs={}, dir=folder, storage=storage,
        reporter=reporter, **more,
    )  # fmt: skip


def summed(plan: Plan, n_rows: int, n_bundles: int = 1) -> tuple[dict[Key, Sums], int]:
    """Return the sums of all pieces, and how many rows say nothing; raises where a piece has a problem."""
    task = JudgeRows(plan, SimpleNamespace(say=lambda: None))  # type: ignore[arg-type]  # nothing to say without Ray
    sums, unlabelled = plan.empty(), 0
    for piece in _pieces(0, n_rows, n_bundles):
        (part,) = task(pa.Table.from_pylist([piece])).to_pylist()
        assert not part["problem"], part["problem"]
        for key, more in unpacked(part["sums"]).items():
            sums[key].merge(more)
        unlabelled += part["unlabelled"]
    return sums, unlabelled


def judged(spec: EvaluateSpec, inputs: Mapping[str, Input], storage: Path) -> tuple[dict[str, Any], list[Verdict]]:
    """Return the report of an evaluation and the verdicts of its gates."""
    ctx = context(inputs, storage)
    plan, n_rows = planned_for(spec, ctx)
    sums, unlabelled = summed(plan, n_rows)
    measured = _measured(plan, sums, spec)
    found = verdicts(spec.gates, measured, plan.slices, len(plan.models) > 1)
    return report_of(spec, ctx, plan, sums, measured, found, unlabelled, None), found
