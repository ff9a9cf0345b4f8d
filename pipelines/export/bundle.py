"""Writes the folder that runs at the edge: model, preparation, schema, sample with answers, runner and fetcher."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aios.engines import WorkloadFailed
from pipelines.data.reading import load as load_rows
from pipelines.export.preparation import plain_steps
from pipelines.files import write_json, write_whole
from pipelines.models.onnx import ONNX, can_export, export
from pipelines.models.session import INPUT
from pipelines.models.weights import restore
from pipelines.train.network import build, load, predict

HERE = Path(__file__).parent
SAMPLE = 32
TOLERANCE = 1e-5
README = """# {name}, version {version}

`python run.py rows.json` answers `{{"rows": [[...], ...]}}`; it needs `pip install onnxruntime numpy` and nothing else.
`python run.py --self-test` compares the answers to `sample.json`, value by value.

| file | holds |
|---|---|
| `model.onnx` | the network, raw features in; the normalisation of its training is inside |
| `edge.json` | names and order of features, classes, preparation of raw rows |
| `schema.json` | what a row is, as JSON Schema |
| `sample.json` | rows and the answers that the original gave |
| `run.py` | answers, tests, verifies |
| `edge.py` | follows an alias over the air: `python edge.py update --help` |
| `manifest.json`, `model.sig` | the digest of every file, signed (OpenSSF Model Signing 1.0) |
"""


def write_bundle(folder: Path, reference: str, to: Path, key: bytes) -> int:
    """Fill the empty folder ``to``; return the number of the sample's rows."""
    network, card = load(folder)
    name, _, version = reference.partition("://")[2].partition("@")
    if (folder / ONNX).is_file():
        shutil.copyfile(folder / ONNX, to / ONNX)
    else:
        _exported(folder, card, to)
    steps = plain_steps(card.get("recipe"))
    model = card["model"]
    about = {
        "format": 1, "name": name, "version": int(version), "reference": reference, "task": card["task"],
        "features": card["features"], "classes": card["classes"], "target": card["target"],
        "form": {**INPUT, **{key: model[key] for key in INPUT if model.get(key) is not None}},
        "raw": bool(card.get("recipe")), "preparation": steps, "signature": card["signature"],
    }  # fmt: skip
    write_json(to / "edge.json", about)
    write_json(to / "schema.json", schema_of(about))
    rows = sample_of(card)
    predictions, probabilities = predict(network, card, rows)
    expected = {"predictions": predictions, **({"probabilities": probabilities} if probabilities is not None else {})}
    write_json(to / "sample.json", {"rows": rows.tolist(), "expected": expected, "tolerance": TOLERANCE})
    shutil.copyfile(HERE / "runner.py", to / "run.py")
    shutil.copyfile(HERE / "fetcher.py", to / "edge.py")
    write_whole(to / "key.pub", key)
    write_whole(to / "README.md", README.format(name=name, version=version).encode())
    return len(rows)


def _exported(folder: Path, card: Mapping[str, Any], to: Path) -> None:
    """Write the ONNX file of a version that was registered without one."""
    if not can_export():
        raise WorkloadFailed("the version has no model.onnx, and making one needs: pip install 'aios[optimise]'")
    network = build(card["model"], len(card["features"]), len(card["classes"] or [0]), card["statistics"])
    restore(network, folder, card["name"])
    logging.disable(logging.WARNING)
    try:
        export(network, len(card["features"]), to)
    finally:
        logging.disable(logging.NOTSET)


def sample_of(card: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return rows (n, features): of the data it was trained on, or where that is gone some about its mean."""
    uri = (card.get("dataset") or {}).get("uri")
    try:
        table = load_rows(uri, card["features"], "test").slice(0, SAMPLE) if uri else None
    except (WorkloadFailed, OSError, ValueError, KeyError):
        table = None
    if table is not None and len(table):
        return np.column_stack([table[name].to_numpy() for name in card["features"]]).astype("float64")
    statistics = card["statistics"] or {"mean": [0.0] * len(card["features"]), "scale": [1.0] * len(card["features"])}
    drawn = np.random.default_rng(0).normal(statistics["mean"], statistics["scale"], (SAMPLE, len(card["features"])))
    return drawn.round(6)


def schema_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row is: a list of the features, or an object."""
    names = about["features"]
    by_name = {name: {"type": "number"} for name in names}
    named: dict[str, Any] = {"type": "object", "properties": by_name, "required": names}
    if about["raw"]:
        named = {"type": "object", "description": "columns as they were before they were prepared"}
    listed = {"type": "array", "items": {"type": "number"}, "minItems": len(names), "maxItems": len(names)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"rows": {"type": "array", "minItems": 1, "items": {"anyOf": [listed, named]}}},
        "required": ["rows"],
        "additionalProperties": False,
    }
