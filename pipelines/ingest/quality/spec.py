"""What users write under ``check``: rules on columns, keys and the number of rows, and what follows where one fails."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from aios.spec import Seconds, Strict

Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]
OF_VALUES = ("nulls", "min", "max", "within", "regex", "type")
OF_ALL = ("fresh", "like", "rows")


class Amount(Strict):
    """How many rows there must be."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None


class Like(Strict):
    """An earlier version whose distribution a column must be like: an input by its role.

    ``most`` is the largest population stability index that passes; 0.1 is a small shift, 0.25 a large one.
    """

    role: Name
    most: Annotated[float, Field(gt=0)] = 0.2


class Rule(Strict):
    """Demands on one column, on a key, or on the number of rows; ``on_fail`` says what a failure does."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    column: Name | None = None
    type: Name | None = None
    nulls: Share | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None
    within: tuple[bool | int | float | str, ...] | None = Field(default=None, alias="in")
    regex: Name | None = None
    fresh: Seconds | None = None
    like: Like | None = None
    unique: tuple[Name, ...] | bool | None = None
    rows: Amount | None = None
    on_fail: Literal["stop", "quarantine", "warn"] = "stop"

    @model_validator(mode="after")
    def _well(self) -> Rule:
        of_column = [*OF_VALUES, "fresh", "like"]
        given = [name for name in (*OF_VALUES, *OF_ALL) if getattr(self, name) is not None]
        if self.unique is True or (isinstance(self.unique, tuple) and self.unique):
            given.append("unique")
        if not given:
            raise ValueError(f"a rule demands something: one of {', '.join((*of_column, 'unique', 'rows'))}")
        if self.column is None and (bad := [name for name in given if name in of_column or self.unique is True]):
            raise ValueError(f"a rule with {bad[0]} needs column")
        if self.column is not None and "rows" in given:
            raise ValueError("rows belongs to a rule without column")
        if self.on_fail == "quarantine" and (bad := [n for n in given if n in (*OF_ALL, "type") or self._shared(n)]):
            raise ValueError(f"{bad[0]}: it is no single row that fails, so none can be set aside: use stop or warn")
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"regex {self.regex!r}: {error}") from None
        if isinstance(self.min, (int, float)) and isinstance(self.max, (int, float)) and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    def _shared(self, name: str) -> bool:
        return name == "nulls" and bool(self.nulls)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that must be unique together; empty where nothing must."""
        if self.unique is True and self.column is not None:
            return (self.column,)
        return self.unique if isinstance(self.unique, tuple) else ()
