"""Preemption on virtual time: nobody starves, nobody sneaks in, and what was saved is not done again."""

from __future__ import annotations

import pytest

from aios.kernel.events import AttemptStarted, Granted, PreemptionOrdered
from aios.simulate import Arrival, SimReport, SimRow, simulate
from placement.model import Plan, Problem
from placement.planners.base import Budget
from placement.planners.ladder import plan
from tests.support.bench import of_type
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit

TEAM = [tenant("team")]


def ladder(problem: Problem, budget: Budget) -> Plan:
    return plan(problem, Budget(deterministic_s=0.1))


PLANNERS = {"first fit": first_fit, "the ladder": ladder}


def row(report: SimReport, name: str) -> SimRow:
    return next(row for row in report.rows if row.name == name)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_stream_of_small_work_does_not_take_the_place_of_a_large_urgent_gang(name: str) -> None:
    """1. Small work fills both nodes. 2. A gang of both nodes comes, urgent. 3. More small work keeps coming.

    The gang starts within a grace of its arrival; the small work ends after it.
    """
    early = [Arrival(0.0, submit(want(f"s{i}", cpu=1, estimate_s=200.0, grace_s=5.0))) for i in range(8)]
    late = [Arrival(50.0 + i / 2, submit(want(f"t{i}", cpu=1, estimate_s=20.0))) for i in range(30)]
    gang = Arrival(50.0, submit(want("gang", 2, cpu=4, priority=9, estimate_s=30.0)))
    report = simulate([*early, gang, *late], [node("n1"), node("n2")], TEAM, PLANNERS[name])
    assert {row.status for row in report.rows} == {"SUCCEEDED"}
    gang_row = row(report, "gang")
    assert gang_row.started_s is not None
    assert gang_row.finished_s is not None
    assert gang_row.started_s <= 50.0 + 10.0
    others = [event.at_s for event in of_type(report.events, Granted) if event.workload != gang_row.id]
    assert not [at_s for at_s in others if 50.0 <= at_s < gang_row.finished_s], "the gang fills the cluster"


def test_a_victim_that_resumes_does_the_rest_only() -> None:
    arrivals = [Arrival(0.0, submit(want("long", cpu=4, estimate_s=300.0)))]
    arrivals += [Arrival(60.0 * i, submit(want(f"u{i}", cpu=4, priority=9, estimate_s=10.0))) for i in range(1, 4)]
    report = simulate(arrivals, [node("n1")], TEAM, first_fit)
    long = row(report, "long")
    assert (long.status, long.attempts) == ("SUCCEEDED", 4)
    assert 300.0 <= long.ran_s <= 300.0 + 3 * 2.0


def test_no_order_to_yield_is_given_twice_for_one_cause() -> None:
    arrivals = [
        Arrival(0.0, submit(want("a", cpu=4, estimate_s=100.0, grace_s=30.0))),
        Arrival(20.0, submit(want("b", cpu=4, priority=5, estimate_s=20.0))),
        Arrival(21.0, submit(want("c", cpu=4, priority=4, estimate_s=20.0))),
    ]
    report = simulate(arrivals, [node("n1")], TEAM, first_fit)
    assert len(of_type(report.events, PreemptionOrdered)) == 1
    order = [event.workload.split("-")[0] for event in of_type(report.events, AttemptStarted)]
    assert order == ["a", "b", "c", "a"]
