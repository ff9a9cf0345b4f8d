"""The measure of Fragmentation Gradient Descent: GPUs left that expected work cannot use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from placement.fragmentation import Mix, devices_left, expected_mix
from placement.model import Bundle, DemandId, Grant, NodeId, Plan, Selector
from placement.score import score
from tests.placement.builders import amounts, node, problem, runs, tenant, want

T = tenant("t", {"gpu": 64})


def kind(selector: dict[str, str] | None = None, **resources: object) -> Bundle:
    return Bundle(amounts(resources), Selector.parse(selector or {}))


def unusable(mix: list[tuple[Bundle, float]], cpu: int, *devices: float, zone: str = "x") -> float:
    free = {"CPU": cpu * 1000, "GPU": int(1000 * sum(devices))}
    return Mix(mix).unusable(node("n", {"zone": zone}), free, [int(1000 * d) for d in devices])


@pytest.mark.parametrize(
    ("name", "mix", "cpu", "devices", "lost"),
    [
        ("all of it can be used", [(kind(gpu=1), 1.0)], 8, (1, 1), 0.0),
        ("too small for one GPU", [(kind(gpu=1), 1.0)], 8, (0.5, 1), 0.5),
        ("too few whole ones", [(kind(gpu=2), 1.0)], 8, (0.5, 0.5, 1), 2.0),
        ("a part on each of two", [(kind(gpu=0.6), 1.0)], 8, (0.5, 1), 0.5),
        ("no CPU beside them", [(kind(gpu=1, cpu=2), 1.0)], 1, (1, 1), 2.0),
        ("work without GPUs uses none", [(kind(cpu=1), 1.0)], 8, (1,), 1.0),
        ("half of the work could", [(kind(gpu=1), 3.0), (kind(gpu=2), 3.0)], 8, (1,), 0.5),
        ("weights count", [(kind(gpu=1), 3.0), (kind(gpu=2), 1.0)], 8, (1,), 0.25),
        ("selectors count", [(kind({"zone": "y"}, gpu=1), 1.0)], 8, (1,), 1.0),
        ("nothing is expected", [], 8, (1,), 0.0),
    ],
)
def test_what_is_left_that_expected_work_cannot_use(
    name: str, mix: list[tuple[Bundle, float]], cpu: int, devices: tuple[float, ...], lost: float
) -> None:
    assert unusable(mix, cpu, *devices) == pytest.approx(lost), name


def test_devices_are_filled_whole_ones_first_then_parts_by_best_fit() -> None:
    assert sorted(devices_left(4000, [1000, 500, 300, 600])) == [0, 100, 500, 1000]
    assert devices_left(2000, []) == (1000, 1000)


def test_the_mix_is_what_a_problem_expects_or_else_what_it_has() -> None:
    p = problem([node("a", gpu=8)], [T], [want("w", 3, gpu=1)], [runs(want("r", 1, gpu=4), "a")])
    assert [(k.gpu, k.part) for k in expected_mix(p).kinds] == [(1000, 0.75), (4000, 0.25)]
    told = replace(p, expected=((kind(gpu=2), 5.0), (kind(gpu=3), 0.0)))
    assert [(k.gpu, k.part) for k in expected_mix(told).kinds] == [(2000, 1.0)]


def test_a_plan_that_leaves_whole_nodes_is_better() -> None:
    """Eights are expected: one more GPU belongs on the node that has been broken into already."""
    p = problem([node("a", gpu=8), node("b", gpu=8)], [T], [want("w", gpu=1)], [runs(want("r", gpu=1), "a")])
    p = replace(p, expected=((kind(gpu=8), 1.0),))
    here, there = (score(p, Plan((Grant(DemandId("w"), (NodeId(n),)),))) for n in "ab")
    assert here > there
    assert dict(there.terms)["fragmentation"] == -7.0
    assert dict(here.terms)["fragmentation"] == 0.0
