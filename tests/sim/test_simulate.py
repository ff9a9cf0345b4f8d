"""Whole runs on virtual time: submit, plan, run, finish."""

from __future__ import annotations

from aios.simulate import Arrival, simulate
from tests.support.building import node, submit, tenant, want
from tests.support.first_fit import first_fit

TEAM = [tenant("team")]


def test_one_workload_runs_to_its_end() -> None:
    report = simulate([Arrival(5.0, submit(want("a", 2, cpu=2)))], [node("n1"), node("n2")], TEAM, first_fit)
    (row,) = report.rows
    assert (row.status, row.attempts, row.planned, row.actual) == ("SUCCEEDED", 1, ("n1", "n1"), ("n1", "n1"))
    assert row.submitted_s == 5.0
    assert row.ran_s == 60.0


def test_what_does_not_fit_waits_for_its_turn() -> None:
    arrivals = [Arrival(0.0, submit(want("a", 1, cpu=4))), Arrival(1.0, submit(want("b", 1, cpu=4)))]
    report = simulate(arrivals, [node("n1")], TEAM, first_fit)
    a, b = report.rows
    assert (a.status, b.status) == ("SUCCEEDED", "SUCCEEDED")
    assert b.started_s is not None
    assert a.finished_s is not None
    assert b.started_s >= a.finished_s


def test_an_urgent_workload_displaces_one_that_resumes_from_its_checkpoint() -> None:
    arrivals = [
        Arrival(0.0, submit(want("train", 1, cpu=4, estimate_s=100.0))),
        Arrival(30.0, submit(want("urgent", 1, cpu=4, priority=10, estimate_s=20.0))),
    ]
    report = simulate(arrivals, [node("n1")], TEAM, first_fit)
    train, urgent = report.rows
    assert (train.status, train.attempts) == ("SUCCEEDED", 2)
    assert (urgent.status, urgent.attempts) == ("SUCCEEDED", 1)
    assert report.preemptions == 1
    assert 100.0 <= train.ran_s <= 102.0, "what it had done before it yielded is not done again"


def test_a_pipeline_runs_stage_by_stage_and_its_service_stays_ready() -> None:
    stages = (
        want("serve", service=True, needs=("train",)),
        want("train", needs=("ingest",), inputs=(("in", "dataset://d"),)),
        want("ingest", outputs=(("out", "dataset://d"),)),
    )
    report = simulate([Arrival(0.0, submit(*stages))], [node("n1")], TEAM, first_fit)
    assert [(row.name, row.status) for row in report.rows] == [
        ("ingest", "SUCCEEDED"),
        ("train", "SUCCEEDED"),
        ("serve", "READY"),
    ]
    assert report.makespan_s < 200.0


def test_shares_are_averaged_over_the_run() -> None:
    arrivals = [Arrival(0.0, submit(want("a", cpu=2, tenant="one"), want("b", cpu=1, tenant="two")))]
    report = simulate(arrivals, [node("n1", cpu=4)], [tenant("one"), tenant("two"), tenant("idle")], first_fit)
    used = {share.tenant: round(share.used, 2) for share in report.tenants}
    assert used == {"idle": 0.0, "one": 0.5, "two": 0.25}


def test_what_can_never_run_waits_with_a_reason_and_the_run_ends() -> None:
    report = simulate([Arrival(0.0, submit(want("huge", cpu=99)))], [node("n1")], TEAM, first_fit)
    (row,) = report.rows
    assert (row.status, row.reason) == ("QUEUED", "WaitingForResources")
    assert report.plans == 1


def test_a_submission_that_is_refused_is_in_the_report() -> None:
    arrivals = [Arrival(0.0, submit(want("a", tenant="nobody"))), Arrival(1.0, submit(want("b")))]
    report = simulate(arrivals, [node("n1")], TEAM, first_fit)
    assert [row.name for row in report.rows] == ["b"]
    assert len(report.refused) == 1
    assert "nobody" in report.refused[0]


def test_solving_takes_the_time_that_is_said() -> None:
    (row,) = simulate([Arrival(0.0, submit(want("a")))], [node("n1")], TEAM, first_fit, solve_s=7.0).rows
    assert row.started_s == 9.0, "seven to solve, two to launch"
