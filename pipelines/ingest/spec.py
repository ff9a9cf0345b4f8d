"""What users write for ``kind: ingest``: a source, the split, the target and how to clean."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from aios.spec import Strict, WorkloadSpec
from pipelines.roles import check_roles

FORMATS = {".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


class SourceSpec(Strict):
    """Where rows come from: a set that ships with scikit-learn, or a file or folder that the nodes can read."""

    sklearn: Literal["digits", "breast_cancer", "wine", "iris", "diabetes"] | None = None
    path: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one(self) -> SourceSpec:
        if (self.sklearn is None) == (self.path is None):
            raise ValueError("give exactly one of sklearn and path")
        suffix = PurePath(self.path or "").suffix.lower()
        if suffix and suffix not in FORMATS:
            raise ValueError(f"path ends in {suffix!r}: use one of {', '.join(FORMATS)}, or a folder of such files")
        return self


class SplitSpec(Strict):
    """Rows set apart for testing, chosen by a hash of the row: equal rows always fall on the same side."""

    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    seed: Annotated[int, Field(ge=0, strict=True)] = 0


class TableSpec(Strict):
    """Where the rows are kept: the format of a new table, and a folder or URL for it other than the shared storage."""

    format: Literal["lance", "delta"] | None = None
    url: str | None = Field(default=None, min_length=1)


class IngestSpec(WorkloadSpec):
    """Raw rows become a dataset version with a train and a test part.

    ``normalise`` measures mean and spread of each feature on the train part; they are kept with the dataset version and
    applied inside the model, so that training and serving cannot differ. ``task`` is guessed from the target's values
    where it is not given.
    """

    kind: Literal["ingest"]
    source: SourceSpec
    target: str | None = Field(default=None, min_length=1)
    task: Literal["classification", "regression"] | None = None
    drop: tuple[str, ...] = ()
    split: SplitSpec = SplitSpec()
    normalise: bool = True
    drop_duplicates: bool = False
    table: TableSpec = TableSpec()
    mode: Literal["overwrite", "append", "insert", "upsert", "delete"] | None = None
    key: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _roles(self) -> IngestSpec:
        check_roles("inputs", self.inputs, {})
        check_roles("outputs", self.outputs, {"data": "dataset"})
        if self.target is not None and self.target in self.drop:
            raise ValueError(f"drop has the target {self.target!r}")
        if self.source.path is not None and self.target is None:
            raise ValueError("target is missing: name the column of the file that is to be predicted")
        return self
