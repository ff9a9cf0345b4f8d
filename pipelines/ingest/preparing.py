"""Prepare: the steps of a spec over all rows, measured on the train part where they have a memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.joining import Other, join
from pipelines.ingest.prepare import fitted
from pipelines.ingest.prepare.recipe import Recipe, once
from pipelines.ingest.prepare.spec import Step
from pipelines.ingest.prepare.steps import SIDE
from pipelines.ingest.rowset import Rowset, distinct
from pipelines.ingest.sources.errors import BadSource

MEASURING = (*fitted.KEYS, "hash")


@dataclass(frozen=True, slots=True)
class Preparer:
    """The steps of a spec, what they need from elsewhere, and what earlier rows of the same dataset fixed.

    Attributes
    ----------
    check, split : callable
        Run on all rows before the first step that measures or encodes, else at the end.
    known : Recipe or None
        The recipe of the version that rows are added to: its statistics hold for the new rows too.
    """

    steps: tuple[Step, ...]
    check: Callable[[Rowset], Rowset]
    split: Callable[[Rowset], Rowset]
    others: Mapping[str, Other] = field(default_factory=dict)
    known: Recipe | None = None
    folder: str = ""

    def prepare(self, rows: Rowset) -> tuple[Rowset, Recipe]:
        """Return prepared rows and the recipe that made them; raises BadSource."""
        if self.known is not None and tuple(self.known.steps) != self.steps:
            raise BadSource(
                "prepare: the steps are not those of the version that these rows would be added to: keep the steps, or "
                "write mode: overwrite to begin anew"
            )
        schema = rows.schema()
        inputs = (
            {} if schema is None else {name: str(type_) for name, type_ in zip(schema.names, schema.types, strict=True)}
        )
        turn = next((i for i, step in enumerate(self.steps) if step.key in MEASURING), len(self.steps))
        states: list[Any] = []
        for i, step in enumerate(self.steps):
            if i == turn:
                rows = self.split(self.check(rows))
            if step.key in fitted.KEYS:
                rows, state = self._fitted(rows, step, i)
            else:
                state = None
                rows = self._done(rows, step)
            states.append(state)
            if step.key == "join" and (joined := rows.schema()) is not None:
                inputs = {
                    name: str(type_) for name, type_ in zip(joined.names, joined.types, strict=True) if name != SIDE
                }
        if turn == len(self.steps):
            rows = self.split(self.check(rows))
        return rows, Recipe(self.steps, tuple(states), inputs, self.folder)

    def _done(self, rows: Rowset, step: Step) -> Rowset:
        if step.key == "unique":
            return rows.by_key(step.value.by, _Distinct(step.value.by, step.value.newest))
        if step.key == "join":
            return join(rows, step.value, self.others[step.value.role])
        return rows.map(_Once(step, None, self.folder))

    def _fitted(self, rows: Rowset, step: Step, i: int) -> tuple[Rowset, Any]:
        """Measure a step on the train part, or take what was measured before, and apply it."""
        if self.known is not None:
            state = self.known.states[i]
        else:
            rows = rows.kept()
            state = fitted.combine(step.key, step.value, rows.gather(_Partial(step.key, step.value)))
        return rows.map(_Once(step, state, self.folder)), state


@dataclass(frozen=True, slots=True)
class _Once:
    step: Step
    state: Any
    folder: str

    def __call__(self, table: pa.Table) -> pa.Table:
        return once(self.step, self.state, table, self.folder)


@dataclass(frozen=True, slots=True)
class _Distinct:
    by: Sequence[str]
    newest: str | None

    def __call__(self, table: pa.Table) -> pa.Table:
        for name in (*self.by, *([self.newest] if self.newest else [])):
            if name not in table.column_names:
                raise BadSource(f"prepare: unique: no column {name!r}: the columns are {', '.join(table.column_names)}")
        return distinct(table, self.by, self.newest)


@dataclass(frozen=True, slots=True)
class _Partial:
    key: str
    value: Any

    def __call__(self, table: pa.Table) -> dict[str, Any]:
        train = table.filter(pc.equal(table[SIDE], "train")) if SIDE in table.column_names else table
        return fitted.partial(self.key, self.value, train)
