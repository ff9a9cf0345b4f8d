"""The model refuses what nobody can reckon with; what it takes, the ladder answers soundly whatever goes wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from placement.check import violations
from placement.model import (
    Bundle,
    Demand,
    DemandId,
    Grant,
    Node,
    NodeId,
    Objective,
    Plan,
    Policy,
    Problem,
    Resources,
    Running,
    Tenant,
    TenantId,
    Topology,
    Waiting,
)
from placement.model.resources import LARGEST, MOST_DEVICES
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.bulk import is_large
from placement.planners.greedy import Greedy
from tests.placement.builders import admitted, amounts, node, problem, runs, tenant, want

NAN, INF = float("nan"), float("inf")
NODES = [node("a", {"rack": "r"}, gpu=4, cpu=8), node("b", gpu=4, cpu=8)]
T = [tenant("t", {"gpu": 4})]


def of(name: str, amount: float) -> Resources:
    return Resources(((name, amount),))  # type: ignore[arg-type]


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a bundle of minus one": (lambda: Bundle(of("GPU", -1000)), "-1000 of GPU"),
    "a bundle of nan": (lambda: Bundle(of("GPU", NAN)), "nan of GPU"),
    "a bundle of more than the largest": (lambda: Bundle(of("memory", LARGEST + 1)), "must be 0 to"),
    "a node of minus one": (lambda: Node(NodeId("a"), of("GPU", -1000)), "node a: -1000 of GPU"),
    "a node of 10^30": (lambda: Node(NodeId("a"), of("CPU", 10**30)), "node a"),
    "a node of too many GPUs": (lambda: Node(NodeId("a"), of("GPU", (MOST_DEVICES + 1) * 1000)), "at most 100000 GPUs"),
    "a quota of minus one": (lambda: replace(tenant("t"), quota=of("GPU", -1)), "tenant t: -1 of GPU"),
    "a limit of minus one": (lambda: replace(tenant("t"), limit=(("GPU", -1),)), "tenant t: -1 of GPU"),
    "a loan of minus one": (lambda: replace(tenant("t"), borrow_limit=(("GPU", -1),)), "tenant t: -1 of GPU"),
    "lending minus one": (lambda: replace(tenant("t"), lend_limit=(("GPU", -1),)), "tenant t: -1 of GPU"),
    "a weight of zero": (lambda: tenant("t", weight=0.0), "weight must be a positive number"),
    "a weight of nan": (lambda: tenant("t", weight=NAN), "weight must be a positive number"),
    "submitted at no time": (lambda: want("x", submitted_s=NAN), "submitted_s"),
    "submitted before all time": (lambda: want("x", submitted_s=-INF), "submitted_s"),
    "a runtime of nan": (lambda: want("x", runtime_s=NAN), "runtime_s"),
    "a speed of nan": (lambda: want("x", speed={"H100": NAN}), "speed"),
    "a speed without end": (lambda: want("x", speed={"H100": INF}), "speed"),
    "scaling below zero": (lambda: replace(want("x", 2), scaling=((1, -1.0),)), "scaling"),
    "no bundle": (lambda: Demand(DemandId("x"), TenantId("t"), ()), "1 to 10000 bundles, not 0"),
    "10,001 bundles": (lambda: want("x", 10_001), "1 to 10000 bundles, not 10001"),
    "a minimum above all": (lambda: want("x", 2, least=3), "min_bundles is 3"),
    "more nodes than bundles": (lambda: Running(want("r"), (NodeId("a"), NodeId("b"))), "stands on 2 nodes, has 1"),
    "ageing in no time": (lambda: Policy(ageing_s=0.0), "ageing_s is 0.0"),
    "ageing in nan": (lambda: Policy(ageing_s=NAN), "ageing_s is nan"),
    "a time slice below zero": (lambda: Policy(time_slice_s=-1.0), "time_slice_s is -1.0"),
    "neighbours that speed one up": (lambda: Policy(interference=(("a", "b", 1.5),)), "from 0 to 1"),
    "a tenant below itself": (lambda: problem(NODES, [tenant("t", parent="t")]), "circle: t -> t"),
    "a circle of tenants": (
        lambda: problem(NODES, [tenant("x", parent="a"), tenant("a", parent="b"), tenant("b", parent="a")]),
        "circle: a -> b -> a",
    ),
    "a tenant named root": (lambda: problem(NODES, [tenant("root")]), "'root' is the top"),
    "two tenants of one name": (lambda: problem(NODES, [tenant("t"), tenant("t")]), "two tenants"),
    "two nodes of one name": (lambda: problem([NODES[0], NODES[0]], T), "two nodes"),
    "two workloads of one name": (lambda: problem(NODES, T, [want("x")], [runs(want("x"), "a")]), "two workloads"),
    "an unknown tenant": (lambda: problem(NODES, T, [want("x", tenant="q")]), "unknown tenant 'q'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_nobody_can_reckon_with_cannot_be_made(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(said)):
        make()


def _tenants(*tenants: Tenant) -> Problem:
    return problem(NODES, tenants, [want("x", gpu=3), want("y", gpu=3, priority=1)])


def _work(*pending: Demand, running: tuple[Running, ...] = (), **policy: object) -> Problem:
    return problem(NODES, T, pending, running, policy=Policy(**policy))  # type: ignore[arg-type]


ODD: dict[str, Problem] = {
    "contradictory limits": _tenants(tenant("t", {"gpu": 4}, limit={"gpu": 0}, borrow_limit={"gpu": 0})),
    "lending more than the quota": _tenants(tenant("t", {"gpu": 1}, lend_limit={"gpu": 9})),
    "a child above its parent": _tenants(tenant("p", {"gpu": 1}), tenant("t", {"gpu": 40}, "p")),
    "an unknown parent": _tenants(tenant("t", {"gpu": 4}, "nobody")),
    "weights far apart": _tenants(tenant("t", weight=1e-300), tenant("u", weight=1e300)),
    "a fairness that nobody knows": _work(want("x", gpu=1), fairness="luck"),
    "past use below zero": replace(
        _tenants(replace(tenant("t"), usage=(("GPU", -1.0),))), policy=Policy(fairness="drf-usage")
    ),
    "runtimes of zero, below zero and without end": _work(
        want("x", gpu=4, runtime_s=0.0),
        want("y", 2, gpu=4, priority=1, runtime_s=-5.0),
        want("z", gpu=1, runtime_s=INF),
        running=(runs(want("r", gpu=4, runtime_s=-100.0), "a"),),
    ),
    "started in the future": _work(
        want("x", gpu=8), running=(runs(want("r", gpu=4, runtime_s=3.0), "a", started_s=1e9),)
    ),
    "priorities beyond 64 bits": _work(
        want("x", gpu=4, priority=10**18),
        want("y", gpu=4, priority=-(10**18)),
        running=(runs(want("r", gpu=4, priority=-(10**18)), "a"),),
    ),
    "nodes that are overfull": _work(want("x", gpu=1), running=(runs(want("r", 3, gpu=3), "a"),)),
    "work on nodes that are not there": _work(want("x", gpu=4), running=(runs(want("r", gpu=4), "gone"),)),
    "work below its minimum": _work(want("x", gpu=1), running=(Running(want("r", 3, gpu=1, least=2), (NodeId("a"),)),)),
    "work on no node": _work(want("x", gpu=1), running=(Running(want("r", gpu=1), ()),)),
    "inputs on nodes that are not there": _work(replace(want("x", gpu=1), near=(NodeId("gone"),))),
    "scaling of nothing": _work(replace(want("x", 4, gpu=1, least=1), scaling=((0, 0.0), (4, 0.0)))),
    "a deadline before all time": _work(replace(want("x", gpu=1), deadline_s=-INF)),
    "nothing that waits": _work(),
    "no node": problem([], T, [want("x", gpu=1)]),
    "only nodes that are down": problem([node("a", state="down", gpu=4)], T, [want("x", gpu=1)]),
    "more foreign use than there is": problem(
        NODES, T, [want("x", gpu=1)], foreign={"a": amounts({"gpu": 9}), "gone": amounts({"gpu": 1})}
    ),
    "topologies without labels": _work(
        want("x", 2, gpu=1, pack="zone", required=True),
        want("y", 2, gpu=1, levels=[Topology("spread", "zone", True, skew=1)]),
        want("z", 2, gpu=1, levels=[Topology("pack", "zone", True, slice=1)]),
        want("w", 2, gpu=1, spread="zone"),
    ),
    "the largest amounts": problem(
        [Node(NodeId("a"), of("memory", LARGEST)), Node(NodeId("b"), of("memory", LARGEST))],
        [replace(tenant("t"), quota=of("memory", LARGEST))],
        [replace(want(f"x{i}"), bundles=(Bundle(of("memory", LARGEST - i)),)) for i in range(3)],
    ),
    "10^15 bytes": problem(
        [node("a", memory=10**15), node("b", memory=10**15)],
        [tenant("t", {"memory": 2 * 10**15})],
        [want("x", memory=10**15), want("y", memory=10**15 - 1), want("z", memory=2)],
    ),
}


@pytest.mark.parametrize("objective", Objective, ids=lambda objective: objective.value)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_problem_has_a_sound_answer_whatever_the_aim(name: str, objective: Objective) -> None:
    p = replace(ODD[name], policy=replace(ODD[name].policy, objective=objective))
    assert violations(p, ladder.plan(p)) == ()


def test_ten_to_the_fifteen_bytes_are_counted_to_the_byte() -> None:
    for objective in Objective:
        p = replace(ODD["10^15 bytes"], policy=Policy(objective=objective))
        assert {"x", "y"} == admitted(ladder.plan(p))


def test_shares_that_cannot_be_worked_out_are_told_and_cost_no_plan() -> None:
    plan = ladder.plan(ODD["a fairness that nobody knows"])
    assert admitted(plan) == {"x"}
    assert [said for said in plan.stats.fallbacks if said.startswith("shares: ValueError: no fairness policy")]


# Solvers that fail

P = problem(NODES, T, [want("x", gpu=1), want("y", 2, gpu=2)])


class _Raises:
    name = "raises"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        raise TimeoutError("the solver has not come back")


class _Nothing:
    name = "nothing"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        return None  # type: ignore[return-value]  # what a broken planner may do


class _Empty:
    name = "empty"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        return Plan()


class _Nonsense:
    name = "nonsense"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        placed = Grant(DemandId("x"), (None,), 7)  # type: ignore[arg-type]  # what a broken planner may do
        return Plan((placed, placed), waiting={DemandId("y"): Waiting(None, "")})  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [_Raises(), _Nothing(), _Empty(), _Nonsense()], ids=lambda planner: planner.name)
def test_where_a_solver_fails_the_next_rung_answers_and_says_so(broken: ladder.Planner) -> None:
    plan = ladder.plan(P, planners=(broken, Greedy()))
    assert (plan.stats.planner, admitted(plan)) == ("greedy", {"x", "y"})
    assert violations(P, plan) == ()
    assert [said.split(":")[0] for said in plan.stats.fallbacks] == [broken.name]


@pytest.mark.parametrize("objective", Objective, ids=lambda objective: objective.value)
@pytest.mark.parametrize("budget", [Budget(wall_s=0.0), Budget(deterministic_s=0.0), Budget(0.0, 0.0)])
def test_without_time_there_is_an_answer(budget: Budget, objective: Objective) -> None:
    p = replace(P, policy=Policy(objective=objective))
    plan = ladder.plan(p, budget)
    assert violations(p, plan) == ()
    assert admitted(plan) == {"x", "y"}


# Large gangs


def _gang(**shape: object) -> Problem:
    nodes = [node(f"n{i}", {"rack": f"r{i // 10}"}, gpu=8, cpu=64) for i in range(1300)]
    return problem(nodes, [tenant("t", {"gpu": 20_000})], [want("x", 10_000, gpu=1, **shape), want("y", gpu=1)])  # type: ignore[arg-type]


def _shrinking() -> Problem:
    held = runs(want("r", 10_000, cpu=1, least=1), "a")
    return problem(
        [node("a", cpu=10_000)], [tenant("t", {"cpu": 10_000})], [want("x", 5_000, cpu=1, priority=1)], [held]
    )


LARGE = {
    "rigid": _gang,
    "elastic": lambda: _gang(least=1),
    "apart where it can be": lambda: _gang(spread="rack"),
    "on one node": lambda: problem([node("a", cpu=10_000)], [tenant("t")], [want("x", 10_000, cpu=1)]),
    "for whom ten thousand shrink": _shrinking,
}


@pytest.mark.parametrize("name", LARGE)
def test_ten_thousand_bundles_are_answered_in_seconds(name: str) -> None:
    p = LARGE[name]()
    began = time.process_time()
    plan = ladder.plan(p)
    assert time.process_time() - began < 10
    assert "x" in admitted(plan)
    assert violations(p, plan) == ()


def test_elastic_work_of_thousands_is_answered_in_bulk() -> None:
    assert not is_large(problem(NODES, T, [want("x", 1_000, gpu=1, least=1)]))
    assert is_large(problem(NODES, T, [want("x", 4_000, gpu=1, least=1)]))
