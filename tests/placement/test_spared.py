"""Law 7: what could have stayed is found, put back, and in time where there are thousands."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from placement.check import milder, violations
from placement.model import Cause, DemandId, Grant, NodeId, Plan, Preemption, Problem
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.spared import MOST_TRIALS, spared
from tests.placement.builders import node, problem, problems, runs, stopped, tenant, want


def crowd(n_nodes: int, n_wanted: int, n_victims: int) -> tuple[Problem, Plan]:
    """Nodes of eight GPUs full of singles that were borrowed, and a gang of whole nodes that reclaims the first."""
    running = [runs(want(f"r{i}", tenant="o", gpu=1), f"n{i // 8}") for i in range(n_nodes * 8)]
    tenants = [tenant("t", {"gpu": n_nodes * 8}), tenant("o")]
    p = problem([node(f"n{i}", gpu=8) for i in range(n_nodes)], tenants, [want("x", n_wanted, gpu=8)], running)
    grant = Grant(DemandId("x"), tuple(NodeId(f"n{i}") for i in range(n_wanted)))
    stops = (Preemption(DemandId(f"r{i}"), Cause.RECLAIM, (DemandId("x"),)) for i in range(n_victims))
    return p, Plan((grant,), tuple(stops))


def test_two_thousand_needed_victims_are_all_needed() -> None:
    p, plan = crowd(n_nodes=300, n_wanted=250, n_victims=2000)
    assert violations(p, plan) == ()
    assert spared(p, plan) == plan


def test_one_needless_victim_among_many_is_found() -> None:
    p, plan = crowd(n_nodes=30, n_wanted=20, n_victims=161)
    assert [v.law for v in violations(p, plan)] == [7]
    assert milder(p, plan) == (DemandId("r160"), replace(plan, preemptions=plan.preemptions[:-1]))


def test_all_needless_victims_are_put_back_at_once() -> None:
    p, plan = crowd(n_nodes=60, n_wanted=20, n_victims=400)
    assert len(spared(p, plan).preemptions) == 160


def test_more_victims_with_room_than_are_tried_one_by_one_are_judged_by_their_kind() -> None:
    """A limit, not room, is why they go: each alone would break it, and so would each of the others."""
    n = MOST_TRIALS + 20
    running = [runs(want(f"r{i}", gpu=1), f"n{i}") for i in range(n)]
    nodes = [node(f"n{i}", gpu=2) for i in range(n)]
    tenants = [tenant("t", {"gpu": n}, limit={"gpu": n})]
    p = problem(nodes, tenants, [want("x", n, gpu=1, priority=1)], running)
    grant = Grant(DemandId("x"), tuple(NodeId(f"n{i}") for i in range(n)))
    plan = Plan((grant,), tuple(Preemption(r.demand.id, Cause.PRIORITY, (DemandId("x"),)) for r in running))
    assert violations(p, plan) == ()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems())
def test_nothing_could_stay_in_a_spared_plan_and_nothing_else_changes(p: Problem) -> None:
    plan = Greedy()(p, Budget())
    gone = {x.demand for x in plan.preemptions} | {x.demand for x in plan.resizes}
    first = plan.grants[:1]
    more = tuple(
        Preemption(r.demand.id, Cause.PRIORITY, tuple(g.demand for g in first))
        for r in p.running
        if r.demand.id not in gone and r.demand.preemptible
    )
    harsher = replace(plan, preemptions=(*plan.preemptions, *more))
    mild = spared(p, harsher)
    assert milder(p, mild) is None
    assert mild.grants == harsher.grants
    assert stopped(mild) <= stopped(harsher)
