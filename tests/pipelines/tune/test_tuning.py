"""Search spaces and what is known of trials, without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aios.cli.options import Options
from aios.cli.trials import trials_text
from pipelines.tune.searching import OnBundles, Optuna, Points, Random, points_of
from pipelines.tune.spec import TuneSpec
from pipelines.tune.trials import Trial, Trials

BASE: dict[str, Any] = {
    "kind": "tune", "name": "t", "inputs": {"data": "dataset://d"}, "outputs": {"model": "model://m"},
    "train": {"epochs": 3, "model": {"type": "mlp"}, "optimizer": {"type": "adam"}},
    "space": {
        "lr": {"loguniform": [1e-4, 1e-1]}, "model.hidden": {"choice": [[8], [16, 16]]},
        "batch_size": {"randint": [8, 64]},
    },
}  # fmt: skip


def spec_of(**fields: Any) -> TuneSpec:
    return TuneSpec.model_validate({**BASE, **fields})


def test_a_point_is_put_into_the_training_by_its_paths() -> None:
    spec = spec_of()
    trial = spec.trial({"lr": 0.01, "model.hidden": (16, 16), "batch_size": 12, "optimizer.weight_decay": 0.1})
    assert (trial.lr, trial.batch_size, trial.validation, trial.epochs) == (0.01, 12, 0.2, 3)
    assert trial.model is not None
    assert trial.model.hidden == (16, 16)
    assert trial.optimizer.weight_decay == 0.1
    assert "hidden" not in spec.train["model"]
    assert spec.mode == "min"


@pytest.mark.parametrize("search", ["random", "optuna"])
def test_points_lie_in_the_space_and_follow_from_the_seed(search: str) -> None:
    if search == "optuna":
        pytest.importorskip("optuna", reason="the extra tune is not installed")
    spec = spec_of(search=search, num_samples=12)

    def points() -> list[dict[str, Any]]:
        source, found = points_of(spec), []
        for i in range(source.n):
            found.append(source.point(i, f"t{i}"))
            source.tell(f"t{i}", found[-1], abs(found[-1]["lr"] - 0.01))
        return found

    drawn = points()
    assert drawn == points()
    assert all(1e-4 <= one["lr"] <= 1e-1 and 8 <= one["batch_size"] < 64 for one in drawn)
    assert {str(list(one["model.hidden"])) for one in drawn} == {"[8]", "[16, 16]"}
    assert len({one["lr"] for one in drawn}) == 12


def test_a_grid_is_gone_through_as_often_as_there_are_samples() -> None:
    spec = spec_of(space={"lr": {"grid": [0.1, 0.01]}, "batch_size": {"grid": [8, 16]}}, num_samples=2)
    source = Random(spec)
    assert source.n == 8
    tried = [(one["lr"], one["batch_size"]) for one in (source.point(i, "") for i in range(8))]
    assert tried == [(0.1, 8), (0.1, 16), (0.01, 8), (0.01, 16)] * 2


def test_optuna_hears_of_the_trials_of_an_earlier_attempt() -> None:
    pytest.importorskip("optuna", reason="the extra tune is not installed")
    source = Optuna(spec_of(search="optuna"))
    source.tell("t0001", {"lr": 0.01, "model.hidden": [16, 16], "batch_size": 9}, 0.5)
    (known,) = source.study.trials
    assert (known.value, known.params["model.hidden"]) == (0.5, 1)


def test_each_bundle_has_one_trial_and_those_that_were_under_way_come_first(tmp_path: Path) -> None:
    before = Trials(tmp_path, "val_loss", "min")
    before.found = {
        "t0001": Trial("t0001", {"lr": 0.1}, "stopped", 1, 0.9),
        "t0002": Trial("t0002", {"lr": 0.2}, "running", 2, 0.4),
    }
    before.write()
    spec = spec_of(num_samples=4)
    points: Points = Random(spec)
    trials = Trials.read(tmp_path, "val_loss", "min")
    search = OnBundles(spec, points, trials, 2)
    one, two = search.suggest("a"), search.suggest("b")
    assert (one["name"], one["bundle"], one["point"]) == ("t0002", 0, {"lr": 0.2})
    assert (two["name"], two["bundle"]) == ("t0003", 1)
    assert search.suggest("c") is None, "no bundle is free"
    search.on_trial_complete("a")
    again = search.suggest("c")
    assert (again["name"], again["bundle"]) == ("t0004", 0)
    search.on_trial_complete("b")
    assert search.suggest("d") == "FINISHED"


def test_the_best_is_one_that_was_trained_to_its_end() -> None:
    trials = Trials(Path(), "val_accuracy", "max")
    trials.found = {
        "a": Trial("a", {}, "stopped", 1, 0.99), "b": Trial("b", {}, "finished", 5, 0.9),
        "c": Trial("c", {}, "finished", 5, 0.95), "d": Trial("d", {}, "failed", 0, None, error="diverged"),
    }  # fmt: skip
    best = trials.best()
    assert best is not None
    assert best.name == "c"
    del trials.found["b"], trials.found["c"]
    assert trials.best() is trials.found["a"]


def test_the_table_has_the_best_first_and_says_why_one_failed() -> None:
    report = {
        "mode": "max", "metric": "val_accuracy", "best": "t0002",
        "trials": [
            {"name": "t0001", "status": "failed", "epochs": 0, "score": None, "config": {"lr": 9.0}, "error": "burst"},
            {"name": "t0003", "status": "stopped", "epochs": 1, "score": 0.5, "config": {"lr": 0.1}, "error": ""},
            {"name": "t0002", "status": "finished", "epochs": 3, "score": 0.9, "config": {"lr": 0.01}, "error": ""},
        ],
    }  # fmt: skip
    lines = trials_text(Options(), report, 20).splitlines()
    assert lines[1].split()[:5] == ["*", "t0002", "finished", "3", "0.9000"]
    assert "burst" in lines[3]
    assert trials_text(Options(), report, 1).endswith("2 more: --top 3")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"space": {}}, "at least 1"),
    ({"space": {"lr": {"uniform": [0.1, 0.01]}}}, "the second must be larger"),
    ({"space": {"lr": {"loguniform": [0, 1]}}}, "loguniform begins above 0"),
    ({"space": {"lr": {"uniform": [0.1, 0.2], "choice": [1]}}}, "exactly one of"),
    ({"space": {"learning_rate": {"uniform": [0.1, 0.2]}}}, "learning_rate"),
    ({"space": {"lr": {"choice": [100.0]}}}, "lr"),
    ({"metric": "beauty"}, "none that a training reports: loss, accuracy"),
    ({"train": {"name": "x"}}, "train has name"),
    ({"train": {"train_loop": "m:f"}}, "train has a train_loop"),
    ({"search": "optuna", "space": {"lr": {"grid": [0.1]}}}, "optuna has no grid"),
]


@pytest.mark.parametrize("fields, told", REFUSED, ids=[told for _, told in REFUSED])
def test_a_tuning_that_cannot_be_is_refused_at_submission(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec_of(**fields)
