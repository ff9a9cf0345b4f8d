"""Answers rows with the exported model beside this file; needs ONNX Runtime and numpy, and nothing else.

    python run.py rows.json            # {"rows": [[...], {...}]}: features in order, or by name
    python run.py --self-test          # the sample's answers, value by value
    python run.py --verify             # every file against the manifest

From Python: ``Model(folder).predict(rows)``.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent
NOT_SIGNED = ("manifest.json", "model.sig")


class Changed(Exception):
    """A file of the folder is not what was signed."""


class Model:
    """The model of an exported folder; raises Changed where a file is not as it was exported."""

    def __init__(self, folder: Path = HERE, n_threads: int = 1) -> None:
        check(folder)
        self.about: dict[str, Any] = json.loads((folder / "edge.json").read_text(encoding="utf-8"))
        self.form = self.about["form"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
        options.log_severity_level = 3
        path = str(folder / "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(self, rows: Sequence[Any]) -> dict[str, Any]:
        """Return ``predictions`` and, of classes, ``probabilities``, one for each row."""
        values = np.asarray([self.features_of(row, i) for i, row in enumerate(rows)], dtype=np.float64)
        given = values.astype(self.form["dtype"])
        if self.form["shape"]:
            given = given.reshape(len(values), *self.form["shape"])
        (out,) = self.session.run([self.form["output"]], {self.form["input"]: np.ascontiguousarray(given)})
        out = np.asarray(out)
        out = out[:, None] if out.ndim == 1 else out
        if self.about["classes"] is None:
            return {"predictions": [float(value) for value in out[:, 0]]}
        logits = out.astype(np.float64)
        if self.form["gives"] == "probabilities":
            logits = np.log(np.clip(logits, 1e-12, None))
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = raised / raised.sum(axis=1, keepdims=True)
        chosen = [self.about["classes"][i] for i in probabilities.argmax(axis=1)]
        return {"predictions": chosen, "probabilities": probabilities.tolist()}

    def features_of(self, row: Any, i: int = 0) -> list[float]:
        """Return a row's features: a list as it is, an object by its names, prepared as the training rows were."""
        names = self.about["features"]
        if isinstance(row, Mapping):
            if self.about["raw"]:  # a list is taken as the features, prepared already
                row = prepared(row, self.about["preparation"], i)
            missing = [name for name in names if name not in row]
            if missing:
                raise ValueError(f"row {i} lacks {', '.join(missing[:5])}: it takes {', '.join(names[:20])}")
            row = [row[name] for name in names]
        if len(row) != len(names):
            raise ValueError(f"row {i} has {len(row)} values: {len(names)} are needed")
        values = [float(value) for value in row]
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f"row {i} has values that are not finite")
        return values


def prepared(row: Mapping[str, Any], steps: Sequence[Mapping[str, Any]] | None, i: int) -> dict[str, Any]:
    """Return a raw row as features, by the statistics that were fitted on the training data."""
    if steps is None:
        raise ValueError(f"row {i}: raw rows need steps that this export has no words for: give the prepared features")
    values = dict(row)
    for step in steps:
        name = step["column"]
        if name not in values:
            continue
        value = values.pop(name)
        match step["do"]:
            case "rename":
                values[step["to"]] = value
            case "fill":
                values[name] = step["value"] if missing(value) else value
            case "scale":
                values[name] = value if missing(value) else float(value) * step["times"] + step["plus"]
            case "one_hot":
                text = category(value)
                values.update({f"{name}={one}": float(one == text) for one in step["categories"]})
            case "label":
                text = category(value)
                values[name] = step["categories"].index(text) if text in step["categories"] else -1
    return values


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def category(value: Any) -> str | None:
    """Return a category as text; a whole number has no point."""
    if missing(value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check(folder: Path) -> int:
    """Compare every file with the manifest; return their number. Who signed it is checked where it is fetched."""
    statement = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    stated = {one["name"]: one["digest"] for one in statement["predicate"]["resources"]}
    there = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name in sorted(set(stated) | there - set(NOT_SIGNED)):
        path = folder / name
        if name not in stated:
            raise Changed(f"{name} was added after it was signed")
        if not path.is_file():
            raise Changed(f"{name} is missing")
        if hashlib.sha256(path.read_bytes()).hexdigest() != stated[name]:
            raise Changed(f"{name} was changed after it was signed")
    return len(stated)


def self_test(folder: Path = HERE) -> int:
    """Compare the sample's answers value by value; return the number of rows. Raises Changed with the first that
    differs."""
    sample = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    expected, tolerance = sample["expected"], sample["tolerance"]
    answer = Model(folder).predict(sample["rows"])
    for i, wanted in enumerate(expected["predictions"]):
        found = answer["predictions"][i]
        same = abs(found - wanted) <= tolerance * max(1.0, abs(wanted)) if "probabilities" not in expected else True
        if "probabilities" in expected:
            pairs = zip(answer["probabilities"][i], expected["probabilities"][i])  # noqa: B905  # equally many classes
            same = found == wanted and all(abs(a - b) <= tolerance for a, b in pairs)
        if not same:
            raise Changed(f"sample row {i} gives {found!r}, and {wanted!r} was expected")
    return len(expected["predictions"])


def main(arguments: Sequence[str]) -> int:
    """Return the exit code: 0, 1 for a folder or row that is not right, 2 for a wrong command line."""
    try:
        if list(arguments) == ["--self-test"]:
            print(f"{self_test()} rows are answered as expected")
        elif list(arguments) == ["--verify"]:
            print(f"{check(HERE)} files are as they were signed")
        elif len(arguments) == 1 and not arguments[0].startswith("-"):
            text = sys.stdin.read() if arguments[0] == "" else Path(arguments[0]).read_text(encoding="utf-8")
            print(json.dumps(Model().predict(json.loads(text)["rows"])))
        else:
            print("usage: run.py ROWS.json | --self-test | --verify", file=sys.stderr)
            return 2
    except (Changed, ValueError, KeyError, TypeError, OSError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
