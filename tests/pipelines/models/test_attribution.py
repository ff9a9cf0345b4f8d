"""Attributions: they add up to the difference of two answers, and name what a model goes by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from aios.engines import WorkloadFailed
from aios.errors import Rejected
from pipelines.models.attribution import GRADIENTS, SHAPLEY, attributions
from pipelines.models.tools import Tools
from pipelines.train.network import build
from tests.support.judged import dataset
from tests.support.models import made

pytest.importorskip("captum", reason="the extra explain is not installed")

CLASSES: dict[str, Any] = {"name": "m", "features": ["a", "b", "c"], "classes": ["no", "yes"], "statistics": None}
QUANTITY: dict[str, Any] = {**CLASSES, "classes": None}


class WithoutGradients(nn.Module):
    """Answers as a network does that another runtime runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.from_numpy(self.network(rows).numpy().copy())


def network(n_outputs: int) -> nn.Module:
    torch.manual_seed(3)
    return build({"type": "mlp", "hidden": [16, 8]}, 3, n_outputs)


@pytest.mark.parametrize("card, n_outputs", [(CLASSES, 2), (QUANTITY, 1)], ids=["probability", "quantity"])
@pytest.mark.parametrize("gradients", [True, False])
def test_attributions_of_a_row_add_up_to_the_difference_of_answers(
    card: dict[str, Any], n_outputs: int, gradients: bool
) -> None:
    net = network(n_outputs)
    rows, usual = np.random.default_rng(0).normal(size=(6, 3)) * 4, np.zeros(3)
    found = attributions(net if gradients else WithoutGradients(net), card, rows, usual)
    assert found.method == (GRADIENTS if gradients else SHAPLEY)
    with torch.no_grad():
        out, base = net(torch.tensor(rows)).double(), net(torch.zeros(1, 3, dtype=torch.float64)).double()
    if card["classes"]:
        chosen = out.argmax(dim=1)
        out, base = torch.softmax(out, 1)[torch.arange(6), chosen], torch.softmax(base, 1)[0, chosen]
        assert found.of == [card["classes"][i] for i in chosen]
    else:
        out, base = out[:, 0], base[0]
    due = (out - base).numpy()
    assert np.abs(due).min() > 0
    assert found.values.sum(axis=1) == pytest.approx(due, abs=max(0.005 * float(np.abs(due).max()), 1e-4))
    assert found.gap <= max(0.005 * float(np.abs(due).max()), 1e-4)


def test_of_a_line_each_feature_has_its_weight_times_its_value() -> None:
    line = build({"type": "linear"}, 3, 1)
    with torch.no_grad():
        line[-1].weight.copy_(torch.tensor([[2.0, -1.0, 0.0]]))  # type: ignore[operator, union-attr]
    for one in (line, WithoutGradients(line)):
        found = attributions(one, QUANTITY, np.array([[3.0, 5.0, 7.0]]), np.array([1.0, 1.0, 1.0]))
        assert found.values[0] == pytest.approx([4.0, -4.0, 0.0], abs=1e-5)


def test_a_class_can_be_chosen_and_its_opposite_has_the_opposite_signs() -> None:
    rows, usual = np.array([[1.0, 2.0, -1.0]]), np.zeros(3)
    yes, no = (attributions(network(2), CLASSES, rows, usual, of) for of in ("yes", "no"))
    assert yes.values == pytest.approx(-no.values, abs=1e-6)
    with pytest.raises(WorkloadFailed, match="there is no class 'maybe': m knows no, yes"):
        attributions(network(2), CLASSES, rows, usual, "maybe")


def test_one_row_is_explained_by_name_by_order_and_from_a_version(tmp_path: Path) -> None:
    import pyarrow as pa

    folder = str(Path(made(tmp_path / "m", above=0.5).uri))
    data = dataset(tmp_path / "rows", pa.table({"x": [0.0, 2.0, 4.0], "y": ["no", "yes", "yes"]}), features=["x"])
    by_name = Tools().explain(folder, {"x": 4.0}, None, "yes")
    assert by_name["prediction"] == "yes"
    assert by_name["features"][0]["attribution"] > 0
    assert by_name["sum"] == pytest.approx(by_name["output"] - by_name["usual"], abs=5e-3)
    assert Tools().explain(folder, [4.0], None, "yes")["features"] == by_name["features"]
    of_version = Tools().explain(folder, None, (data.uri, 2, None), "yes")
    assert of_version["usual_row"] == "the mean of the version's rows"
    assert of_version["features"][0]["value"] == 4.0
    assert of_version["output"] == by_name["output"]


@pytest.mark.parametrize(
    "row, told",
    [
        ([1, 2], "the row is 2: give an object by column, or a list of 1 numbers"),
        ({"z": 1}, "the row lacks x: it takes x"),
        (["one"], "x is no number: 'one'"),
        ("x", "the row is str"),
    ],
)
def test_a_row_that_does_not_fit_is_refused(tmp_path: Path, row: Any, told: str) -> None:
    with pytest.raises(Rejected, match=told):
        Tools().explain(made(tmp_path / "m").uri, row, None, None)


def test_a_row_that_the_version_does_not_have_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    data = dataset(tmp_path / "rows", pa.table({"x": [0.0], "y": ["no"]}), features=["x"])
    with pytest.raises(Rejected, match="--index 7: there are 1 rows, from 0 to 0"):
        Tools().explain(made(tmp_path / "m").uri, None, (data.uri, 7, None), None)
