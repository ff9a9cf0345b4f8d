"""What may stand in a batch workload, where versions may be written to, and what of a spec is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipelines.batch.spec import BatchSpec
from pipelines.data.publish import parameters
from pipelines.roles import check_roles

GOOD: dict[str, Any] = {
    "kind": "batch",
    "name": "scores",
    "inputs": {"model": "model://m", "data": "dataset://d"},
    "outputs": {"data": "dataset://scores"},
}


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"outputs": {"data": "dataset://d@trial"}}, "a dataset of their own"),
        ({"keep": ["id", "prediction"]}, "prediction's column"),
        ({"inputs": {"data": "dataset://d"}}, "inputs needs 'model'"),
        ({"side": "validation"}, "'train' or 'test'"),
        ({"portion_rows": 0}, "greater than"),
    ],
)
def test_a_wrong_batch_is_refused_with_a_word_on_how_to_mend_it(changes: dict[str, Any], word: str) -> None:
    BatchSpec.model_validate(GOOD)
    with pytest.raises(ValidationError, match=word):
        BatchSpec.model_validate({**GOOD, **changes})


@pytest.mark.parametrize("branch", ["trial", "ada-2"])
def test_an_output_may_be_a_branch(branch: str) -> None:
    check_roles("outputs", {"data": f"dataset://d@{branch}"}, {"data": "dataset"})


@pytest.mark.parametrize("version", ["3", "v3", "latest", "2026-11-01", "Trial"])
def test_an_output_names_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="gets its number by itself"):
        check_roles("outputs", {"data": f"dataset://d@{version}"}, {"data": "dataset"})


def test_a_model_has_no_branches() -> None:
    with pytest.raises(ValueError, match="gets its number by itself"):
        check_roles("outputs", {"model": "model://m@trial"}, {"model": "model"})


def test_passwords_are_not_recorded() -> None:
    class Spec:
        def model_dump(self, **how: Any) -> dict[str, Any]:
            url = "postgresql://ada:hunter2@host/db"
            return {"source": {"url": url, "password": "hunter2", "list": [url]}, "api_token": "hunter2", "rows": 3}

    recorded = parameters(Spec())
    assert "hunter2" not in str(recorded)
    assert recorded["source"]["url"] == "postgresql://***@host/db"
    assert recorded["rows"] == 3
