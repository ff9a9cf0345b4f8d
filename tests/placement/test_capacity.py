"""Capacity: what is advised lets in whom it says, at the least cost, and what could go is missed by nobody."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.__main__ import main
from placement.capacity import NodeType, advise, catalogue_of, cost_of, removable, with_added
from placement.catalogue import read_catalogue
from placement.model import Demand, Node, Plan, Problem, Running
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.reading import ScenarioError
from tests.placement.builders import admitted, amounts, node, problem, problems, rules, runs, tenant, want

ROOT = Path(__file__).parents[2]
H100, A100 = {"ray.io/accelerator-type": "H100"}, {"ray.io/accelerator-type": "A100"}


def _greedy(asked: Problem) -> Plan:
    return Greedy()(asked, Budget())


def kind(name: str, cost: float, most: int = 100, labels: dict[str, str] | None = None, **has: object) -> NodeType:
    return NodeType(name, amounts(has), tuple(sorted((labels or {}).items())), cost, most)


def _asked(pending: Sequence[Demand], running: Sequence[Running] = (), nodes: Sequence[Node] | None = None) -> Problem:
    return problem([node("a", H100, gpu=8)] if nodes is None else nodes, [tenant("t")], pending, running)


FULL = [runs(want("r", gpu=8), "a")]
ADVISED: dict[str, tuple[Problem, list[NodeType], dict[str, int], set[str]]] = {
    "one node for one gang": (_asked([want("w", gpu=8)], FULL), [kind("n", 8, gpu=8)], {"n": 1}, {"w"}),
    "nothing where all have room": (_asked([want("w", gpu=8)]), [kind("n", 8, gpu=8)], {}, set()),
    "what is idle already is not bought again": (
        _asked([want("w", 3, gpu=4)]), [kind("n", 4, gpu=4)], {"n": 1}, {"w"},
    ),
    "the cheaper mix": (
        _asked([want("w", 5, gpu=2)], FULL), [kind("big", 5, gpu=8), kind("small", 2, gpu=2)],
        {"big": 1, "small": 1}, {"w"},
    ),
    "the dear node where only it can hold a bundle": (
        _asked([want("w", gpu=4)], FULL), [kind("big", 50, gpu=8), kind("small", 1, gpu=2)], {"big": 1}, {"w"},
    ),
    "the type that the selector asks for": (
        _asked([want("w", gpu=1, selector=A100)]), [kind("h", 1, labels=H100, gpu=8), kind("a", 9, labels=A100, gpu=8)],
        {"a": 1}, {"w"},
    ),
    "as many as a spread needs": (
        _asked([want("w", 3, gpu=1, spread="node", required=True)]), [kind("n", 1, gpu=8)], {"n": 2}, {"w"},
    ),
    "a rack of their own for a packed gang": (
        _asked([want("w", 2, gpu=8, pack="rack", required=True)]), [kind("n", 1, labels={"rack": "r9"}, gpu=8)],
        {"n": 2}, {"w"},
    ),
    "the more important where not all can be had": (
        _asked([want("low", gpu=8), want("high", gpu=8, priority=5)], [runs(want("r", gpu=8, preemptible=False), "a")]),
        [kind("n", 1, 1, gpu=8)], {"n": 1}, {"high"},
    ),
    "nothing where nothing can help": (_asked([want("w", tpu=1)]), [kind("n", 1, gpu=8)], {}, set()),
    "nothing where no type is left": (_asked([want("w", gpu=8)], FULL), [kind("n", 1, 0, gpu=8)], {}, set()),
}  # fmt: skip


@pytest.mark.parametrize("asked, types, add, admits", ADVISED.values(), ids=ADVISED.keys())
def test_the_cheapest_nodes_that_let_them_in(
    asked: Problem, types: list[NodeType], add: dict[str, int], admits: set[str]
) -> None:
    advice = advise(asked, types, planner=_greedy)
    assert dict(advice.add) == add
    assert set(advice.admits) == admits
    assert advice.bound <= advice.cost == sum({k.name: k.cost for k in types}[name] * n for name, n in add.items())


def test_a_limit_of_its_tenant_is_not_helped_by_nodes() -> None:
    asked = problem([node("a", gpu=8)], [tenant("t", limit={"gpu": 4}), tenant("u")],
                    [want("w", gpu=8), want("v", tenant="u", gpu=16)], [])  # fmt: skip
    advice = advise(asked, [kind("n", 1, gpu=8)], planner=_greedy)
    assert advice.not_helped == (
        ("w", "a limit of its tenant, not room, keeps it waiting"),
        ("v", "no node of the catalogue could hold it"),
    )


def test_a_limit_holds_for_all_of_a_tenants_waiting_work_together() -> None:
    full = runs(want("r", tenant="u", gpu=8), "a")
    asked = problem([node("a", gpu=8)], [tenant("t", limit={"gpu": 8}), tenant("u")],
                    [want("v", gpu=8), want("w", gpu=8)], [full])  # fmt: skip
    advice = advise(asked, [kind("n", 1, gpu=8)], planner=_greedy)
    assert (dict(advice.add), advice.admits) == ({"n": 1}, ("v",))


def test_the_budget_is_kept() -> None:
    asked = _asked([want("w", gpu=8), want("v", gpu=8)], FULL)
    advice = advise(asked, [kind("n", 3, gpu=8)], 5.0, _greedy)
    assert (dict(advice.add), advice.cost, advice.admits) == ({"n": 1}, 3.0, ("w",))


def test_what_displaces_others_takes_new_nodes_first_and_is_counted_in() -> None:
    """1: urgent displaces r. 2: A node more goes to urgent, so late, which waits, needs another one."""
    asked = problem([node("a", gpu=8)], [tenant("t")],
                    [want("urgent", gpu=8, priority=9), want("late", gpu=8, priority=0, submitted_s=5)],
                    [runs(want("r", gpu=8), "a")])  # fmt: skip
    advice = advise(asked, [kind("n", 1, gpu=8)], planner=_greedy)
    assert (dict(advice.add), advice.admits) == ({"n": 2}, ("late",))


def test_without_a_catalogue_the_clusters_own_kinds_are_on_offer() -> None:
    nodes = [node("a", H100, gpu=8, cpu=64), node("b", H100, gpu=8, cpu=64), node("c", cpu=16)]
    kinds = catalogue_of(problem(nodes, []))
    assert [(k.name, k.cost) for k in kinds] == [("a", 8.64), ("c", 0.16)]
    assert cost_of(amounts({"memory": 2**30})) == 1.0


@settings(max_examples=25, deadline=None)
@given(problems(most_pending=4, most_nodes=3))
def test_with_the_advised_nodes_those_start_that_it_says(asked: Problem) -> None:
    types = catalogue_of(asked)
    advice = advise(asked, types, planner=_greedy)
    number = dict(advice.add)
    added = with_added(asked, [(one, number.get(one.name, 0)) for one in types])
    assert set(advice.admits) <= admitted(_greedy(added)) - admitted(_greedy(asked)) | set()
    assert not advice.admits or advice.add
    assert advice.bound <= advice.cost + 1e-9


@st.composite
def _tiny(draw: st.DrawFn) -> tuple[Problem, list[NodeType]]:
    pending = [
        want(f"w{i}", draw(st.integers(1, 2)), gpu=draw(st.integers(1, 3)), submitted_s=float(i))
        for i in range(draw(st.integers(1, 3)))
    ]
    types = [kind("s", draw(st.integers(1, 3)), 3, gpu=2), kind("b", draw(st.integers(2, 5)), 3, gpu=4)]
    return problem([node("a", gpu=1)], [tenant("t", preemption=rules("never", "never"))], pending), types


@settings(max_examples=25, deadline=None)
@given(_tiny())
def test_no_cheaper_nodes_would_do(case: tuple[Problem, list[NodeType]]) -> None:
    asked, types = case
    advice = advise(asked, types, planner=_greedy)
    want_all = {str(demand.id) for demand in asked.pending}
    enough = [
        sum(n * one.cost for n, one in zip(numbers, types, strict=True))
        for numbers in product(range(4), repeat=2)
        if admitted(_greedy(with_added(asked, list(zip(types, numbers, strict=True))))) == want_all
    ]
    if enough:
        assert advice.cost == min(enough)
        for name, n in advice.add:
            fewer = [(one, dict(advice.add).get(one.name, 0) - (one.name == name)) for one in types]
            assert n
            assert admitted(_greedy(with_added(asked, fewer))) < want_all


def test_hundreds_of_gangs_are_sized_by_counting_like_nodes() -> None:
    pending = [want(f"w{i}", 1 + i % 16, gpu=8, submitted_s=float(i)) for i in range(120)]
    nodes = [node(f"n{i}", gpu=8) for i in range(100)]
    running = [runs(want(f"r{i}", gpu=8), f"n{i}") for i in range(100)]
    advice = advise(problem(nodes, [tenant("t")], pending, running), [kind("n", 8, 5000, gpu=8)], planner=_greedy)
    needed = sum(len(demand.bundles) for demand in pending)
    assert dict(advice.add) == {"n": needed}
    assert advice.cost == advice.bound == 8.0 * needed
    assert len(advice.admits) == len(pending)


# What could go


def test_an_idle_node_could_go_and_one_whose_work_fits_elsewhere_too() -> None:
    nodes = [node("a", gpu=8), node("b", gpu=8), node("c", gpu=8), node("d", gpu=8)]
    running = [runs(want("x", gpu=4), "a"), runs(want("y", gpu=2), "b"), runs(want("z", gpu=4, preemptible=False), "c")]
    asked = problem(nodes, [tenant("t")], [], running)
    found = {one.node: one.moves for one in removable(asked, _greedy(asked))}
    assert found["d"] == ()
    assert "c" not in found
    assert found["a"] == ("x",)
    assert len(found) == 2  # what runs needs two nodes


def test_a_node_that_who_waits_could_use_stays() -> None:
    asked = problem([node("a", gpu=8), node("b", cpu=8)], [tenant("t")], [want("w", 2, gpu=8)])
    assert [one.node for one in removable(asked, _greedy(asked))] == ["b"]


def test_a_node_that_others_use_stays() -> None:
    asked = problem([node("a", gpu=8), node("b", gpu=8)], [tenant("t")], [], foreign={"a": amounts({"gpu": 1})})
    assert [one.node for one in removable(asked, _greedy(asked))] == ["b"]


@settings(max_examples=40, deadline=None)
@given(problems())
def test_what_could_go_may_go_all_at_once(asked: Problem) -> None:
    plan = _greedy(asked)
    gone = {one.node for one in removable(asked, plan)}
    starts = {node for grant in plan.grants for node in grant.nodes}
    assert not gone & starts
    stays = {p.demand for p in plan.preemptions} | {r.demand for r in plan.resizes}
    for run in asked.running:
        if gone & set(run.nodes) and run.demand.id not in stays:
            assert run.demand.preemptible


# Catalogues


def test_a_catalogue_is_a_list_of_node_types() -> None:
    first = "- {name: big, resources: {GPU: 8, CPU: 96}, labels: {zone: a}, cost: 32.5, most: 4}"
    big, small = read_catalogue(f"{first}\n- {{name: s, resources: {{CPU: 4}}}}\n")
    assert (big.cost, big.most, dict(big.labels)) == (32.5, 4, {"zone": "a"})
    assert small.cost == 0.04


def test_a_ray_clusters_own_file_is_a_catalogue() -> None:
    text = (ROOT / "ray-cluster.yaml").read_text()
    there = [Node(node("x").id, amounts({"cpu": 8, "gpu": 1}), (("ray.io/accelerator-type", "T4"),
             ("ray.io/availability-zone", "us-west-2a"), ("zone", "us-west-2a")))]  # fmt: skip
    types = {one.name: one for one in read_catalogue(text, "ray-cluster.yaml", there)}
    assert "head" not in types
    assert types["t4-a"].most == 3
    assert types["a10g-b"].most == 4
    assert dict(types["a10g-b"].labels)["ray.io/accelerator-type"] == "A10G"


WRONG = {
    "nothing": ("", "is empty"),
    "an empty list": ("[]", "has no node type"),
    "a mapping of something else": ("{nodes: []}", "is no catalogue; write a list of node types"),
    "no resources": ("[{name: x}]", "has no 'resources'"),
    "a negative cost": ("[{name: x, resources: {CPU: 1}, cost: -1}]", "cost: is -1, must be"),
    "an unknown key": ("[{name: x, resources: {CPU: 1}, price: 1}]", "price: unknown key"),
    "two of a name": (
        "[{name: x, resources: {CPU: 1}}, {name: x, resources: {CPU: 2}}]",
        "two node types are named 'x'",
    ),
    "an amount that is none": (
        "available_node_types: {x: {resources: {CPU: many}, max_workers: 1}}",
        "'many' is not an",
    ),
}


@pytest.mark.parametrize("text, message", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_catalogue_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        read_catalogue(text, "types.yaml")
    assert str(raised.value).startswith("types.yaml")
    assert message in str(raised.value)


def test_the_command_says_what_to_add_and_what_could_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "nodes: [{name: a, resources: {GPU: 8}}, {name: b, resources: {CPU: 8}}]\ntenants: [{name: t}]\n"
        "pending: [{name: w, tenant: t, bundles: [{count: 3, resources: {GPU: 8}}]}]\n"
    )
    assert main(["capacity", str(file), "--planner", "greedy"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Add 2 a: cost 16 (the least there is).\nThen w would start.\n")
    assert "b         nothing runs there" in out
    types = tmp_path / "types.yaml"
    types.write_text("[{name: g, resources: {GPU: 4}, cost: 3}]")
    assert main(["capacity", str(file), "--catalogue", str(types), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["add"], answer["not_helped"]) == ({}, {"w": "not even with all nodes that may be added"})
    assert main(["capacity", str(file), "--catalogue", str(tmp_path / "none.yaml")]) == 2


def test_a_removed_node_is_not_needed_by_the_plan() -> None:
    asked = replace(_asked([want("w", gpu=4)]), nodes=(node("a", gpu=8), node("b", gpu=8)))
    plan = _greedy(asked)
    (used,) = {name for grant in plan.grants for name in grant.nodes}
    assert used not in {one.node for one in removable(asked, plan)}
