"""What if: changes make the question that their words say, errors name the word, plans stand side by side."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.__main__ import main
from placement.check import violations
from placement.model import DemandId, NodeId, NodeState, Plan, PreemptionPolicy, Problem, TenantId, Within
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.score import score
from placement.whatif import AddNodes, DrainNode, Submit, apply, compare, fates
from placement.wording import GRAMMAR, ChangeError, parse, parse_all
from tests.placement.builders import admitted, amounts, node, problem, problems, rules, runs, stopped, tenant, want

H100 = {"ray.io/accelerator-type": "H100", "rack": "r1"}
A100 = {"ray.io/accelerator-type": "A100"}


def _greedy(asked: Problem) -> Plan:
    return Greedy()(asked, Budget())


CLUSTER = problem(
    [node("a-0", H100, gpu=8), node("a-1", H100, gpu=8), node("b-0", A100, gpu=4)],
    [tenant("vision", {"gpu": 8}, preemption=rules(borrow="fair")), tenant("nlp", {"cpu": 4})],
    [want("wide", 2, tenant="vision", gpu=8)],
    [runs(want("old", tenant="nlp", gpu=4), "a-0", started_s=10)],
)

MADE = {
    "nodes like those of a type, whatever its case": (
        "add 2 h100",
        lambda p: [n.id for n in p.nodes[3:]] == ["a-0+1", "a-0+2"],
    ),
    "one node where no number is said": ("add A100", lambda p: p.nodes[3].resources == amounts({"gpu": 4})),
    "a copy of a named node, with its labels": ("add 1 a-1", lambda p: p.nodes[3].label("rack") == "r1"),
    "a node that is gone": ("remove b-0", lambda p: [n.id for n in p.nodes] == ["a-0", "a-1"]),
    "work on a node that is gone waits again": (
        "remove a-0",
        lambda p: [d.id for d in p.pending] == ["old", "wide"] and not p.running,
    ),
    "work on a node that drains saves its progress and waits again": (
        "drain a-0",
        lambda p: p.nodes[0].state is NodeState.DRAINING and [d.id for d in p.pending] == ["old", "wide"],
    ),
    "another weight": ("weight vision=3", lambda p: p.tenants[0].weight == 3.0),
    "another quota of one resource; the rest stays": (
        "quota nlp GPU=8",
        lambda p: p.tenants[1].quota == amounts({"gpu": 8, "cpu": 4}),
    ),
    "a quota of several": ("quota nlp GPU=8 memory=1GiB", lambda p: p.tenants[1].quota.get("memory") == 2**30),
    "a quota that is taken away": ("quota vision GPU=0", lambda p: p.tenants[0].quota == amounts({})),
    "another priority of what waits": ("priority wide=10", lambda p: p.pending[0].priority == 10),
    "another priority of what runs": ("priority old=-3", lambda p: p.running[0].demand.priority == -3),
    "what waits no longer": ("stop wide", lambda p: not p.pending),
    "what runs no longer, by the beginning of its name": ("stop ol", lambda p: not p.running),
    "nobody displaces anybody": (
        "without-preemption",
        lambda p: p.policy.preemption.within is Within.NEVER and p.tenants[0].preemption is None,
    ),
}


@pytest.mark.parametrize("text, holds", MADE.values(), ids=MADE.keys())
def test_words_make_the_change_that_they_say(text: str, holds: object) -> None:
    before = replace(CLUSTER)
    assert callable(holds)
    assert holds(apply(CLUSTER, parse(text, CLUSTER)))
    assert before == CLUSTER


def test_new_nodes_have_names_that_nobody_has() -> None:
    twice, made = parse_all(["add 2 a-0", "add 3 h100"], CLUSTER)
    assert len(twice) == 2
    assert len({n.id for n in made.nodes}) == 8


def test_a_later_change_may_name_what_an_earlier_one_made() -> None:
    _, made = parse_all(["add a-0", "drain a-0+1"], CLUSTER)
    assert made.nodes[3].state is NodeState.DRAINING


def test_nodes_may_have_further_names() -> None:
    assert parse("drain big", CLUSTER, {"big": NodeId("a-1")}) == DrainNode(NodeId("a-1"))


def test_the_most_common_ready_node_stands_for_its_type() -> None:
    nodes = [node("odd", H100, gpu=4), node("x", H100, gpu=8), node("y", H100, gpu=8), node("z", H100, "down", gpu=8)]
    assert parse("add 4 h100", problem(nodes, [])) == AddNodes(NodeId("x"), 4)


WRONG = {
    "nothing": ("", "says nothing; changes are: add"),
    "an unknown verb": ("ad 4 h100", "'ad' is no change; did you mean 'add'?"),
    "an unknown type": ("add 4 h200", "accelerator type 'h200' or is named so; did you mean"),
    "a type that is far from all": ("add 4 xyz", "there are A100, H100, a-0"),
    "a number that is none": ("add many h100", "'many' is no number of nodes from 1 to 10000"),
    "no nodes at all": ("add 0 h100", "'0' is no number"),
    "more than a cluster": ("add 99999999 h100", "is no number of nodes"),
    "nothing after the verb": ("drain", "something is missing; write: drain NODE"),
    "too many words": ("drain a-0 a-1", "'a-1' is too much"),
    "an unknown node": ("remove a-7", "there is no node 'a-7'; did you mean 'a-"),
    "an unknown tenant": ("weight visoin=3", "there is no tenant 'visoin'; did you mean 'vision'?"),
    "a weight that is no number": ("weight vision=lots", "'lots' is no weight"),
    "a weight of nothing": ("weight vision=0", "'0' is no weight"),
    "an endless weight": ("weight vision=inf", "'inf' is no weight"),
    "no equals sign": ("weight vision 3", "'3' is too much"),
    "no value": ("weight vision", "'vision' has no value; write: weight TENANT=NUMBER"),
    "a quota of no resource": ("quota vision", "something is missing; write: quota TENANT"),
    "a negative quota": ("quota vision GPU=-1", "'-1' is not an amount"),
    "a quota with a unit of memory": ("quota vision GPU=8GiB", "has a unit of memory"),
    "a priority that is no whole number": ("priority wide=1.5", "'1.5' is no priority"),
    "an absurd priority": ("priority wide=9999999999", "is no priority"),
    "an unknown workload": ("stop wiode", "no workload 'wiode' that waits or runs; did you mean 'wide'?"),
    "a file where there are none": ("submit x.yaml", "files cannot be read here"),
    "a word too many": ("without-preemption now", "'now' is too much"),
}


@pytest.mark.parametrize("text, message", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_word_is_named_with_what_is_known(text: str, message: str) -> None:
    with pytest.raises(ChangeError) as raised:
        parse(text, CLUSTER)
    assert message in str(raised.value)


@given(st.text(max_size=30))
def test_any_text_is_a_change_or_an_error(text: str) -> None:
    with suppress(ChangeError):
        assert parse(text, CLUSTER)


def test_plans_stand_side_by_side_and_what_changes_stands_first() -> None:
    found = compare(CLUSTER, [parse("add 2 h100", CLUSTER)], _greedy)
    lot = found.lots[0]
    assert (lot.demand, lot.before.state, lot.after.state, lot.changed) == ("wide", "waits", "starts", True)
    assert [(one.demand, one.changed) for one in found.lots[1:]] == [("old", False)]


def test_other_nodes_of_what_starts_anyway_are_no_change() -> None:
    asked = problem([node("a", gpu=1), node("b", gpu=2)], [tenant("t")], [want("w", gpu=1)])
    found = compare(asked, [parse("drain a", asked)], _greedy)
    assert [str(found.lots[0].before), str(found.lots[0].after)] == ["starts on a", "starts on b"]
    assert not found.changed


def test_what_comes_and_what_goes_is_not_there_on_one_side() -> None:
    new = Submit((want("new", tenant="fresh", gpu=1),), (tenant("fresh"), tenant("vision")))
    found = compare(CLUSTER, [new, parse("stop old", CLUSTER)], _greedy)
    lots = {lot.demand: (lot.before.state, lot.after.state) for lot in found.changed}
    assert lots["new"] == ("not there", "starts")
    assert lots["old"] == ("running", "not there")


def test_every_state_is_told() -> None:
    asked = problem([node("a", gpu=2)], [tenant("t")], [want("w", gpu=2, priority=3), want("v", gpu=2)],
                    [runs(want("r", 2, least=1, gpu=1), "a")])  # fmt: skip
    told = {name: fate.state for name, fate in fates(asked, _greedy(asked)).items()}
    assert told == {"r": "preempted", "w": "starts", "v": "waits"}


def test_without_preemption_nobody_yields() -> None:
    asked = problem([node("a", gpu=2)], [tenant("t", preemption=PreemptionPolicy())], [want("w", gpu=2, priority=3)],
                    [runs(want("r", gpu=1), "a")])  # fmt: skip
    assert stopped(_greedy(asked)) == {"r"}
    assert not stopped(_greedy(apply(asked, parse("without-preemption", asked))))


@settings(max_examples=40, deadline=None)
@given(problems(), st.data())
def test_more_capacity_never_serves_less(asked: Problem, data: st.DataObject) -> None:
    """One demand: whatever is added, who started before still does, or someone served earlier does now instead."""
    asked = replace(asked, pending=asked.pending[:1])
    like = data.draw(st.sampled_from(asked.nodes)).id
    found = compare(asked, [AddNodes(like, data.draw(st.integers(1, 3)))], _greedy)
    assert admitted(found.before) <= admitted(found.after)
    assert score(asked, found.before).service[0][0] <= bool(admitted(found.after))


@settings(max_examples=40, deadline=None)
@given(problems(), st.data())
def test_nothing_new_comes_to_a_node_that_drains(asked: Problem, data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(asked.nodes)).id
    drained = apply(asked, DrainNode(gone))
    plan = _greedy(drained)
    assert not violations(drained, plan)
    assert all(gone not in grant.nodes for grant in plan.grants)


def test_the_command_shows_both_plans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, more = _written(tmp_path)
    arguments = ["solve", str(file), "--planner", "greedy", "--what-if", "add 2 h100", "--what-if", f"submit {more}"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith("What if add 2 h100, then submit ")
    assert "big      t       waits capacity" in out
    assert "extra    t       not there" in out
    assert main([*arguments, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["workloads"][0]["now"] == {"state": "waits", "detail": "capacity"}
    assert set(answer["terms"]["admitted"]) == {"unit", "now", "then"}


@pytest.mark.parametrize("change, message", [("add 4 h200", "H100"), ("submit {folder}/none.yaml", "cannot be read"),
                                             ("submit {folder}/taken.yaml", "two workloads are named 'big'"),
                                             ("fly", "; ".join(GRAMMAR))])  # fmt: skip
def test_a_wrong_what_if_ends_with_status_2(
    change: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, _ = _written(tmp_path)
    assert main(["solve", str(file), "--what-if", change.replace("{folder}", str(tmp_path))]) == 2
    assert message in capsys.readouterr().err
    assert main(["solve", str(tmp_path), "--what-if", "add h100"]) == 2


def _written(folder: Path) -> tuple[Path, Path]:
    file, more = folder / "cluster.yaml", folder / "more.yaml"
    file.write_text(
        "nodes: [{name: a, resources: {GPU: 8}, labels: {ray.io/accelerator-type: H100}}]\n"
        "tenants: [{name: t}]\n"
        "running: [{name: old, tenant: t, bundles: [{resources: {GPU: 8}}], nodes: [a]}]\n"
        "pending: [{name: big, tenant: t, bundles: [{resources: {GPU: 8}}]}]\n"
    )
    more.write_text("pending: [{name: extra, tenant: t, bundles: [{resources: {GPU: 1}}]}]\n")
    (folder / "taken.yaml").write_text("[{name: big, tenant: t, bundles: [{resources: {GPU: 1}}]}]\n")
    return file, more


def test_a_change_of_nothing_changes_nothing() -> None:
    plan = _greedy(CLUSTER)
    assert compare(CLUSTER, [], _greedy).before == plan
    assert not compare(CLUSTER, [], _greedy).changed
    assert TenantId("vision") in {lot.tenant for lot in compare(CLUSTER, [], _greedy).lots}
    assert DemandId("wide") in plan.waiting
