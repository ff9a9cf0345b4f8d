"""Run times with an error: log-normal at first, gone at the end."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.model import Bundle, Demand, DemandId, Node, NodeId, Plan, Problem, Resources, Running, Tenant, TenantId
from placement.planners.base import Budget
from placement.sim.estimates import LEAST_LEFT, Estimating, draw, estimate


def test_errors_are_standard_normal_and_belong_to_a_name() -> None:
    drawn = [draw(7, f"job-{i}") for i in range(4000)]
    assert statistics.mean(drawn) == pytest.approx(0.0, abs=0.05)
    assert statistics.stdev(drawn) == pytest.approx(1.0, abs=0.05)
    assert draw(7, "job-3") == drawn[3]
    assert draw(8, "job-3") != drawn[3]


@given(st.floats(1.0, 1e7), st.floats(0.0, 1.0), st.floats(-4.0, 4.0))
def test_an_estimate_leaves_something_to_do_and_errs_less_as_work_progresses(
    runtime_s: float, part: float, error: float
) -> None:
    expected_s = estimate(runtime_s, part * runtime_s, error)
    assert expected_s >= (part + LEAST_LEFT) * runtime_s * (1 - 1e-9)
    bound = max(math.exp(0.3 * abs(error) * (1 - part)), 1 + LEAST_LEFT)
    assert expected_s / runtime_s <= bound * (1 + 1e-9)


def test_the_planner_sees_estimates_of_what_waits_and_of_what_runs() -> None:
    seen: list[Problem] = []

    def planner(problem: Problem, budget: Budget) -> Plan:
        seen.append(problem)
        return Plan()

    bundle = (Bundle(Resources.parse({"GPU": 1})),)
    waits = Demand(DemandId("waits"), TenantId("t"), bundle, runtime_s=1000.0)
    runs = Demand(DemandId("runs"), TenantId("t"), bundle, runtime_s=1000.0)
    nodes = (Node(NodeId("n"), Resources.parse({"GPU": 2})),)
    shown = Estimating(planner, {"waits": 1000.0, "runs": 1000.0}.get, seed=3)
    for now_s in (0.0, 990.0):
        running = (Running(runs, (NodeId("n"),), 0.0),)
        shown(Problem(nodes, (Tenant(TenantId("t")),), running, (waits,), now_s), Budget())
    early, late = seen
    assert early.pending[0].runtime_s == pytest.approx(estimate(1000.0, 0.0, draw(3, "waits")))
    assert late.pending[0].runtime_s == early.pending[0].runtime_s, "it has not progressed"
    errors = [abs((one.running[0].demand.runtime_s or 0.0) - 1000.0) for one in seen]
    assert errors[0] > 20.0 > errors[1]
