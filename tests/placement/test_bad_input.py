"""Bad input ends in an error with its place, or in an answer that says what is wrong; never in a wrong plan."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from placement.check import violations
from placement.explain import explain_plan
from placement.model import DemandId, Plan, Problem, Reason, Topology
from placement.planners import ladder
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from placement.scenario import ScenarioError, parse_scenario
from tests.placement.builders import admitted, node, problem, tenant, want

TOP = "nodes: [{name: a, resources: {GPU: 8}}]\ntenants: [{name: t, quota: {GPU: 4}}]\n"


def pending(keys: str) -> str:
    return TOP + f"pending: [{{name: x, tenant: t, bundles: [{{resources: {{GPU: 1}}}}], {keys}}}]\n"


def top(keys: str) -> str:
    return TOP + keys + "\n"


REFUSED = {
    "a negative amount": (
        pending("alternatives: [{bundles: [{resources: {GPU: -1}}]}]"),
        "pending[0].alternatives[0].bundles[0].resources.GPU",
    ),
    "an amount that is no number": (top("expected: [{resources: {GPU: .nan}}]"), "expected[0].resources.GPU"),
    "far too much memory": (top("expected: [{resources: {memory: 1e21}}]"), "expected[0].resources.memory"),
    "an alternative without bundles": (pending("alternatives: [{bundles: []}]"), "has no bundle"),
    "an alternative with a minimum above all": (
        pending("alternatives: [{bundles: [{resources: {GPU: 1}}], min_bundles: 2}]"),
        "alternatives[0].min_bundles",
    ),
    "a throughput of zero": (
        pending("alternatives: [{bundles: [{resources: {GPU: 1}}], throughput: 0}]"),
        "alternatives[0].throughput",
    ),
    "an unknown key in an alternative": (
        pending("alternatives: [{bundle: []}]"),
        "alternatives[0].bundle: unknown key; did you mean 'bundles'?",
    ),
    "scaling that is convex": (
        pending("bundles: [{count: 4, resources: {GPU: 1}}], scaling: {1: 1.0, 2: 3.0}").replace(
            "bundles: [{resources: {GPU: 1}}], ", "", 1
        ),
        "scaling.2",
    ),
    "scaling that falls": (
        pending("bundles: [{count: 4, resources: {GPU: 1}}], scaling: {1: 2.0, 2: 1.0}").replace(
            "bundles: [{resources: {GPU: 1}}], ", "", 1
        ),
        "scaling.2",
    ),
    "scaling of more bundles than there are": (pending("scaling: {2: 1.0}"), "scaling.2"),
    "scaling by words": (pending("scaling: {two: 1.0}"), "scaling.two"),
    "near an unknown node": (pending("near: [b]"), "near[0]: unknown node 'b'"),
    "work served before it was": (pending("served_s: -1"), "served_s"),
    "use that is no number": (pending("attained: .inf"), "attained"),
    "a slice of a spread": (pending("topology: {spread: rack, slice: 2}"), "topology.slice: belongs to pack"),
    "a skew of a pack": (pending("topology: {pack: rack, skew: 1}"), "topology.skew: belongs to spread"),
    "a skew of zero": (pending("topology: {spread: rack, skew: 0}"), "topology.skew"),
    "slices that do not nest": (
        pending("topology: [{pack: rack, slice: 2}, {pack: zone, slice: 3}]"),
        "topology: has slices of 2 and of 3",
    ),
    "a level in a list that says nothing": (pending("topology: [{required: true}]"), "topology[0]"),
    "an aim that nobody knows": (top("policy: {objective: best}"), "policy.objective"),
    "ageing in no time": (top("policy: {ageing_s: 0}"), "policy.ageing_s"),
    "a slice of no time": (top("policy: {time_slice_s: -5}"), "policy.time_slice_s"),
    "interference of two": (top("policy: {interference: [[a, b]]}"), "policy.interference[0]: has 2 entries"),
    "interference that speeds up": (top("policy: {interference: [[a, b, 1.5]]}"), "policy.interference[0][2]"),
    "interference said twice": (top("policy: {interference: [[a, b, 0.5], [a, b, 0.6]]}"), "says twice"),
    "a reservation of nothing": (
        top("reservations: [{name: m, starts_s: 0, ends_s: 1}]"),
        "reservations[0]: needs one",
    ),
    "a reservation of an unknown node": (
        top("reservations: [{name: m, nodes: [z], starts_s: 0, ends_s: 1}]"),
        "reservations[0].nodes[0]: unknown node 'z'",
    ),
    "a reservation that ends before it starts": (
        top("reservations: [{name: m, nodes: [a], starts_s: 5, ends_s: 5}]"),
        "reservations[0].ends_s",
    ),
    "a reservation for an unknown tenant": (
        top("reservations: [{name: m, nodes: [a], starts_s: 0, ends_s: 5, tenants: [q]}]"),
        "reservations[0].tenants[0]: unknown tenant 'q'",
    ),
    "a reservation whose selector matches nothing": (
        top("reservations: [{name: m, selector: {rack: r9}, starts_s: 0, ends_s: 5}]"),
        "reservations[0].selector: rack=r9 accepts no node",
    ),
    "two reservations of one name": (
        top(
            "reservations: [{name: m, nodes: [a], starts_s: 0, ends_s: 5}, "
            "{name: m, nodes: [a], starts_s: 6, ends_s: 7}]"
        ),
        "reservations[1]: two reservations are named 'm'",
    ),
    "expected without resources": (top("expected: [{weight: 1}]"), "expected[0]: has no 'resources'"),
    "an expected weight below zero": (top("expected: [{resources: {GPU: 1}, weight: -1}]"), "expected[0].weight"),
    "a tree in a circle": (
        "tenants: [{name: a, parent: b}, {name: b, parent: a}]",
        "tenants[0].parent: the tree of tenants goes in a circle",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_wrong_is_refused_with_its_place(name: str) -> None:
    text, place = REFUSED[name]
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text)
    assert place in str(caught.value)
    assert caught.value.line is not None


def _with(**changes: object) -> Problem:
    p = problem([node("a", gpu=8)], [tenant("t", {"gpu": 4})], [want("x", gpu=1)])
    return replace(p, **changes)  # type: ignore[arg-type]


WEIRD = {
    "memory beyond all nodes": (_with(pending=(want("x", memory=10**15),)), Reason.UNSATISFIABLE),
    "a resource that no node has": (_with(pending=(want("x", moon=1),)), Reason.UNSATISFIABLE),
    "a selector that matches nothing": (_with(pending=(want("x", gpu=1, selector={"rack": "r9"}),)), Reason.SELECTOR),
    "a topology without labels": (_with(pending=(want("x", 2, gpu=1, pack="rack", required=True),)), Reason.TOPOLOGY),
    "slices without labels": (
        _with(pending=(want("x", 4, gpu=1, levels=[Topology("pack", "rack", True, slice=2)]),)),
        Reason.TOPOLOGY,
    ),
    "a limit below the quota": (
        _with(tenants=(tenant("t", {"gpu": 4}, limit={"gpu": 0}),)),
        Reason.QUOTA,
    ),
    "a parent's limit below its children's quotas": (
        _with(tenants=(tenant("p", {"gpu": 1}, limit={"gpu": 0}), tenant("t", {"gpu": 4}, "p"))),
        Reason.QUOTA,
    ),
    "lending below nothing": (
        _with(tenants=(tenant("t"), tenant("o", {"gpu": 8}, lend_limit={"gpu": 0}))),
        Reason.QUOTA,
    ),
    "a cluster without nodes": (_with(nodes=()), Reason.UNSATISFIABLE),
}


@pytest.mark.parametrize("planner", [Greedy(), CpSat()], ids=lambda planner: planner.name)
@pytest.mark.parametrize("name", WEIRD)
def test_what_cannot_run_waits_with_its_reason(name: str, planner: Planner) -> None:
    p, reason = WEIRD[name]
    plan = planner(p, Budget())
    assert violations(p, plan) == ()
    assert explain_plan(p, plan).waiting[DemandId("x")].reason is reason


def test_work_that_asks_for_nothing_starts() -> None:
    p = _with(pending=(want("x", 3),))
    for planner in (Greedy(), CpSat()):
        assert admitted(planner(p, Budget())) == {"x"}


@pytest.mark.parametrize(
    "levels",
    [
        (),
        (Topology("pack", "rack", True, slice=8),),
        (Topology("spread", "rack", True, skew=1),),
        (Topology("pack", "zone", True), Topology("pack", "rack", False, slice=4)),
    ],
    ids=["plain", "slices", "balance", "two levels"],
)
def test_ten_thousand_bundles_are_planned_in_seconds(levels: tuple[Topology, ...]) -> None:
    nodes = [node(f"n{i}", {"rack": f"r{i // 10}", "zone": "z"}, gpu=8) for i in range(1300)]
    p = problem(nodes, [tenant("t", {"gpu": 10_400})], [want("x", 10_000, gpu=1, levels=levels), want("y", gpu=1)])
    began = time.process_time()
    plan = ladder.plan(p)
    assert admitted(plan) == {"x", "y"}
    assert time.process_time() - began < 20


class _Broken:
    name = "broken"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        raise MemoryError("no more")


class _Wrong:
    name = "wrong"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        return Plan()


@pytest.mark.parametrize("bad", [_Broken(), _Wrong()], ids=lambda planner: planner.name)
def test_a_planner_that_fails_is_passed_over_and_named(bad: Planner) -> None:
    plan = ladder.plan(_with(), planners=(bad, Greedy()))
    assert admitted(plan) == {"x"}
    assert [rung.split(":")[0] for rung in plan.stats.fallbacks] == [bad.name]


def test_a_solver_without_time_still_answers() -> None:
    p = _with(pending=tuple(want(f"x{i}", 2, gpu=2) for i in range(4)))
    plan = ladder.plan(p, Budget(wall_s=1e-6, deterministic_s=1e-6))
    assert len(plan.grants) == 2
    assert violations(p, plan) == ()
