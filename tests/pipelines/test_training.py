"""Training by configuration: what each key does, exact resume, what is kept, and what is said when it goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from aios.checkpoints import damage
from aios.engines import WorkloadFailed
from pipelines.files import read_json, write_json
from pipelines.train.best import Best, kept
from pipelines.train.learning import ScheduleSpec
from pipelines.train.network import build
from pipelines.train.schedule import factor_at
from pipelines.train.training import DIVERGED
from tests.support.digits import digits, spec_of, trained

FACTORY = """
import torch
from torch import nn

def small(n_features, n_outputs, width=16, dropout=0.2):
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, n_outputs))

def huge(n_features, n_outputs):
    return nn.Linear(n_features, n_outputs, bias=torch.empty(1 << 50) is None)

def wrong(n_features, n_outputs):
    return nn.Linear(n_features, n_outputs + 1)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return digits(tmp_path_factory.mktemp("digits") / "v1", n_train=400)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def history_of(folder: Path) -> list[dict[str, Any]]:
    return read_json(folder / "model" / "history.json")["epochs"]  # type: ignore[no-any-return]


CONFIGURED: dict[str, dict[str, Any]] = {
    "mlp": {},
    "cnn": {"model": {"type": "cnn", "channels": [4]}, "lr": 0.01},
    "sgd with momentum": {"optimizer": {"type": "sgd", "momentum": 0.9, "nesterov": True}, "lr": 0.05},
    "adamw, cosine after warm-up": {
        "optimizer": {"type": "adamw", "weight_decay": 0.05},
        "schedule": {"type": "cosine", "warmup_steps": 5, "final": 0.1},
        "lr": 0.01,
    },
    "bf16": {"precision": "bf16", "lr": 0.01},
    "smoothed, balanced": {"loss": {"type": "cross_entropy", "label_smoothing": 0.1, "class_weights": "balanced"}},
    "clipped, in parts": {"clip_norm": 1.0, "accumulate": 4},
}


@pytest.mark.parametrize("fields", CONFIGURED.values(), ids=CONFIGURED)
def test_each_configuration_learns_the_digits(data: str, tmp_path: Path, fields: dict[str, Any]) -> None:
    notes = trained(spec_of(epochs=5, batch_size=32, **fields), data, tmp_path)
    first, *_, last = history_of(tmp_path)
    assert last["loss"] < first["loss"]
    assert last["accuracy"] > 0.8
    assert [one["epoch"] for one in notes.metrics if "epoch" in one][-1] == 5


def test_parts_of_a_step_come_to_the_same_as_the_step(data: str, tmp_path: Path) -> None:
    for parts in (1, 3):
        trained(spec_of(epochs=1, batch_size=50, accumulate=parts), data, tmp_path / str(parts))
    whole, split = weights_of(tmp_path / "1"), weights_of(tmp_path / "3")
    assert all(torch.allclose(whole[name], split[name], atol=1e-5) for name in whole)


RESUMED: dict[str, dict[str, Any]] = {
    "adam and dropout": {"model": {"factory": "their_nets:small"}},
    "sgd, cosine, clipped, validated": {
        "optimizer": {"type": "sgd", "momentum": 0.9},
        "schedule": {"type": "cosine", "warmup_steps": 3},
        "clip_norm": 0.5,
        "validation": 0.2,
        "early_stopping": {"metric": "val_loss", "patience": 50},
    },
}


@pytest.mark.parametrize("fields", RESUMED.values(), ids=RESUMED)
def test_a_run_that_was_interrupted_in_an_epoch_goes_on_to_the_same_bits(
    data: str, tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    1. A run without interruption.
    2. The same one yields at its 17th step, in the middle of an epoch, and goes on from its checkpoint.
    3. Weights and every epoch's losses are the same to the last bit.
    """
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr("pipelines.train.gang.ASK_EVERY_S", 0.0)  # rank 0 asks at every step
    (tmp_path / "their_nets.py").write_text(FACTORY)
    spec = spec_of(epochs=4, batch_size=32, **fields)
    trained(spec, data, tmp_path / "whole", working_dir=tmp_path)

    first = trained(spec, data, tmp_path / "one", yields_at=17, working_dir=tmp_path)
    outcome = read_json(tmp_path / "one" / "outcome.json")
    assert outcome["ended"] == "yielded"
    assert not outcome["checkpoint"].endswith("-000000000"), "the interruption was to be inside an epoch"
    assert first.checkpoints[-1][0] == outcome["checkpoint"]
    trained(spec, data, tmp_path / "two", checkpoint=outcome["checkpoint"], working_dir=tmp_path)

    assert history_of(tmp_path / "two") == history_of(tmp_path / "whole")
    whole, resumed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "two")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


GANG: dict[str, Any] = {
    "epochs": 3, "batch_size": 40, "workers": {"num_workers": 2}, "clip_norm": 1.0, "accumulate": 2,
}  # fmt: skip


def _rank(rank: int, data: str, folder: str) -> None:
    """One of two ranks: for each strategy a whole run, one that yields, and one that goes on from there."""
    import torch.distributed as dist

    from pipelines.train import gang

    gang.ASK_EVERY_S = 0.0
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for strategy in ("ddp", "fsdp"):
        spec, root = spec_of(strategy=strategy, **GANG), Path(folder, strategy)
        trained(spec, data, root / "whole", rank=rank, n_ranks=2)
        trained(spec, data, root / "one", yields_at=13, rank=rank, n_ranks=2)
        dist.barrier()
        checkpoint = read_json(root / "one" / "outcome.json")["checkpoint"]
        trained(spec, data, root / "two", checkpoint, rank=rank, n_ranks=2)
    dist.destroy_process_group()


def test_two_workers_resume_to_the_same_bits_and_one_goes_on_where_they_were(data: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (data, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    for strategy in ("ddp", "fsdp"):
        root = tmp_path / strategy
        outcome = read_json(root / "one" / "outcome.json")
        assert outcome["ended"] == "yielded"
        assert history_of(root / "two") == history_of(root / "whole")
        whole, resumed = weights_of(root / "whole"), weights_of(root / "two")
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)

        trained(spec_of(strategy=strategy, **GANG), data, root / "alone", outcome["checkpoint"])
        alone = weights_of(root / "alone")
        assert all(torch.allclose(alone[name], whole[name], atol=1e-4) for name in whole)
        assert len(history_of(root / "alone")) == 3


def test_it_stops_when_nothing_gets_better_and_the_best_epoch_is_the_model(data: str, tmp_path: Path) -> None:
    spec = spec_of(
        epochs=60, lr=0.05, validation=0.25, early_stopping={"metric": "val_loss", "patience": 3}, batch_size=32
    )
    notes = trained(spec, data, tmp_path)
    history = history_of(tmp_path)
    best = min(history, key=lambda one: one["val_loss"])
    assert len(history) == best["epoch"] + 3 < 60
    outcome = read_json(tmp_path / "outcome.json")["metrics"]
    assert (outcome["best_epoch"], outcome["val_loss"]) == (best["epoch"], best["val_loss"])
    assert f"val_loss was best at epoch {best['epoch']}" in notes.lines[-1]


def test_the_last_checkpoints_and_the_best_one_are_kept_and_are_whole(data: str, tmp_path: Path) -> None:
    keep = {"last": 2, "best": 1, "metric": "loss", "every_steps": 4}
    notes = trained(spec_of(epochs=5, batch_size=32, lr=0.01, checkpoints=keep), data, tmp_path)
    there = sorted(path for path in (tmp_path / "checkpoints").iterdir())
    assert len(notes.checkpoints) > 10
    assert len(there) in (2, 3)
    assert notes.checkpoints[-1][0] == str(there[-1])
    assert not any(damage(str(path)) for path in there)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 3))
def test_what_is_kept_has_the_last_and_the_best(scores: list[float | None], last: int, best: int) -> None:
    named = {str(i): score for i, score in enumerate(scores)}
    stay = kept(named, "loss", last, best)
    assert set(list(named)[-last:]) <= stay
    assert len(stay) <= last + best
    known = [score for score in scores if score is not None]
    if best and known:
        assert min(known) in [named[name] for name in stay]


@pytest.mark.parametrize("kind", ["constant", "cosine", "linear", "step"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_a_rate_rises_in_its_warm_up_and_then_never(kind: Any, warmup: int) -> None:
    schedule = ScheduleSpec(type=kind, warmup_steps=warmup, **({"every": 3} if kind == "step" else {}))
    rates = [factor_at(schedule, step, 100, 10) for step in range(100)]
    assert max(rates) == 1.0
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[-1] == 1.0 if kind == "constant" else rates[-1] < 0.5


def test_what_is_best_waits_for_more_than_the_least_difference() -> None:
    best = Best("val_accuracy", min_delta=0.1)
    for epoch, value in enumerate([0.5, 0.55, 0.59, 0.7], start=1):
        best = best.after({"epoch": epoch, "val_accuracy": value})
        assert (best.epoch, best.since) == [(1, 0), (1, 1), (1, 2), (4, 0)][epoch - 1]


def test_a_loss_that_is_no_number_stops_it_by_step_and_batch_and_the_last_good_checkpoint_stays(
    tmp_path: Path,
) -> None:
    data = digits(tmp_path / "v1", n_train=200)
    spec = spec_of(epochs=3, batch_size=20, optimizer="sgd", lr=0.01)
    trained(spec, data, tmp_path / "good")
    checkpoint = str(sorted((tmp_path / "good" / "checkpoints").iterdir())[0])  # after epoch 1
    part = next((tmp_path / "v1" / "train").iterdir())
    rows = pa.parquet.read_table(part).to_pandas()
    rows.loc[7, "pixel_2_3"] = float("nan")
    pa.parquet.write_table(pa.Table.from_pandas(rows), part)
    with pytest.raises(WorkloadFailed, match=r"the loss is nan at epoch 2, step \d+ .*pixel_2_3") as failed:
        trained(spec, data, tmp_path / "bad", checkpoint)
    assert failed.value.exit_code == DIVERGED
    assert f"the last good checkpoint is {checkpoint}" in failed.value.message
    assert not damage(checkpoint)
    assert not (tmp_path / "bad" / "outcome.json").exists()


def test_weights_that_diverged_are_never_saved(tmp_path: Path) -> None:
    quantity = Path(digits(tmp_path / "v1", n_train=100))
    manifest = read_json(quantity / "manifest.json")
    write_json(quantity / "manifest.json", {**manifest, "classes": None, "task": "regression"})
    wild = spec_of(epochs=30, batch_size=100, optimizer="sgd", lr=10)
    with pytest.raises(WorkloadFailed, match=r"is inf|is nan|no number any more") as failed:
        trained(wild, str(quantity), tmp_path / "bad")
    assert failed.value.exit_code == DIVERGED
    for path in (tmp_path / "bad" / "checkpoints").iterdir():
        state = torch.load(path / "state.pt", weights_only=True)
        assert all(bool(torch.isfinite(value).all()) for value in state["model"].values())


def test_a_checkpoint_of_another_network_is_refused_by_what_does_not_fit(data: str, tmp_path: Path) -> None:
    trained(spec_of(epochs=1, model={"hidden": [8]}), data, tmp_path / "a")
    (checkpoint,) = (tmp_path / "a" / "checkpoints").iterdir()
    with pytest.raises(WorkloadFailed, match=r"does not fit the model: 1\.weight is \[8, 64\] there and"):
        trained(spec_of(epochs=2, model={"hidden": [9]}), data, tmp_path / "b", str(checkpoint))


def test_a_factory_that_does_not_fit_is_told_before_anything_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "other_nets.py").write_text(FACTORY)
    for factory, arguments, word in (
        ("other_nets:wrong", {}, r"gives \(2, 11\) for two rows, and \(2, 10\) is needed"),
        ("other_nets:small", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("other_nets:big", {}, "no function 'big'"),
    ):
        with pytest.raises(WorkloadFailed, match=word):
            build({"type": "factory", "factory": factory, "arguments": arguments}, 64, 10, None, tmp_path)


def test_memory_that_is_not_there_is_told_with_what_to_do(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "huge_nets.py").write_text(FACTORY)
    with pytest.raises(WorkloadFailed, match=r"^out of memory: .* \(accumulate, now 2\), lower batch_size \(64\)"):
        trained(spec_of(model={"factory": "huge_nets:huge"}, accumulate=2), data, tmp_path, working_dir=tmp_path)


def test_a_loss_that_does_not_fit_the_target_is_told(data: str, tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed, match="loss mse does not fit the data, whose target is classes"):
        trained(spec_of(loss="mse"), data, tmp_path)
