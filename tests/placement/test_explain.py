"""The reason of a wait is the first that explains it, and each hint is true."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from placement.explain import explain, explain_plan
from placement.model import Cause, DemandId, Grant, NodeId, Plan, Preemption, Problem, Reason, Waiting
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.scenario import Scenario, load_scenario, parse_scenario

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.yaml"))


def _solved(text: str) -> tuple[Problem, Plan]:
    problem = parse_scenario(text).problem
    return problem, explain_plan(problem, Greedy()(problem, Budget()))


def _why(text: str, name: str = "w") -> Waiting:
    _, plan = _solved(text)
    assert name in plan.waiting, f"{name} does not wait"
    return plan.waiting[DemandId(name)]


def _one(nodes: str, bundles: str, more: str = "", running: str = "[]", tenants: str = "[{name: t}]") -> str:
    return f"""
now_s: 1000
nodes: {nodes}
tenants: {tenants}
running: {running}
pending: [{{name: w, tenant: t, bundles: {bundles}, {more}}}]
"""


TWO = "[{name: a, resources: {GPU: 4}, labels: {zone: z1}}, {name: b, resources: {GPU: 4}, labels: {zone: z2}}]"
FULL_A = "[{name: r, tenant: t, bundles: [{resources: {GPU: 4}}], nodes: [a], preemptible: false}]"
GPU4 = "[{resources: {GPU: 4}}]"

REASONS = {
    "more than the whole cluster": (
        _one(TWO, "[{count: 3, resources: {GPU: 4}}]"),
        Reason.UNSATISFIABLE,
        "needs 12 GPU in 3 bundles; the whole",
    ),
    "a bundle that no node holds": (
        _one(TWO, "[{resources: {GPU: 5}}]"),
        Reason.UNSATISFIABLE,
        "no node holds it (the most on one node: 4 GPU)",
    ),
    "one and a half devices": (
        _one(TWO, "[{resources: {GPU: 1.5}}]"),
        Reason.UNSATISFIABLE,
        "a fraction of a GPU must fit one device",
    ),
    "a resource that nobody has": (
        _one(TWO, "[{resources: {TPU: 1}}]"),
        Reason.UNSATISFIABLE,
        "the whole cluster has 0 TPU",
    ),
    "a gang beyond the cluster in a cluster without nodes": (
        "tenants: [{name: t, quota: {CPU: 2}}]\npending: [{name: w, tenant: t, bundles: [{resources: {CPU: 3}}]}]",
        Reason.UNSATISFIABLE,
        "the whole cluster has 2 CPU",
    ),
    "a selector that no node meets": (
        _one(TWO, "[{resources: {GPU: 1}, selector: {zone: z9}}]"),
        Reason.SELECTOR,
        "none of 2 nodes has zone=z9",
    ),
    "a selector whose nodes are too few": (
        _one(TWO, "[{count: 2, resources: {GPU: 4}, selector: {zone: z1}}]"),
        Reason.SELECTOR,
        "what the selector zone=z1 allows (1 node) has 4 GPU, the other nodes 4 GPU",
    ),
    "a selector whose nodes are taken while others are idle": (
        _one(TWO, "[{resources: {GPU: 4}, selector: {zone: z1}}]", running=FULL_A),
        Reason.SELECTOR,
        "allows (1 node) has idle 0 GPU, the other nodes 4 GPU",
    ),
    "a rack too small": (
        _one(TWO, "[{count: 2, resources: {GPU: 4}}]", "topology: {pack: zone, required: true}"),
        Reason.TOPOLOGY,
        "within one zone; the roomiest of 2 (z1) has 4 GPU",
    ),
    "a label that no node has": (
        _one(TWO, "[{resources: {GPU: 1}}]", "topology: {pack: rack, required: true}"),
        Reason.TOPOLOGY,
        "no node that it may use has that label",
    ),
    "too few places to spread over": (
        _one(TWO, "[{count: 3, resources: {GPU: 1}}]", "topology: {spread: node, required: true}"),
        Reason.TOPOLOGY,
        "each on another node; 2 of 2 have room for one",
    ),
    "a node that is draining": (
        _one(TWO.replace("zone: z2}", "zone: z2}, state: draining"), GPU4, running=FULL_A),
        Reason.DRAINED,
        "it would fit with b (draining)",
    ),
    "all that could hold it is down": (
        _one(TWO.replace("zone: z2}", "zone: z2}, state: down"), "[{count: 2, resources: {GPU: 4}}]"),
        Reason.DRAINED,
        "it would fit with b (down)",
    ),
    "a limit of its tenant": (
        _one(TWO, GPU4, running=FULL_A, tenants="[{name: t, limit: {GPU: 6}}]"),
        Reason.QUOTA,
        "needs 4 GPU; tenant t uses 4 of its limit 6",
    ),
    "a limit of an ancestor": (
        _one(TWO, GPU4, running=FULL_A, tenants="[{name: top, limit: {GPU: 6}}, {name: t, parent: top}]"),
        Reason.QUOTA,
        "tenant top uses 4 of its limit 6",
    ),
    "no more to borrow": (
        _one(TWO, GPU4, running=FULL_A, tenants="[{name: t, quota: {GPU: 4}, borrow_limit: {GPU: 2}}]"),
        Reason.QUOTA,
        "tenant t uses 4 of its quota 4 and may borrow 2 above it",
    ),
    "others who do not lend": (
        _one(
            TWO,
            GPU4,
            running=FULL_A,
            tenants="[{name: t, quota: {GPU: 4}}, {name: o, quota: {GPU: 4}, lend_limit: {GPU: 1}}]",
        ),
        Reason.QUOTA,
        "the others lend no more GPU",
    ),
    "a limit comes before a shortage": (
        _one("[{name: a, resources: {GPU: 4}}]", GPU4, running=FULL_A, tenants="[{name: t, limit: {GPU: 6}}]"),
        Reason.QUOTA,
        "limit 6",
    ),
    "more important work": (
        _one("[{name: a, resources: {GPU: 4}}]", GPU4, running=FULL_A.replace("name: r,", "name: r, priority: 5,")),
        Reason.PRIORITY,
        "more important work holds 4 GPU: r (priority 5)",
    ),
    "enough in all but scattered": (
        _one(
            "[{name: a, resources: {GPU: 4}}, {name: b, resources: {GPU: 4}}]",
            GPU4,
            running=("[{name: r, tenant: t, bundles: [{count: 2, resources: {GPU: 1}}], nodes: [a, b]}]"),
        ),
        Reason.FRAGMENTATION,
        "6 GPU idle on 2 ready nodes, but scattered: room for 0 of its 1 bundle of 4 GPU",
    ),
    "fractions that would share a device": (
        _one(
            "[{name: a, resources: {GPU: 2}}]",
            "[{resources: {GPU: 0.6}}]",
            running=("[{name: r, tenant: t, bundles: [{count: 2, resources: {GPU: 0.6}}], nodes: [a, a]}]"),
        ),
        Reason.FRAGMENTATION,
        "0.8 GPU idle",
    ),
    "not enough in all": (
        _one("[{name: a, resources: {GPU: 4}}]", GPU4, running=FULL_A),
        Reason.CAPACITY,
        "needs 4 GPU; 0 GPU idle on 1 ready node",
    ),
}


@pytest.mark.parametrize("text, reason, words", REASONS.values(), ids=REASONS.keys())
def test_the_first_reason_that_explains_the_wait_is_given_with_its_numbers(
    text: str, reason: Reason, words: str
) -> None:
    why = _why(text)
    assert (why.reason, words in why.detail) == (reason, True), why


def test_a_waiting_gang_that_is_next_is_named_to_those_behind_it() -> None:
    problem = parse_scenario("""
nodes: [{name: n, count: 4, resources: {GPU: 1}}]
tenants: [{name: t, quota: {GPU: 4}}]
running: [{name: r, tenant: t, priority: 9, bundles: [{resources: {GPU: 1}}], nodes: [n-0]}]
pending:
  - {name: big, tenant: t, priority: 5, bundles: [{count: 4, resources: {GPU: 1}}]}
  - {name: w, tenant: t, priority: 1, preemptible: false, bundles: [{resources: {GPU: 1}}]}
""").problem
    plan = Plan(waiting={demand.id: Waiting(Reason.CAPACITY, "") for demand in problem.pending})
    why = explain_plan(problem, plan).waiting[DemandId("w")]
    assert why.reason is Reason.PRIORITY
    assert "big (tenant t, priority 5) is ahead and holds its claim" in why.detail
    assert why.would_run_if[0] == "big started, or waited no longer"


ONE_TYPE = (
    "[{name: h, resources: {GPU: 4}, labels: {ray.io/accelerator-type: H100}}, "
    "{name: a, resources: {GPU: 4}, labels: {ray.io/accelerator-type: A100}}]"
)

HINTS = {
    "fewer bundles": (
        _one("[{name: a, resources: {GPU: 3}}]", "[{count: 4, resources: {GPU: 1}}]"),
        "it were content with 3 bundles instead of 4 (3 GPU)",
    ),
    "another type": (
        _one(
            ONE_TYPE,
            "[{resources: {GPU: 4}, selector: {ray.io/accelerator-type: H100}}]",
            running=FULL_A.replace("[a]", "[h]"),
        ),
        "it took ray.io/accelerator-type A100",
    ),
    "a wish instead of a must": (
        _one(TWO, "[{count: 2, resources: {GPU: 4}}]", "topology: {pack: zone, required: true}"),
        "its topology (pack zone) were preferred, not required",
    ),
    "a limit raised": (
        _one(TWO, GPU4, running=FULL_A, tenants="[{name: t, limit: {GPU: 6}}]"),
        "the limit of tenant t rose by 2 GPU",
    ),
    "two limits raised": (
        _one(
            TWO,
            GPU4,
            running=FULL_A,
            tenants="[{name: top, limit: {GPU: 5}}, {name: t, parent: top, borrow_limit: {GPU: 6}}]",
        ),
        "the borrow limit of tenant t rose by 2 GPU and the limit of tenant top rose by 3 GPU",
    ),
    "a node back": (
        _one(TWO.replace("zone: z2}", "zone: z2}, state: draining"), GPU4, running=FULL_A),
        "node b were ready (draining now)",
    ),
    "a neighbour's end": (
        _one("[{name: a, resources: {GPU: 4}}]", GPU4, running=FULL_A.replace("name: r,", "name: r, runtime_s: 1600,")),
        "r ended (likely in 10 min)",
    ),
    "a neighbour whose end nobody knows": (
        _one("[{name: a, resources: {GPU: 4}}]", GPU4, running=FULL_A),
        "r ended (when is not known)",
    ),
    "one more node": (
        _one("[{name: a, resources: {GPU: 4}}]", GPU4, running=FULL_A),
        "there were 1 more node like a (4 GPU)",
    ),
}


@pytest.mark.parametrize("text, hint", HINTS.values(), ids=HINTS.keys())
def test_a_waiting_workload_is_told_what_would_let_it_run(text: str, hint: str) -> None:
    assert hint in _why(text).would_run_if


def test_what_would_not_help_is_not_advised() -> None:
    hints = _why(_one(TWO, "[{resources: {GPU: 5}, selector: {zone: z1}}]", running=FULL_A)).would_run_if
    assert hints == ()


def test_only_the_neighbours_that_must_end_are_named() -> None:
    why = _why(
        _one(
            "[{name: a, resources: {GPU: 4}}, {name: b, resources: {GPU: 2}}]",
            GPU4,
            running="""[
  {name: first, tenant: t, runtime_s: 1100, bundles: [{resources: {GPU: 2}}], nodes: [b]},
  {name: second, tenant: t, runtime_s: 1200, bundles: [{resources: {GPU: 4}}], nodes: [a]}]""",
        )
    )
    assert "second ended (likely in 200 s)" in why.would_run_if or "second ended (likely in 3 min)" in why.would_run_if


def test_what_the_plan_itself_starts_counts_as_used() -> None:
    problem, plan = _solved("""
nodes: [{name: a, resources: {GPU: 4}}]
tenants: [{name: t}]
pending:
  - {name: first, tenant: t, priority: 1, bundles: [{resources: {GPU: 3}}]}
  - {name: w, tenant: t, bundles: [{resources: {GPU: 2}}]}
""")
    assert [grant.demand for grant in plan.grants] == ["first"]
    assert plan.waiting[DemandId("w")].reason is Reason.PRIORITY
    assert "1 GPU idle" in plan.waiting[DemandId("w")].detail
    assert "waiting (priority)" in str(explain(problem, plan, DemandId("w")))


def test_a_displaced_workload_and_its_displacer_are_told_of_each_other() -> None:
    problem = parse_scenario("""
nodes: [{name: a, resources: {GPU: 4}, labels: {zone: z1}}]
tenants: [{name: t}]
running: [{name: old, tenant: t, bundles: [{resources: {GPU: 4}}], nodes: [a]}]
pending: [{name: new, tenant: t, priority: 7, bundles: [{count: 2, resources: {GPU: 2}, selector: {zone: z1}}]}]
""").problem
    plan = Plan(
        grants=(Grant(DemandId("new"), (NodeId("a"), NodeId("a"))),),
        preemptions=(Preemption(DemandId("old"), Cause.PRIORITY, (DemandId("new"),)),),
    )
    new, old = explain(problem, plan, DemandId("new")), explain(problem, plan, DemandId("old"))
    assert (new.state, new.nodes) == ("admitted", ("a", "a"))
    assert new.because[0] == "starts on a (x2)"
    assert "these nodes have zone=z1, as it asks" in new.because
    assert new.because[-1] == "it is more important than old, whose place it takes"
    assert old.state == "preempted"
    assert old.because == ("new (tenant t, priority 7) is more important than its priority 0",)


def test_running_work_is_told_that_it_keeps_its_nodes() -> None:
    problem, plan = _solved(_one(TWO, GPU4, running=FULL_A))
    told = explain(problem, plan, DemandId("r"))
    assert (told.state, told.nodes, told.reason) == ("running", ("a",), None)
    assert "it may not be preempted" in told.because


def test_nobody_waits_so_nothing_is_explained() -> None:
    problem, plan = _solved(_one(TWO, GPU4))
    assert explain_plan(problem, plan) is plan


def test_hundreds_of_waiting_gangs_on_a_thousand_nodes_are_explained_within_seconds() -> None:
    pending = "\n".join(
        f"  - {{name: w{i}, tenant: t, bundles: [{{count: {8 + i % 40}, resources: {{CPU: 1, GPU: 8}}}}]}}"
        for i in range(400)
    )
    running = "\n".join(
        f"  - {{name: r{i}, tenant: t, bundles: [{{resources: {{GPU: 8}}}}], nodes: [n-{i}], runtime_s: {i}}}"
        for i in range(1000)
    )
    scenario = parse_scenario(
        "nodes: [{name: n, count: 1000, resources: {CPU: 64, GPU: 8}}]\ntenants: [{name: t}]\n"
        f"running:\n{running}\npending:\n{pending}\n"
    )
    unknown = Waiting(Reason.CAPACITY, "")
    plan = Plan(waiting={demand.id: unknown for demand in scenario.problem.pending})
    started_s = time.process_time()
    explained = explain_plan(scenario.problem, plan)
    assert time.process_time() - started_s < 10
    assert {why.reason for why in explained.waiting.values()} == {Reason.CAPACITY}
    assert all(why.would_run_if for why in explained.waiting.values())
    fewer = explain_plan(scenario.problem, plan, most_hints=1)
    assert [bool(fewer.waiting[DemandId(name)].would_run_if) for name in ("w0", "w1", "w40")] == [True, False, True]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_reasons_that_a_scenario_expects_are_given(path: Path) -> None:
    scenario: Scenario = load_scenario(path)
    plan = explain_plan(scenario.problem, Greedy()(scenario.problem, Budget()))
    got = {name: plan.waiting[DemandId(name)].reason for name, _ in scenario.expect.reasons}
    assert got == dict(scenario.expect.reasons)


def test_renaming_everything_changes_no_reason() -> None:
    for text, reason, _ in REASONS.values():
        problem, plan = _solved(text)
        twin = replace(problem, pending=tuple(replace(d, id=DemandId(f"x{d.id}")) for d in problem.pending))
        twin_plan = replace(plan, waiting={DemandId(f"x{name}"): why for name, why in plan.waiting.items()})
        assert explain_plan(twin, twin_plan).waiting[DemandId("xw")].reason is reason
