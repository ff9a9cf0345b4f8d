"""What users write under ``prepare``: a list of steps, each with exactly one key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from aios.spec import Strict
from pipelines.ingest.prepare.units import factor

Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Value = bool | int | float | str
TEXT = ("lower", "upper", "strip", "nfc", "nfkc", "squeeze", "tokenise", "length", "words")


class Units(Strict):
    """From one unit to another of the same quantity."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    source: Name = Field(alias="from")
    to: Name

    @model_validator(mode="after")
    def _known(self) -> Units:
        factor(self.source, self.to)
        return self


class TimeZone(Strict):
    """Local times without a zone become instants; what clocks skip or show twice is decided, not guessed."""

    columns: Names
    zone: Name
    ambiguous: Literal["raise", "earliest", "latest"] = "raise"
    nonexistent: Literal["raise", "earliest", "latest"] = "raise"


class Picture(Strict):
    """One size for a column of pictures; ``flatten`` makes a feature of each pixel."""

    column: Name
    size: tuple[int, int] | None = None
    grey: bool = False
    scale: bool = True
    flatten: bool = False


class Join(Strict):
    """Columns of another dataset version, an input of this workload by its role."""

    role: Name
    on: Names
    how: Literal["left", "inner"] = "left"
    columns: tuple[Name, ...] = ()


class Unique(Strict):
    """One row for each key: the one with the largest ``newest``, else the one whose values come first."""

    by: tuple[Name, ...] = ()
    newest: Name | None = None


class Call(Strict):
    """A function of the user: ``module:function(frame, **args)`` returns a pandas frame."""

    call: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    args: dict[str, Any] = Field(default_factory=dict)


class Step(Strict):
    """One step; exactly one key."""

    select: Names | None = None
    drop: Names | None = None
    rename: dict[Name, Name] | None = None
    cast: dict[Name, Name] | None = None
    timezone: TimeZone | None = None
    convert: dict[Name, Units] | None = None
    fill: dict[Name, Value] | None = None
    drop_nulls: Names | None = None
    filter: Name | None = None
    derive: dict[Name, Name] | None = None
    text: dict[Name, tuple[Literal[TEXT], ...]] | None = None  # type: ignore[valid-type]  # one list for code and docs
    image: Picture | None = None
    unique: Unique | None = None
    join: Join | None = None
    python: Call | None = None
    impute: dict[Name, Literal["mean", "median", "most_frequent"]] | None = None
    standardise: Names | None = None
    minmax: Names | None = None
    one_hot: Names | None = None
    label: Names | None = None
    hash: dict[Name, Annotated[int, Field(ge=1, le=4096)]] | None = None

    @model_validator(mode="after")
    def _one(self) -> Step:
        if len(self.model_fields_set) != 1 or self.value is None:
            raise ValueError(f"a step has exactly one key: one of {', '.join(type(self).model_fields)}")
        return self

    @field_validator("filter")
    @classmethod
    def _filter(cls, text: str) -> str:
        _check(text)
        return text

    @field_validator("derive")
    @classmethod
    def _derive(cls, given: dict[str, str]) -> dict[str, str]:
        for text in given.values():
            _check(text)
        return given

    @property
    def key(self) -> str:
        (key,) = self.model_fields_set
        return key

    @property
    def value(self) -> Any:
        return getattr(self, self.key)


def _check(text: str) -> None:
    from pipelines.ingest.prepare.expression import parse  # loads Arrow, which a spec without expressions needs not

    parse(text)
