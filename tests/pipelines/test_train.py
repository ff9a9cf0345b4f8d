"""Steps of an epoch over any number of workers, networks, checkpoints and users' own loops."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aios.engines import WorkloadFailed
from aios.packages import pack
from pipelines.files import write_json
from pipelines.models import weights
from pipelines.train.checkpoint import Position, restore, save
from pipelines.train.network import build, load, predict
from pipelines.train.steps import steps
from pipelines.train.table import Table, read_manifest
from pipelines.train.user_loop import load_loop
from pipelines.workdir import working_dir

JOB: Any = SimpleNamespace(batch_size=8, seed=3)


def table(n_rows: int) -> Table:
    return Table(torch.zeros(n_rows, 1), torch.zeros(n_rows))


def rows_of(n_rows: int, n_ranks: int, first: Position) -> list[int]:
    taken = []
    for rank in range(n_ranks):
        for _, rows in steps(table(n_rows), JOB, first.epoch, first, rank, n_ranks):
            taken += rows.tolist()
    return taken


@given(st.integers(8, 100), st.integers(1, 4))
def test_the_gang_takes_each_row_once_an_epoch(n_rows: int, n_ranks: int) -> None:
    taken = rows_of(n_rows, n_ranks, Position())
    rest = n_rows % JOB.batch_size
    left_out = rest if rest < n_ranks else 0
    assert len(taken) == len(set(taken)) == n_rows - left_out


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 11))
def test_a_run_goes_on_in_the_middle_of_an_epoch_with_another_number_of_workers(a: int, b: int, at: int) -> None:
    before = set()
    position = Position(epoch=5)
    for rank in range(a):
        walk = steps(table(96), JOB, 5, Position(epoch=5), rank, a)
        for _ in range(at):
            position, rows = next(walk)
            before |= set(rows.tolist())
    after = rows_of(96, b, position)
    assert not before & set(after)
    assert before | set(after) == set(range(96))


def test_two_epochs_have_two_orders() -> None:
    assert rows_of(32, 1, Position(0)) != rows_of(32, 1, Position(1))


@pytest.mark.parametrize(
    "model", [{"type": "linear"}, {"type": "mlp", "hidden": [5, 4]}, {"type": "cnn"}], ids=lambda model: model["type"]
)
def test_every_network_takes_raw_rows_and_gives_one_logit_per_class(model: dict[str, Any]) -> None:
    assert build(model, 64, 10)(torch.zeros(3, 64)).shape == (3, 10)


def test_a_cnn_over_features_that_are_no_square_is_refused() -> None:
    with pytest.raises(WorkloadFailed, match="30 features are no square"):
        build({"type": "cnn"}, 30, 2)


def test_a_network_sees_normalised_rows() -> None:
    network = build({"type": "linear"}, 2, 1, {"mean": [10.0, 0.0], "scale": [2.0, 1.0]})
    assert network[0](torch.tensor([[14.0, 3.0]])).tolist() == [[2.0, 3.0]]


def test_a_checkpoint_brings_network_optimizer_and_place_back(tmp_path: Path) -> None:
    network = build({"type": "linear"}, 2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    path = save(tmp_path, network, optimizer, Position(3, 64, 2), torch.tensor([1.0, 2.0, 3.0]))
    other = build({"type": "linear"}, 2, 2)
    fresh = torch.optim.Adam(other.parameters())
    position, sums = restore(str(path), other, fresh)
    assert (position, sums.tolist()) == (Position(3, 64, 2), [1.0, 2.0, 3.0])
    assert torch.equal(other[-1].weight, network[-1].weight)  # type: ignore[arg-type]
    assert len(fresh.state_dict()["state"]) == len(optimizer.state_dict()["state"]) > 0


def test_a_checkpoint_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed, match="is gone"):
        restore(str(tmp_path / "none"), build({"type": "linear"}, 2, 2), None)  # type: ignore[arg-type]


def test_a_model_is_read_back_and_answers_with_classes(tmp_path: Path) -> None:
    card = {"name": "m", "model": {"type": "linear"}, "features": ["a", "b"], "classes": ["no", "yes"]}
    write_json(tmp_path / "model.json", {**card, "statistics": None})
    network = build({"type": "linear"}, 2, 2)
    with torch.no_grad():
        network[-1].weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))  # type: ignore[operator, union-attr]
        network[-1].bias.zero_()  # type: ignore[operator, union-attr]
    weights.save(network, tmp_path)
    predictions, probabilities = predict(*load(tmp_path), [[5.0, 0.0], [-5.0, 0.0]])
    assert predictions == ["yes", "no"]
    assert probabilities is not None
    assert probabilities[0][1] > 0.99


class Evil:
    def __reduce__(self) -> Any:
        return (sys.exit, (3,))


def test_a_model_file_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    card = {"name": "m", "model": {"type": "linear"}, "features": ["a"], "classes": None, "statistics": None}
    write_json(tmp_path / "model.json", card)
    torch.save({"0.mean": Evil()}, tmp_path / "model.pt")
    with pytest.raises(WorkloadFailed, match=r"model\.pt, a pickle"):
        load(tmp_path)


def test_a_dataset_without_its_manifest_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(WorkloadFailed, match=r"manifest\.json is missing"):
        read_manifest(tmp_path)


def test_a_users_loop_is_found_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "their_loop.py").write_text("def loop(config):\n    return 7\n")
    assert load_loop("their_loop:loop", tmp_path)({}) == 7
    with pytest.raises(WorkloadFailed, match="no function 'main'"):
        load_loop("their_loop:main", tmp_path)
    with pytest.raises(WorkloadFailed, match="no module 'nowhere'"):
        load_loop("nowhere:loop", tmp_path)


def test_a_package_that_is_asked_for_twice_is_unpacked_once(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "nets.py").write_text("x = 1\n")
    package = pack(tmp_path / "code")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / f"{package.digest}.zip").write_bytes(package.content)
    ctx: Any = SimpleNamespace(dir=tmp_path / "attempt", storage=tmp_path)
    ctx.dir.mkdir()
    folder = working_dir(package.uri, ctx)
    (folder / "nets.py").write_text("x = 2\n")
    assert working_dir(package.uri, ctx) == folder
    assert (folder / "nets.py").read_text() == "x = 2\n", "what work has changed there stays"
