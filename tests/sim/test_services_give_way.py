"""A service under pressure on virtual time: replicas go and come back, it answers all the while."""

from __future__ import annotations

from aios.kernel.events import AttemptReady, AttemptResized, Granted, PreemptionOrdered
from aios.simulate import Arrival, simulate
from placement.model import Plan, Problem
from placement.planners.base import Budget
from placement.planners.ladder import plan
from tests.support.bench import of_type
from tests.support.building import node, submit, tenant, want


def ladder(problem: Problem, budget: Budget) -> Plan:
    return plan(problem, Budget(deterministic_s=0.1))


def test_a_service_gives_way_to_urgent_work_and_grows_back() -> None:
    """1. A service fills both nodes. 2. An urgent job wants one of them. 3. It ends, and the service grows again."""
    arrivals = [
        Arrival(0.0, submit(want("api", 4, cpu=2, min_bundles=1, service=True, estimate_s=None))),
        Arrival(30.0, submit(want("job", cpu=4, priority=9, estimate_s=50.0))),
        Arrival(300.0, submit(want("late", cpu=1, priority=9, estimate_s=10.0))),
    ]
    report = simulate(arrivals, [node("n1"), node("n2")], [tenant("team")], ladder, until_s=400.0)
    job = next(row for row in report.rows if row.name == "job")
    assert job.status == "SUCCEEDED"
    assert job.started_s is not None
    assert job.started_s < 40.0
    api = next(row.id for row in report.rows if row.name == "api")
    assert not of_type(report.events, PreemptionOrdered)
    assert [event.workload for event in of_type(report.events, Granted)].count(api) == 1
    assert len(of_type(report.events, AttemptReady)) == 1
    sizes = [len(event.nodes) for event in of_type(report.events, AttemptResized)]
    assert sizes[0] < 4
    assert max(sizes[1:]) == 4, "it has its size again"
    assert min(sizes) >= 1
