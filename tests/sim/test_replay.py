"""Traces through the production kernel: small ones, whose every number can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aios.contenders import contender, names
from aios.errors import InvalidSpec, Rejected
from aios.replay import Replayed, replay
from placement.model import ACCELERATOR_KEY, Bundle, Cause, Grant, Plan, Policy, Preemption, Problem, Resources
from placement.planners.base import Budget
from placement.sim.cluster import Cluster, short_cluster
from placement.traces.loads import at_load, isolated_s, offered_load
from placement.traces.model import Job, Trace

ONE_NODE = short_cluster("1xV100:4")


def job(id: str, came_s: float, runtime_s: float, gpus: int, *, n: int = 1, tenant: str = "t", **others: object) -> Job:
    return Job(id, tenant, came_s, runtime_s, (Bundle(Resources.parse({"GPU": gpus})),) * n, **others)  # type: ignore[arg-type]  # by name


def ran(policy: str, *jobs: Job, cluster: Cluster = ONE_NODE, **others: object) -> Replayed:
    return replay(Trace("made up", jobs), cluster, contender(policy, cluster.policy), **others)  # type: ignore[arg-type]  # by name


def jcts(done: Replayed) -> dict[str, float | None]:
    return {record.id: record.jct_s for record in done.history.records}


def test_first_in_first_out_by_hand() -> None:
    """a holds the node until 100; b and c, which came at 10 and 20, run side by side then."""
    done = ran("fifo", job("a", 0, 100, 4), job("b", 10, 50, 2), job("c", 20, 100, 2))
    assert jcts(done) == {"a": 100.0, "b": 140.0, "c": 180.0}
    assert (done.metrics.makespan_s, done.metrics.utilisation) == (200.0, pytest.approx(0.875))
    assert (done.metrics.wait_mean_s, done.metrics.preemptions) == (pytest.approx(170 / 3), 0)


def test_first_in_first_out_blocks_and_backfill_does_not() -> None:
    """b waits for a's two GPUs until 100; c would fit beside a, and ends before a does."""
    jobs = (job("a", 0, 100, 2), job("b", 10, 50, 4), job("c", 20, 30, 2))
    assert jcts(ran("fifo", *jobs)) == {"a": 100.0, "b": 140.0, "c": 160.0}
    assert jcts(ran("easy", *jobs)) == {"a": 100.0, "b": 140.0, "c": 30.0}


def test_preempted_work_goes_on_where_it_was_after_a_restart() -> None:
    """a has done 40 of 100 s when b takes its place for 10 s; it restarts for 30 s and does the other 60."""
    done = ran("srtf", job("a", 0, 100, 4), job("b", 40, 10, 4))
    assert jcts(done) == {"a": 40.0 + 10.0 + 30.0 + 60.0, "b": 10.0}
    assert done.metrics.preemptions == 1
    assert done.metrics.wasted == pytest.approx(30 / 140)


def test_work_takes_as_long_as_its_accelerators_do() -> None:
    slow = job("a", 0, 100, 1, speed=(("K80", 0.25),))
    assert jcts(ran("fifo", slow, cluster=short_cluster("1xK80:1"))) == {"a": 400.0}
    assert jcts(ran("fifo", slow)) == {"a": 100.0}


def test_elastic_work_with_half_its_bundles_takes_as_long_as_its_table_says() -> None:
    elastic = job("a", 0, 100, 1, n=8, min_bundles=1, scaling=((4, 0.8),))
    assert jcts(ran("fifo", elastic)) == {"a": 125.0}


def test_a_gang_over_two_nodes_starts_whole() -> None:
    done = ran("fifo", job("a", 0, 50, 4), job("b", 0, 10, 3, n=2), cluster=short_cluster("2xV100:4"))
    assert jcts(done) == {"a": 50.0, "b": 60.0}


@pytest.mark.parametrize("policy", names())
def test_every_policy_brings_every_job_to_its_end(policy: str) -> None:
    jobs = [job(f"j{i}", 20.0 * i, 60.0 + 37 * i % 200, 1 + i % 4, tenant=f"t{i % 3}") for i in range(14)]
    done = ran(policy, *jobs, cluster=short_cluster("1xV100:4,1xK80:4"))
    assert done.metrics.n_finished == 14
    assert done.refused == ()


def test_our_policies_serve_priority_first() -> None:
    low = [job(f"low{i}", i, 1000, 4) for i in range(2)]
    done = ran("aios-greedy", *low, job("high", 10, 10, 4, priority=5))
    assert jcts(done)["high"] == 10.0
    assert done.metrics.preemptions == 1


def test_the_same_seed_gives_the_same_run_and_noise_another() -> None:
    jobs = [job(f"j{i}", 10.0 * i, 50.0 + 13 * i % 70, 1 + i % 4) for i in range(25)]
    first = ran("srtf", *jobs, noisy=True, seed=4)
    assert first.metrics == ran("srtf", *jobs, noisy=True, seed=4).metrics
    assert first.metrics != ran("srtf", *jobs, noisy=True, seed=5).metrics
    assert first.metrics != ran("srtf", *jobs).metrics


def test_noise_changes_what_planners_see_and_not_how_long_work_takes() -> None:
    (record,) = ran("srtf", job("a", 0, 100, 4), noisy=True).history.records
    assert record.jct_s == 100.0


def test_taking_turns_shares_the_node_among_equals() -> None:
    """Two jobs of 4 hours want all of the node: least attained service has both under way early."""
    done = ran("las", job("a", 0, 14_400, 4), job("b", 0, 14_400, 4))
    firsts = [record.stays[0].from_s for record in done.history.records]
    assert max(firsts) < 14_400, "the second does not wait for the end of the first"
    assert done.metrics.preemptions >= 1


def test_a_policy_that_goes_round_in_a_circle_is_stopped() -> None:
    def swaps(problem: Problem, budget: Budget) -> Plan:
        node = problem.nodes[0].id
        stops = tuple(Preemption(r.demand.id, Cause.TIME_SLICE) for r in problem.running)
        grants = tuple(Grant(d.id, (node,)) for d in problem.pending[:1])
        return Plan(grants, stops)

    rival = replace(contender("fifo", Policy()), planner=swaps, judge=lambda problem, plan: ())
    with pytest.raises(Rejected, match="round in a circle"):
        replay(Trace("t", (job("a", 0, 100, 4), job("b", 1, 100, 4))), ONE_NODE, rival)


def test_a_load_stretches_the_arrivals() -> None:
    trace = Trace("t", (job("a", 0, 100, 4), job("b", 100, 100, 4)))
    assert offered_load(trace, ONE_NODE.nodes) == 2.0
    slower = at_load(trace, ONE_NODE.nodes, 0.5)
    assert [one.submitted_s for one in slower.jobs] == [0.0, 400.0]
    with pytest.raises(ValueError, match="all jobs come at once"):
        at_load(Trace("t", (job("a", 0, 1, 1),)), ONE_NODE.nodes, 0.5)


def test_alone_means_on_the_mix_of_types() -> None:
    nodes = short_cluster("3xV100:1,1xK80:1").nodes
    assert nodes[0].label(ACCELERATOR_KEY) == "V100"
    assert isolated_s(job("a", 0, 100, 1, speed=(("K80", 0.2),)), nodes) == pytest.approx(100 / 0.8)


def test_an_unknown_policy_is_named_with_the_nearest_and_all() -> None:
    with pytest.raises(InvalidSpec, match="there is no policy 'aios-gredy'; do you mean 'aios-greedy'") as caught:
        contender("aios-gredy", Policy())
    assert "fifo" in caught.value.hint
