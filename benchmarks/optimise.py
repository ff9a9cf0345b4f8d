"""Optimisation on CPU: a small convolutional net and a small transformer, trained on real scans, before and after.

    python -m benchmarks.optimise [--report FOLDER]

All variants of a model are timed in one run in which they take turns, on one thread. What counts are the ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipelines.files import write_json
from pipelines.models import onnx, weights
from pipelines.models.weights import restore
from pipelines.optimise.page import page
from pipelines.optimise.spec import OptimiseSpec
from pipelines.optimise.work import Optimising, Order
from pipelines.train.network import build
from tests.support.digits import FEATURES, Notes, digits, spec_of, trained

EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "models"
TRAININGS: dict[str, dict[str, Any]] = {
    "cnn": {
        "model": {"type": "cnn", "channels": [64, 128]}, "epochs": 8, "lr": 2e-3, "schedule": "cosine",
    },
    "transformer": {
        "model": {"factory": "transformer:transformer", "arguments": {"width": 128, "depth": 4}},
        "epochs": 14, "lr": 1e-3, "optimizer": "adamw", "schedule": {"type": "cosine", "warmup_steps": 50},
    },
}  # fmt: skip
PASSES: dict[str, list[dict[str, Any]]] = {
    "cnn": [
        {"type": "onnx"}, {"type": "dynamic_int8"}, {"type": "static_int8"}, {"type": "qat", "epochs": 2},
        {"type": "prune", "amount": 0.5, "structural": True, "epochs": 6, "lr": 2e-3},
        {"type": "static_int8", "name": "pruned-int8"},
        {"type": "distil", "student": {"type": "cnn", "channels": [24, 48]}, "epochs": 15, "lr": 3e-3},
        {"type": "static_int8", "name": "distilled-int8"},
    ],
    "transformer": [
        {"type": "onnx"}, {"type": "dynamic_int8"}, {"type": "static_int8"}, {"type": "weight_only", "bits": 8},
        {"type": "weight_only", "bits": 4, "name": "weight-only-4"},
    ],
}  # fmt: skip


def original(name: str, data: str, folder: Path) -> Path:
    """Train a model on the scans and leave it as a version's folder."""
    spec = spec_of(batch_size=64, **TRAININGS[name])
    trained(spec, data, folder, working_dir=EXAMPLES)
    assert spec.model is not None
    manifest = json.loads((Path(data) / "manifest.json").read_text(encoding="utf-8"))
    card = {
        "name": name, "task": "classification", "model": spec.model.described(), "features": FEATURES,
        "target": "digit", "classes": list(range(10)), "statistics": manifest["statistics"],
    }  # fmt: skip
    write_json(folder / "model" / "model.json", card)
    network = build(card["model"], len(FEATURES), 10, card["statistics"], EXAMPLES)
    restore(network, folder / "model", name)
    assert (folder / "model" / weights.WEIGHTS).exists()
    onnx.export(network, len(FEATURES), folder / "model")
    return folder / "model"


def measured(name: str, data: str, folder: Path) -> dict[str, Any]:
    """Return the report of all passes over one model."""
    version = original(name, data, folder / name)
    spec = OptimiseSpec.model_validate(
        {
            "kind": "optimise", "name": name, "passes": PASSES[name],
            "inputs": {"model": f"model://{name}", "data": "dataset://digits"}, "outputs": {"model": "model://small"},
        }
    )  # fmt: skip
    order = Order(
        spec, version, data, "dataset://digits", None, "", EXAMPLES, folder / name / "work", "", folder / "stop", 1,
        SimpleNamespace(say=lambda: None), Notes(), lambda: None,  # type: ignore[arg-type]  # nothing to report to
    )  # fmt: skip
    order.folder.mkdir()
    return {**Optimising(order).run(), "model": f"model://{name}", "data": "dataset://digits"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, help="where to leave the reports as JSON and HTML")
    parser.add_argument("--only", choices=sorted(PASSES))
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = digits(folder / "digits", n_train=1200, n_test=597)
        for name in [arguments.only] if arguments.only else PASSES:
            report = measured(name, data, folder)
            print(table(report))
            failed |= not reached(report)
            if arguments.report:
                arguments.report.mkdir(parents=True, exist_ok=True)
                write_json(arguments.report / f"{name}.json", report)
                (arguments.report / f"{name}.html").write_text(page(report), encoding="utf-8")
    sys.exit(failed)


def table(report: dict[str, Any]) -> str:
    """Return the report as markdown; ratios are of the same network in fp32 in ONNX Runtime."""
    base = next(row for row in report["variants"] if row["name"] == "onnx")
    lines = [
        f"\n{report['name']} ({report['rows']} rows of the test part; taken: {report['taken']})\n",
        "| variant | accuracy | p50, 1 row | p50, 32 rows | size | faster than fp32 ONNX | smaller | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["variants"]:
        one, many = row["latency"]["1"]["p50_us"], row["latency"]["32"]["p50_us"]
        lines.append(
            f"| {row['name']} | {row['score']:.4f} | {one:.0f} µs | {many:.0f} µs | {row['size_bytes'] / 1024:.0f} KiB "
            f"| {base['latency_us'] / one:.2f} | {base['size_bytes'] / row['size_bytes']:.2f} | {row['rejected']} |"
        )
    return "\n".join(lines)


def reached(report: dict[str, Any]) -> bool:
    """Return whether a variant is twice as fast or 3.5 times smaller than fp32 ONNX, and loses one point at most."""
    rows = {row["name"]: row for row in report["variants"]}
    base = rows["onnx"]
    return any(
        row["score"] >= base["score"] - 0.01
        and (base["latency_us"] / row["latency_us"] >= 2 or base["size_bytes"] / row["size_bytes"] >= 3.5)
        for row in rows.values()
        if not row["rejected"]
    )


if __name__ == "__main__":
    main()
