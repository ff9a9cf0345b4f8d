"""What holds of explanations whatever the cluster: they always come, and what they advise would do."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings

from placement.explain import explain, explain_plan
from placement.model import Demand, Node, NodeId, NodeState, Plan, Problem, Reason, Tenant
from placement.planners.base import Budget
from placement.planners.greedy import Greedy
from placement.situation import Situation
from tests.placement.builders import problems

MORE_NODES = re.compile(r"there were (\d+) more nodes? like (\S+) \([^)]*\)$")


def _explained(problem: Problem) -> Plan:
    return explain_plan(problem, Greedy()(problem, Budget()))


def _alone(demand: Demand, nodes: tuple[Node, ...]) -> bool:
    """Return whether the greedy planner starts it on these nodes, all ready and empty, for a tenant without limits."""
    ready = tuple(replace(node, state=NodeState.READY) for node in nodes)
    return bool(Greedy()(Problem(ready, (Tenant(demand.tenant),), (), (demand,)), Budget()).grants)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_every_workload_is_explained_in_words(problem: Problem) -> None:
    plan = _explained(problem)
    for demand in [*problem.pending, *(run.demand for run in problem.running)]:
        told = explain(problem, plan, demand.id)
        assert told.because
        assert all(told.because)
        assert (told.reason is not None) == (told.state == "waiting") == (demand.id in plan.waiting)
        if told.reason is not None:
            assert plan.waiting[demand.id].reason is told.reason


@settings(max_examples=60, deadline=None)
@given(problems())
def test_only_what_runs_on_no_empty_cluster_is_called_unsatisfiable(problem: Problem) -> None:
    for name, why in _explained(problem).waiting.items():
        demand = next(demand for demand in problem.pending if demand.id == name)
        bare = replace(
            demand, topologies=(), bundles=tuple(replace(b, selector=type(b.selector)()) for b in demand.bundles)
        )
        assert (why.reason is Reason.UNSATISFIABLE) == (not _alone(bare, problem.nodes))


@settings(max_examples=60, deadline=None)
@given(problems())
def test_the_nodes_that_are_advised_would_do(problem: Problem) -> None:
    plan = _explained(problem)
    now = Situation(problem, plan)
    for name, why in plan.waiting.items():
        for number, like in (found.groups() for found in map(MORE_NODES.match, why.would_run_if) if found):
            model = next(node for node in problem.nodes if node.id == like)
            extra = tuple(replace(model, id=NodeId(f"extra-{i}"), state=NodeState.READY) for i in range(int(number)))
            after = replace(
                problem, nodes=problem.nodes + extra, running=tuple(now.alive.values()), pending=(now.demands[name],)
            )
            starting = {demand.id: nodes for demand, nodes in now.starting}
            if not starting:
                assert Greedy()(after, Budget()).grants
