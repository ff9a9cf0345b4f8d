"""Health care: scikit-learn's breast-cancer records in a real database, read in parallel, checked, and made a version.

    python -m examples.data.clinic FOLDER [DATABASE_URL]
    aios apply -f FOLDER/clinic.yaml

Without a URL the records go into an SQLite file in FOLDER. The records are real (UCI, by scikit-learn); the numbers of
the patients are made up, so that rows can be told apart.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from pipelines.ingest.sources.generators import sklearn_frame

TABLE = "measurements"


def fill(url: str) -> None:
    """Write the records into the database."""
    frame = sklearn_frame("breast_cancer").rename(columns={"target": "benign"})
    frame.insert(0, "patient", range(1, len(frame) + 1))
    columns = [sa.Column(name, sa.Integer if name in ("patient", "benign") else sa.Float) for name in frame.columns]
    table = sa.Table(TABLE, sa.MetaData(), *columns)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        table.drop(connection, checkfirst=True)
        table.create(connection)
        connection.execute(table.insert(), frame.to_dict("records"))
    engine.dispose()


def documents(url: str, password: str | None = None) -> list[dict[str, Any]]:
    """Return the workloads: an ingest that checks what a clinic would want to know, and a training on its version."""
    sql = {"url": url, "table": TABLE, "partition": "patient", "parts": 4}
    ingest = {
        "kind": "ingest",
        "name": "clinic-ingest",
        "source": {"sql": {**sql, **({"password": password} if password else {})}},
        "key": ["patient"],
        "check": [
            {"column": "patient", "unique": True, "nulls": 0},
            {"column": "mean_radius", "min": 0, "max": 60, "nulls": 0, "on_fail": "quarantine"},
            {"column": "benign", "in": [0, 1]},
            {"rows": {"min": 500}},
        ],
        "target": "benign",
        "split": {"test": 0.25, "seed": 7, "by": ["patient"]},
        "outputs": {"data": "dataset://clinic"},
    }
    train = {
        "kind": "train",
        "name": "clinic-train",
        "inputs": {"data": "dataset://clinic"},
        "outputs": {"model": "model://clinic"},
        "model": {"type": "mlp", "hidden": [16]},
        "epochs": 10,
    }
    return [ingest, train]


def main() -> None:
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder / 'clinic.db'}"
    fill(url)
    path = folder / "clinic.yaml"
    path.write_text(yaml.safe_dump_all(documents(url), sort_keys=False), encoding="utf-8")
    print(f"aios apply -f {path}")


if __name__ == "__main__":
    main()
