"""What holds for every planner on every small cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.model import Node, NodeId, Problem, Running
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from placement.score import score
from tests.placement.builders import admitted, node, problem, problems, stopped, tenant, want

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
QUICK = settings(SLOW, max_examples=250)


@QUICK
@given(problems())
def test_greedy_breaks_no_law(p: Problem) -> None:
    assert violations(p, Greedy()(p, Budget())) == ()


@SLOW
@given(problems())
def test_cpsat_breaks_no_law(p: Problem) -> None:
    assert violations(p, CpSat()(p, Budget())) == ()


@SLOW
@given(problems())
def test_cpsat_serves_at_least_as_well_as_greedy(p: Problem) -> None:
    exact, greedy = CpSat()(p, Budget()), Greedy()(p, Budget())
    assert score(p, exact).service >= score(p, greedy).service


@SLOW
@given(problems())
def test_no_plan_has_more_than_the_proven_bound(p: Problem) -> None:
    stats = CpSat()(p, Budget()).stats
    assert stats.objective <= stats.bound + 1e-6
    assert score(p, Greedy()(p, Budget())).total <= stats.bound + 1e-6
    assert 0 <= stats.gap <= 1 or stats.objective < 0


@pytest.mark.parametrize("planner", [Greedy(), CpSat()], ids=lambda planner: planner.name)
def test_the_same_question_gets_the_same_answer(planner: Planner) -> None:
    @settings(SLOW, max_examples=20)
    @given(problems())
    def same(p: Problem) -> None:
        assert planner(p, Budget()) == planner(p, Budget())

    same()


@QUICK
@given(problems())
def test_renaming_nodes_changes_nothing(p: Problem) -> None:
    def renamed(name: str) -> NodeId:
        return NodeId("".join(reversed(name)) + "-node")

    other = replace(
        p,
        nodes=tuple(Node(renamed(n.id), n.resources, n.labels, n.state) for n in p.nodes),
        running=tuple(Running(r.demand, tuple(map(renamed, r.nodes)), r.started_s) for r in p.running),
    )
    before, after = Greedy()(p, Budget()), Greedy()(other, Budget())
    assert admitted(before) == admitted(after)
    assert stopped(before) == stopped(after)


@st.composite
def _plain(draw: st.DrawFn) -> Problem:
    """One tenant, rigid gangs of distinct priorities, nothing running: who starts depends on room alone."""
    nodes = [node(f"n{i}", gpu=draw(st.integers(1, 4))) for i in range(draw(st.integers(1, 4)))]
    pending = [
        want(f"w{i}", draw(st.integers(1, 3)), priority=10 - i, gpu=draw(st.sampled_from([1, 1, 2, 3])))
        for i in range(draw(st.integers(1, 6)))
    ]
    return problem(nodes, [tenant("t", {"gpu": 16})], pending)


@SLOW
@given(_plain(), st.integers(1, 4))
def test_more_capacity_never_serves_less(p: Problem, more: int) -> None:
    larger = replace(p, nodes=(*p.nodes, node("more", gpu=more)))
    assert score(larger, CpSat()(larger, Budget())).service >= score(p, CpSat()(p, Budget())).service


@SLOW
@given(_plain())
def test_nothing_waits_that_fits_alone_beside_the_rest(p: Problem) -> None:
    plan = CpSat()(p, Budget())
    free = {n.id: n.resources.get("GPU") for n in p.nodes}
    for grant in plan.grants:
        demand = next(d for d in p.pending if d.id == grant.demand)
        for name, bundle in zip(grant.nodes, demand.bundles, strict=True):
            free[name] -= bundle.resources.get("GPU")
    for demand in p.pending:
        if demand.id in plan.waiting:
            size = demand.bundles[0].resources.get("GPU")
            assert sum(room // size for room in free.values()) < len(demand.bundles), demand.id
