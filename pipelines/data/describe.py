"""What a reader must know of a dataset version beside its rows: sizes, statistics, classes; measured from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from aios.engines import RunContext, WorkloadFailed
from pipelines.data.parquet_folder import SIDE, SIDES
from pipelines.data.table import Table, Where
from pipelines.run import Whereabouts

MOST_CLASSES = 1000
FEW = 20
FEW_VALUES = 4_000_000
"""So many numbers are measured in this process sooner than a task on a node starts."""


def rows_by_side(table: Table, version: int) -> dict[str, int]:
    """Return the rows of each side of the split, or of all where there is none; refuses an empty side."""
    if SIDE not in table.schema(version).names:
        return {"all": table.count(version)}
    return {side: table.count(version, ((SIDE, "=", side),)) for side in SIDES}


def statistics(
    table: Table, version: int, features: Sequence[str], ctx: RunContext, options: Mapping[str, float]
) -> dict[str, list[float]]:
    """Return mean and scale of each feature over the training rows, measured on the planned nodes."""
    from pipelines.ingest.rows import Measure, combine

    where: Where = ((SIDE, "=", "train"),) if SIDE in table.schema(version).names else ()
    if table.count(version, where) * len(features) <= FEW_VALUES:
        here = Measure(tuple(features))
        batches = table.scan(version, features, where)
        return combine([here(batch.to_pandas()).iloc[0].to_dict() for batch in batches if batch.num_rows])
    rows = table.read(version, features, where, **options)
    measure = Measure(tuple(features), Whereabouts.of(ctx))
    return combine(rows.map_batches(measure, batch_format="pandas", batch_size=None, **options).take_all())


def task_and_classes(table: Table, version: int, target: str, wanted: str | None) -> dict[str, Any]:
    """Say whether the target is a class or a quantity, and name the classes of both parts in order."""
    values: set[Any] = set()
    for batch in table.scan(version, [target]):
        if len(values) <= 10 * MOST_CLASSES:  # of a quantity, enough is seen
            values |= set(pc.unique(batch.column(0)).to_pylist())
    task = wanted or task_of(values)
    if task == "regression":
        if any(isinstance(value, str) for value in values):
            raise WorkloadFailed(f"target {target!r} holds text: regression needs numbers; write task: classification")
        return {"task": task, "classes": None}
    if len(values) > MOST_CLASSES:
        raise WorkloadFailed(
            f"target {target!r} has more than {MOST_CLASSES} different values: that is the most for classes; "
            "if it is a quantity, write task: regression"
        )
    return {"task": task, "classes": sorted(values, key=lambda value: (isinstance(value, str), value))}


def task_of(values: Collection[Any]) -> str:
    """Guess the task: fractions, and floats of many values, are quantities; all else are classes."""
    floats = [value for value in values if isinstance(value, float)]
    fractions = any(not value.is_integer() for value in floats)
    return "regression" if fractions or len(floats) > FEW else "classification"
