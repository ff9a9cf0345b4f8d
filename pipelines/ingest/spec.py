"""What users write for ``kind: ingest``: a source, how to prepare and check its rows, the split and the target."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from aios.spec import Strict, WorkloadSpec
from pipelines.ingest.prepare.spec import Step
from pipelines.ingest.quality.spec import Rule
from pipelines.ingest.sources.spec import SourceSpec
from pipelines.roles import check_roles
from pipelines.workdir import check_working_dir

Names = tuple[Annotated[str, Field(min_length=1)], ...]


class SplitSpec(Strict):
    """Rows set apart for testing.

    By a hash of the row, or of the columns ``by`` (all visits of one patient fall on one side); or all rows whose time
    in the column ``time`` is not before ``since``; or those whose ``column`` has one of ``values``.
    """

    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    seed: Annotated[int, Field(ge=0, strict=True)] = 0
    by: Names = ()
    time: str | None = Field(default=None, min_length=1)
    since: str | None = Field(default=None, min_length=1)
    column: str | None = Field(default=None, min_length=1)
    values: tuple[bool | int | str, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> SplitSpec:
        if (self.time is None) != (self.since is None):
            raise ValueError("split: time and since belong together")
        if (self.column is None) != (not self.values):
            raise ValueError("split: column and values belong together")
        if sum((bool(self.by), self.time is not None, self.column is not None)) > 1:
            raise ValueError("split: give one of by, time and column")
        return self


class TableSpec(Strict):
    """Where the rows are kept: the format of a new table, and a folder or URL for it other than the shared storage."""

    format: Literal["lance", "delta"] | None = None
    url: str | None = Field(default=None, min_length=1)


class IngestSpec(WorkloadSpec):
    """Raw rows become a dataset version; with a target it has a train and a test part.

    ``normalise`` measures mean and spread of each feature on the train part; they are kept with the dataset version and
    applied inside the model, so that training and serving cannot differ. ``task`` is guessed from the target's values
    where it is not given. ``features`` names the columns that are features; without it all but target and key are.
    """

    kind: Literal["ingest"]
    source: SourceSpec
    prepare: tuple[Step, ...] = ()
    check: tuple[Rule, ...] = ()
    target: str | None = Field(default=None, min_length=1)
    task: Literal["classification", "regression"] | None = None
    features: Names = ()
    drop: tuple[str, ...] = ()
    split: SplitSpec | None = SplitSpec()
    normalise: bool = True
    drop_duplicates: bool = False
    table: TableSpec = TableSpec()
    mode: Literal["overwrite", "append", "insert", "upsert", "delete"] | None = None
    key: tuple[str, ...] = ()
    working_dir: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _roles(self) -> IngestSpec:
        check_roles("inputs", self.inputs, dict.fromkeys(self.roles, "dataset"))
        check_roles("outputs", self.outputs, {"data": "dataset"})
        check_working_dir(self.working_dir)
        if self.target is not None and self.target in self.drop:
            raise ValueError(f"drop has the target {self.target!r}")
        if self.target is not None and self.target in self.features:
            raise ValueError(f"features has the target {self.target!r}")
        if self.features and self.target is None and self.source.sklearn is None:
            raise ValueError("features belongs to a dataset with a target: name the column that is to be predicted")
        if self.source.mqtt is not None and not self.key:
            raise ValueError(
                "key is missing: an MQTT broker may deliver a message twice: name the columns that tell rows apart"
            )
        if self.source.stream is not None and self.mode in ("overwrite", "delete"):
            raise ValueError(f"mode {self.mode}: a stream is added to what is there: leave mode out")
        whole = self.drop_duplicates or any(step.key in ("join", "unique") for step in self.prepare)
        if self.source.stream is not None and whole:
            raise ValueError("join, unique and drop_duplicates need all rows, of a stream there are some: use key")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """The inputs that steps and rules name."""
        joined = [step.value.role for step in self.prepare if step.key == "join"]
        compared = [rule.like.role for rule in self.check if rule.like is not None]
        return tuple(dict.fromkeys([*joined, *compared]))

    @property
    def wanted(self) -> str | None:
        """The column to predict, if there is one."""
        return self.target or ("target" if self.source.sklearn is not None else None)

    @property
    def splits(self) -> SplitSpec | None:
        """How rows are split: as written, and by default only where there is something to predict."""
        return self.split if self.wanted is not None or "split" in self.model_fields_set else None
