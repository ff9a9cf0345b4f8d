"""A recipe: the steps of ``prepare`` with what was fitted, as JSON that stands with the version.

The same ``apply`` runs where a version is made, where a model answers, and in batch inference, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.ingest.prepare import fitted, steps
from pipelines.ingest.prepare.spec import Step
from pipelines.ingest.sources.errors import BadSource, listed
from pipelines.ingest.sources.files import type_of
from pipelines.ingest.sources.tabular import to_table

OF_ROWS = ("filter", "drop_nulls", "unique")
"""Steps that say which rows there are, not what is in them: nothing to do for a row that asks for a prediction."""
OVER_ALL = ("unique", "join")
"""Steps that need rows from elsewhere, so that no batch can do them alone."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps in order; ``states[i]`` is what step i keeps, None for one that keeps nothing.

    ``inputs`` are the columns of a raw row and their types, where they are known.
    """

    steps: tuple[Step, ...] = ()
    states: tuple[Any, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""

    def __post_init__(self) -> None:
        if len(self.states) != len(self.steps):
            raise ValueError(f"{len(self.steps)} steps and {len(self.states)} states")

    def apply(self, table: pa.Table) -> pa.Table:
        """Return raw rows as the version has them; steps over all rows must not be in it."""
        for step, state in zip(self.steps, self.states, strict=True):
            table = once(step, state, table, self.folder)
        return table

    def serve(self, rows: Sequence[Mapping[str, Any]], features: Sequence[str]) -> pa.Table:
        """Return rows that ask for a prediction as features, in order; raises BadSource naming row and column.

        A row is given as it is before the first step, or behind the last join. Columns that no feature depends on,
        such as the target, need not be there.
        """
        schema = self.raw_schema(features)
        for i, row in enumerate(rows):
            if missing := [name for name in schema.names if name not in row]:
                raise BadSource(f"row {i + 1}: lacks {missing[0]!r}: a row has {listed(schema.names, 20)}")
            if extra := [name for name in row if name not in self.inputs]:
                raise BadSource(f"row {i + 1}: {extra[0]!r} is no column: a row has {listed(schema.names, 20)}")
        table = to_table([{name: row[name] for name in schema.names} for row in rows], schema, "rows")
        return self.features_of(table, features)

    def raw_schema(self, features: Sequence[str]) -> pa.Schema:
        """Return the raw columns that features depend on, and their types."""
        start = self._start()
        wanted = needed(self.steps[start:], features, self.states[start:])
        return pa.schema([(name, type_of(type_)) for name, type_ in self.inputs.items() if name in wanted])

    def features_of(self, table: pa.Table, features: Sequence[str]) -> pa.Table:
        """Return the features of raw rows, one row for each."""
        start = self._start()
        if any(step.key == "python" for step in self.steps[start:]):
            raise BadSource("the dataset was prepared by a function of its author, which is not at hand here")
        table = table.select(self.raw_schema(features).names)
        for step, state in zip(self.steps[start:], self.states[start:], strict=True):
            if step.key not in OF_ROWS:
                table = once(_within(step, table.column_names), state, table, "")
        return table.select(list(features))

    def _start(self) -> int:
        """Return where the steps begin that a row by itself can go through: behind the last join."""
        return max((i + 1 for i, step in enumerate(self.steps) if step.key == "join"), default=0)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON."""
        made = [step.model_dump(mode="json", exclude_unset=True, by_alias=True) for step in self.steps]
        return {"format": 1, "steps": made, "states": list(self.states), "inputs": dict(self.inputs)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Recipe:
        made = tuple(Step.model_validate(step) for step in value["steps"])
        return cls(made, tuple(value["states"]), dict(value["inputs"]))


def once(step: Step, state: Any, table: pa.Table, folder: str) -> pa.Table:
    """Return rows with one step applied."""
    value = step.value
    match step.key:
        case "select" | "drop" | "rename" | "cast" | "timezone" | "convert" | "fill" | "drop_nulls" | "derive" | "text":
            return getattr(steps, step.key)(table, value)
        case "image":
            return steps.image(table, value)
        case "filter":
            return steps.keep(table, value)
        case "hash":
            return fitted.hashed(table, value)
        case "python":
            return steps.users(table, value.call, value.args, folder)
    if step.key in fitted.KEYS:
        if state is None:
            raise AssertionError(f"{step.key} was not fitted")
        return fitted.apply(step.key, value, state, table)
    raise AssertionError(f"{step.key} is done over all rows, not in a batch")


def needed(chain: Sequence[Step], features: Sequence[str], states: Sequence[Any]) -> set[str]:
    """Return the raw columns that the features depend on, going back through the steps."""
    from pipelines.ingest.prepare.expression import parse

    wanted = set(features)
    for step, state in reversed(list(zip(chain, states, strict=True))):
        value = step.value
        match step.key:
            case "rename":
                back = {new: old for old, new in value.items()}
                wanted = {back.get(name, name) for name in wanted}
            case "derive":
                for name, text in reversed(list(value.items())):
                    if name in wanted:
                        wanted = (wanted - {name}) | set(parse(text).columns)
            case "one_hot":
                for name in value:
                    made = {f"{name}={category}" for category in (state or {}).get(name, ())}
                    if wanted & made:
                        wanted = (wanted - made) | {name}
            case "hash":
                for name, width in value.items():
                    made = {f"{name}#{j}" for j in range(width)}
                    if wanted & made:
                        wanted = (wanted - made) | {name}
            case "image" if value.flatten:
                made = {name for name in wanted if name.rpartition("_")[0] == value.column}
                if made:
                    wanted = (wanted - made) | {value.column}
    return wanted


def _within(step: Step, names: Sequence[str]) -> Step:
    """Return a step on those of its columns that are there: others lead to no feature."""
    value = step.value
    if step.key in ("select", "drop", "standardise", "minmax", "one_hot", "label"):
        kept: Any = tuple(name for name in value if name in names)
    elif step.key in ("rename", "cast", "convert", "fill", "text", "impute", "hash"):
        kept = {name: one for name, one in value.items() if name in names}
    elif step.key == "derive":
        from pipelines.ingest.prepare.expression import parse

        kept, have = {}, set(names)
        for name, text in value.items():
            if set(parse(text).columns) <= have:
                kept[name] = text
                have.add(name)
    elif step.key == "timezone":
        kept = value.model_copy(update={"columns": tuple(name for name in value.columns if name in names)})
    else:
        return step
    return step.model_copy(update={step.key: kept})
