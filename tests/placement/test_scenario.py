"""Scenario files are read strictly: good ones whole, bad ones with where, what and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from placement.model import (
    Borrow,
    NodeState,
    PreemptionPolicy,
    Reason,
    Reclaim,
    Resources,
    Topology,
    Within,
)
from placement.scenario import ScenarioError, load_scenario, parse_scenario

FULL = """
name: everything that the format knows
now_s: 1000
policy:
  fairness: drf
  preemption: {within: never}
  backfill: false
  migration: true
nodes:
  - {name: a, count: 2, resources: {CPU: 32, GPU: 8, memory: 256GiB}, labels: {zone: z1, rack: 7}}
  - {name: b, resources: {CPU: 0.5}, state: draining, foreign: {CPU: 0.25}}
tenants:
  - {name: research, weight: 2, quota: {GPU: 8}}
  - name: vision
    parent: research
    borrow_limit: {GPU: 0}
    lend_limit: {GPU: 2}
    limit: {GPU: 16}
    preemption: {reclaim: lower_priority}
    usage: {GPU: 3600.5}
running:
  - name: old
    tenant: vision
    bundles: [{count: 2, resources: {CPU: 1, GPU: 4}, selector: {zone: "in(z2,z1)"}}]
    nodes: [a-0, a-1]
    started_s: 100
    runtime_s: 3600
    min_bundles: 1
    preemptible: false
pending:
  - name: new
    tenant: research
    priority: 10
    submitted_s: 990
    bundles: [{count: 8, resources: {CPU: 2, GPU: 1}}]
    min_bundles: 4
    topology: {pack: rack, required: true}
    speed: {H100: 2.0}
    deadline_s: 1e4
expect:
  admitted: [new]
  preempted: []
  waiting: []
  reasons: {old: quota}
  nodes: {new: [a-0, a-0]}
  bundles: {new: 8}
  preempted_count: 0
  preempted_by_tenant: {vision: 0}
"""


def test_every_key_of_the_format_is_read() -> None:
    scenario = parse_scenario(FULL, "full.yaml")
    problem, expect = scenario.problem, scenario.expect
    assert scenario.name == "everything that the format knows"
    assert (problem.now_s, problem.policy.backfill, problem.policy.migration) == (1000, False, True)
    assert [node.id for node in problem.nodes] == ["a-0", "a-1", "b"]
    assert problem.nodes[0].resources == Resources.of({"CPU": 32_000, "GPU": 8_000, "memory": 256 * 2**30})
    assert problem.nodes[0].label("rack") == "7"
    assert problem.nodes[2].state is NodeState.DRAINING
    assert problem.foreign == {"b": Resources.of({"CPU": 250})}
    research, vision = problem.tenants
    assert (research.parent, research.weight, research.preemption) == (None, 2.0, None)
    assert (vision.quota, vision.borrow_limit, vision.lend_limit) == (None, (("GPU", 0),), (("GPU", 2000),))
    assert vision.limit == (("GPU", 16_000),)
    assert vision.usage == (("GPU", 3600.5),)
    assert vision.preemption == PreemptionPolicy(Within.NEVER, Reclaim.LOWER_PRIORITY, Borrow.NEVER)
    old = problem.running[0]
    assert (old.nodes, old.started_s, old.demand.min_bundles, old.demand.preemptible) == (("a-0", "a-1"), 100, 1, False)
    assert str(old.demand.bundles[0].selector) == "zone=in(z1,z2)"
    new = problem.pending[0]
    assert (len(new.bundles), new.min_bundles, new.submitted_s, new.deadline_s) == (8, 4, 990, 10_000)
    assert (new.topologies, new.speed) == ((Topology("pack", "rack", True),), (("H100", 2.0),))
    assert expect.reasons == (("old", Reason.QUOTA),)
    assert expect.nodes == (("new", ("a-0", "a-0")),)
    assert expect.preempted_by_tenant == (("vision", 0),)


def test_without_nodes_one_node_holds_the_sum_of_the_topmost_quotas() -> None:
    scenario = parse_scenario("""
tenants:
  - {name: top, quota: {CPU: 10}}
  - {name: below, parent: top, quota: {CPU: 7}}
  - {name: unnamed}
  - {name: child, parent: unnamed, quota: {CPU: 5, GPU: 1}}
running: [{name: r, tenant: child, bundles: [{count: 2, resources: {CPU: 1}}]}]
""")
    (node,) = scenario.problem.nodes
    assert node.resources == Resources.of({"CPU": 15_000, "GPU": 1_000})
    assert scenario.problem.running[0].nodes == (node.id, node.id)


def test_a_newcomer_without_a_time_arrived_now() -> None:
    assert (
        parse_scenario("""
now_s: 50
tenants: [{name: t}]
pending: [{name: p, tenant: t, bundles: [{resources: {CPU: 1}}]}]
""")
        .problem.pending[0]
        .submitted_s
        == 50
    )


def test_a_count_of_one_leaves_the_name_as_it_is() -> None:
    scenario = parse_scenario("nodes: [{name: a, count: 1, resources: {CPU: 1}}]")
    assert [node.id for node in scenario.problem.nodes] == ["a"]


def test_a_running_elastic_gang_may_hold_fewer_nodes_than_it_could() -> None:
    scenario = parse_scenario("""
nodes: [{name: a, resources: {CPU: 4}}]
tenants: [{name: t}]
running: [{name: r, tenant: t, bundles: [{count: 4, resources: {CPU: 1}}], min_bundles: 2, nodes: [a, a, a]}]
""")
    assert len(scenario.problem.running[0].nodes) == 3


def test_topology_over_a_label_that_no_node_has_is_no_error_of_the_file() -> None:
    scenario = parse_scenario(_pending("topology: {pack: rack, required: true}"))
    assert scenario.problem.pending[0].topologies


def test_aliases_may_save_writing() -> None:
    scenario = parse_scenario("""
nodes:
  - {name: a, resources: &big {CPU: 8}}
  - {name: b, resources: *big}
""")
    assert scenario.problem.nodes[0].resources == scenario.problem.nodes[1].resources


def _pending(more: str = "", bundles: str = "[{resources: {CPU: 1}}]") -> str:
    return f"""
nodes: [{{name: a, resources: {{CPU: 4}}}}]
tenants: [{{name: t}}]
pending:
  - name: p
    tenant: t
    bundles: {bundles}
    {more}
"""


def _node(text: str) -> str:
    return f"nodes:\n  - name: a\n    {text}\n"


def _tenants(text: str) -> str:
    return f"tenants:\n{text}"


WRONG = {
    "unknown key at the top": ("tenant: []", "tenant: unknown key; did you mean 'tenants'?"),
    "unknown key in a node": (_node("resources: {CPU: 1}\n    lables: {}"), "nodes[0].lables: unknown key; did you"),
    "unknown key in a bundle": (_pending(bundles="[{resource: {CPU: 1}}]"), "bundles[0].resource: unknown key; did"),
    "unknown key in expect": ("expect: {admited: []}", "expect.admited: unknown key; did you mean 'admitted'?"),
    "unknown reason": ("expect: {reasons: {x: quotas}}", "expect.reasons.x: is 'quotas'; did you mean 'quota'?"),
    "no resources": (_node("state: ready"), "nodes[0]: has no 'resources'; add `resources: ...`"),
    "a unit that is none": (_node("resources: {memory: 4GB}"), "nodes[0].resources.memory: '4GB' is not an amount"),
    "a unit where none belongs": (_node("resources: {CPU: 4GiB}"), "resources.CPU: '4GiB' has a unit of memory"),
    "a negative amount": (_node("resources: {GPU: -1}"), "nodes[0].resources.GPU: -1 is not an amount"),
    "not a number": (_node("resources: {GPU: .nan}"), "nodes[0].resources.GPU: nan is not a finite amount"),
    "an infinite amount": (_node("resources: {GPU: .inf}"), "resources.GPU: inf is not a finite amount"),
    "a huge amount": (_node("resources: {GPU: 1e30}"), "resources.GPU: '1e30' is too large"),
    "a huger amount": (_node("resources: {GPU: 1e999999999}"), "resources.GPU: '1e999999999' is not an amount"),
    "a finer amount": (_node("resources: {GPU: 0.0001}"), "resources.GPU: 0.0001 is finer than 0.001"),
    "true is no amount": (_node("resources: {GPU: yes}"), "resources.GPU: True is not an amount"),
    "a list is no amount": (_node("resources: {GPU: [1]}"), "resources.GPU: is a list, not an amount"),
    "no state": (_node("resources: {CPU: 1}\n    state: drained"), "state: is 'drained'; did you mean 'draining'?"),
    "no nodes of a kind": (_node("resources: {CPU: 1}\n    count: 0"), "count: is 0, must be 1 to"),
    "far too many nodes": (_node("resources: {CPU: 1}\n    count: 10000000"), "count: is 10000000, must be 1 to"),
    "a label that YAML takes for false": (_node("resources: {CPU: 1}\n    labels: {zone: no}"), "quotes: 'no'"),
    "two nodes of one name": (
        "nodes: [{name: a-1, resources: {CPU: 1}}, {name: a, count: 2, resources: {CPU: 1}}]",
        "nodes[1].name: two nodes are named 'a-1'; rename one",
    ),
    "two tenants of one name": (_tenants("  - {name: t}\n  - {name: t}"), "tenants[1].name: two tenants are named 't'"),
    "a tenant named root": (_tenants("  - {name: root}"), "tenants[0].name: 'root' is the root of the tree"),
    "an unknown parent": (_tenants("  - {name: t, parent: resarch}\n  - {name: research}"), "did you mean 'research'?"),
    "a tree in a circle": (
        _tenants("  - {name: x}\n  - {name: a, parent: b}\n  - {name: b, parent: c}\n  - {name: c, parent: b}"),
        "the tree of tenants goes in a circle: b -> c -> b",
    ),
    "a tenant under itself": (_tenants("  - {name: a, parent: a}"), "tenants[0].parent: the tree of tenants goes in a"),
    "hardly any weight": (_tenants("  - {name: a, weight: 1e-9}"), "tenants[0].weight: is 1e-09; a weight is 0 or a"),
    "negative weight": (_tenants("  - {name: a, weight: -1}"), "tenants[0].weight: is -1"),
    "negative usage": (_tenants("  - {name: a, usage: {GPU: -3}}"), "tenants[0].usage.GPU: is -3"),
    "a limit for nothing in particular": (_tenants("  - {name: a, borrow_limit: 0}"), "borrow_limit: is '0', not a"),
    "an unknown rule": (_tenants("  - {name: a, preemption: {within: always}}"), "one of lower_or_newer, lower_prior"),
    "an unknown fairness": ("policy: {fairness: drff}", "policy.fairness: 'drff' is no fairness policy; did you mean"),
    "an unknown tenant": (_pending().replace("tenant: t", "tenant: vision"), "tenant: unknown tenant 'vision'"),
    "two workloads of one name": (
        _pending() + "  - {name: p, tenant: t, bundles: [{resources: {CPU: 1}}]}",
        "pending[1].name: two workloads are named 'p'",
    ),
    "no bundle": (_pending(bundles="[]"), "pending[0].bundles: has no bundle"),
    "too many bundles": (_pending(bundles="[{count: 10001, resources: {CPU: 1}}]"), "count: is 10001, must be 1 to"),
    "too many bundles in all": (
        _pending(bundles="[{count: 9999, resources: {CPU: 1}}, {count: 2, resources: {CPU: 1}}]"),
        "pending[0].bundles: more than 10000 bundles",
    ),
    "a count of none": (_pending(bundles="[{count: 0, resources: {CPU: 1}}]"), "bundles[0].count: is 0, must be 1 to"),
    "half a count": (_pending(bundles="[{count: 1.5, resources: {CPU: 1}}]"), "count: is '1.5', not a whole number"),
    "min_bundles 0": (_pending("min_bundles: 0"), "pending[0].min_bundles: is 0, must be 1 to 1"),
    "min_bundles above all": (_pending("min_bundles: 2"), "pending[0].min_bundles: is 2, must be 1 to 1"),
    "a priority beyond reason": (_pending("priority: 99999999999"), "pending[0].priority: is 99999999999"),
    "a runtime below zero": (_pending("runtime_s: -1"), "pending[0].runtime_s: is -1"),
    "a malformed selector": (
        _pending(bundles="[{resources: {CPU: 1}, selector: {zone: 'in(z1'}}]"),
        "selector.zone: 'in(z1' is no selector",
    ),
    "an empty selector": (
        _pending(bundles="[{resources: {CPU: 1}, selector: {zone: 'in()'}}]"),
        "selector.zone: 'in()' is no selector",
    ),
    "topology of two kinds": (_pending("topology: {pack: a, spread: b}"), "topology: needs one of pack and spread"),
    "topology of no kind": (_pending("topology: {required: true}"), "topology: needs one of pack and spread"),
    "topology of both minds": (
        _pending("topology: {pack: a, required: true, preferred: true}"),
        "topology.preferred: says the same",
    ),
    "speed 0": (_pending("speed: {H100: 0}"), "pending[0].speed.H100: is 0"),
    "a text for a flag": (_pending("preemptible: maybe"), "pending[0].preemptible: is 'maybe'; write true or false"),
    "running on an unknown node": (
        "nodes: [{name: node-1, resources: {CPU: 1}}]\ntenants: [{name: t}]\n"
        "running: [{name: r, tenant: t, bundles: [{resources: {CPU: 1}}], nodes: [node1]}]",
        "running[0].nodes[0]: unknown node 'node1'; did you mean 'node-1'?",
    ),
    "running on too few nodes": (
        "nodes: [{name: a, resources: {CPU: 1}}]\ntenants: [{name: t}]\n"
        "running: [{name: r, tenant: t, bundles: [{count: 2, resources: {CPU: 1}}], nodes: [a]}]",
        "running[0].nodes: names 1 nodes; name one for each of its 2 bundles",
    ),
    "running nowhere": (
        "nodes: [{name: a, resources: {CPU: 1}}]\ntenants: [{name: t}]\n"
        "running: [{name: r, tenant: t, bundles: [{resources: {CPU: 1}}]}]",
        "running[0]: has no 'nodes'",
    ),
    "nodes of a cluster that has none": (
        "tenants: [{name: t}]\nrunning: [{name: r, tenant: t, bundles: [{resources: {CPU: 1}}], nodes: [a]}]",
        "running[0].nodes: this scenario has no nodes",
    ),
    "a key given twice": ("name: a\nname: b", "scenario:2: name: is given twice"),
    "a list at the top": ("- a", "is a list, not a mapping"),
    "a word at the top": ("hello", "is 'hello', not a mapping"),
    "nothing at all": ("", "is empty"),
    "only a comment": ("# nothing", "is empty"),
    "broken YAML": ("nodes: [a\ntenants: b", "is no YAML"),
    "two documents": ("name: a\n---\nname: b", "is no YAML"),
    "nested without end": ("nodes: " + "[" * 100_000, "is nested more than 64 deep"),
    "a circle of aliases": ("nodes: &a [*a]", "nodes[0]: is a list, not a mapping"),
    "a merge key": ("x: &x {name: a}\nnodes: [{<<: *x}]", "x: unknown key"),
    "a lone surrogate": ('name: "\\ud800"', "is no YAML"),
    "a raw lone surrogate": ("name: \ud800", "is no YAML"),
    "a bell in a name": ('name: "ding \\a"', "name: 'ding \\x07' is no name"),
    "a bell in a key": (_node('resources: {"\\a": 1}'), "'\\x07' is no key"),
    "an empty name": (_node("resources: {CPU: 1}").replace("name: a", "name: ''"), "nodes[0].name: '' is no name"),
}


@pytest.mark.parametrize("text, message", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused_with_place_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("scenario")


def test_the_message_names_file_line_and_path() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario("name: x\nnodes:\n  - name: a\n    resources:\n      CPU: 1\n      GPU: many\n", "c.yaml")
    assert str(caught.value).startswith("c.yaml:6: nodes[0].resources.GPU: 'many' is not an amount; write ")
    assert (caught.value.line, caught.value.path) == (6, "nodes[0].resources.GPU")


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        load_scenario(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="is not UTF-8"):
        load_scenario(tmp_path / "binary.yaml")


_KEYS = st.sampled_from(
    [
        "name",
        "now_s",
        "policy",
        "nodes",
        "tenants",
        "running",
        "pending",
        "expect",
        "count",
        "resources",
        "labels",
        "state",
        "parent",
        "weight",
        "quota",
        "tenant",
        "bundles",
        "selector",
        "min_bundles",
        "topology",
        "GPU",
        "pack",
    ]
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


def _answer(text: str) -> str:
    try:
        return parse_scenario(text).name
    except ScenarioError as error:
        return str(error)


@given(st.dictionaries(_KEYS, _ANYTHING, max_size=6))
def test_any_document_is_read_or_refused_and_never_breaks(document: dict[str, object]) -> None:
    assert _answer(yaml.safe_dump(document))


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_never_breaks(text: str) -> None:
    assert _answer(text)
