"""Driving: digit scans stand for camera frames of road signs, as picture files, joined with a simulated drive.

    python -m examples.data.driving FOLDER
    aios apply -f FOLDER/driving.yaml

The pictures are real scans (UCI digits, by scikit-learn). They are no road signs, and what the car did is SIMULATED:
the columns ``simulated_speed`` and ``simulated_light`` come from a random number generator with a fixed seed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from sklearn.datasets import load_digits


def fill(folder: Path, n: int = 400) -> None:
    """Write frames as PNG files by their label, and a CSV of the simulated drive."""
    digits, rng = load_digits(), np.random.default_rng(7)
    rows = []
    for i in range(n):
        label = int(digits.target[i])
        path = folder / "frames" / str(label) / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[i] * 255 / 16).astype("uint8")).save(path)
        rows.append(
            {"path": str(path), "simulated_speed": rng.normal(50, 10), "simulated_light": rng.choice(["day", "night"])}
        )
    pd.DataFrame(rows).to_csv(folder / "drive.csv", index=False)


def documents(folder: Path) -> list[dict[str, Any]]:
    """Return the workloads: the drive becomes a version, and the frames one that is joined with it."""
    drive = {
        "kind": "ingest",
        "name": "drive-ingest",
        "source": {"path": str(folder / "drive.csv")},
        "outputs": {"data": "dataset://drive-simulated"},
    }
    frames = {
        "kind": "ingest",
        "name": "frames-ingest",
        "source": {"path": str(folder / "frames"), "media": {"size": [8, 8], "mode": "L", "label": "folder"}},
        "inputs": {"drive": "dataset://drive-simulated"},
        "prepare": [
            {"join": {"role": "drive", "on": ["path"]}},
            {"image": {"column": "image", "scale": True, "flatten": True}},
            {"convert": {"simulated_speed": {"from": "km/h", "to": "m/s"}}},
            {"one_hot": ["simulated_light"]},
            {"standardise": ["simulated_speed"]},
        ],
        "check": [{"column": "label", "nulls": 0}, {"column": "simulated_speed", "nulls": 0}],
        "target": "label",
        "key": ["path"],
        "outputs": {"data": "dataset://frames"},
    }
    return [drive, frames]


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    fill(folder)
    path = folder / "driving.yaml"
    path.write_text(yaml.safe_dump_all(documents(folder), sort_keys=False), encoding="utf-8")
    print(f"aios apply -f {path}")


if __name__ == "__main__":
    main()
