"""Measures of a run, against tables worked out by hand."""

from __future__ import annotations

import pytest

from placement.model import Bundle, Node, NodeId, Resources, Selector
from placement.sim.fragmentation import mix_of, unusable
from placement.sim.metrics import finish_time_fairness, jain, metrics, percentile
from placement.sim.records import History, Record, Stay
from placement.sim.timeline import Steps


def gpus(n: float, **others: float) -> Resources:
    return Resources.parse({"GPU": n, **others})


def node(id: str, n: int = 4) -> Node:
    return Node(NodeId(id), gpus(n))


def job(id: str, came: float, ends: float | None, n: int, *stays: tuple[float, float], tenant: str = "t") -> Record:
    """Return a job of ``n`` GPUs on node n, that would run as long alone as it ran here."""
    bundle = (Bundle(gpus(n)),)
    made = tuple(Stay((NodeId("n"),), a, b, bundle, preempted=(a, b) != stays[-1]) for a, b in stays)
    return Record(id, tenant, came, ends, sum(b - a for a, b in stays) or 1.0, float(n), made)


# One node of 4 GPUs. A holds it all from 0 to 100, then B (2 GPUs, 50 s) and C (2 GPUs, 100 s) run side by side.
THREE = (job("a", 0, 100, 4, (0, 100)), job("b", 10, 150, 2, (100, 150)), job("c", 20, 200, 2, (100, 200)))


def test_a_run_of_three_jobs_has_the_measures_that_a_pencil_gives() -> None:
    found = metrics(History((node("n"),), THREE, wasted=70.0, plan_s=(0.1, 0.2, 0.6)))
    assert (found.n_jobs, found.n_finished, found.preemptions) == (3, 3, 0)
    assert (found.jct_mean_s, found.jct_p50_s, found.jct_p99_s) == (140.0, 140.0, 180.0)
    assert (found.wait_mean_s, found.wait_p99_s) == (pytest.approx(170 / 3), 90.0)
    assert found.makespan_s == 200.0
    assert found.utilisation == pytest.approx((400 + 100 + 200) / 800)
    assert found.saturated_allocation == 1.0, "from 10 to 100 somebody waited, and all was held"
    assert found.wasted == pytest.approx(70 / 700)
    assert (found.plans, found.plan_mean_s, found.plan_max_s) == (3, pytest.approx(0.3), 0.6)


def test_finish_time_fairness_divides_by_the_run_time_alone_where_accelerators_are_plenty() -> None:
    assert finish_time_fairness(THREE, 4.0) == {"a": 1.0, "b": 140 / 50, "c": 180 / 100}


def test_finish_time_fairness_divides_by_the_jobs_per_accelerator_where_they_are_few() -> None:
    rho = finish_time_fairness((job("a", 0, 100, 1, (0, 100)), job("b", 0, 200, 1, (100, 200))), 1.0)
    assert rho["a"] == pytest.approx(100 / (100 * 2)), "two jobs on one accelerator: half of it is fair"
    assert rho["b"] == pytest.approx(200 / (100 * 1.5)), "two jobs in the first half of its time, one in the second"


@pytest.mark.parametrize(
    "parts, index",
    [({"a": 1.0, "b": 1.0}, 1.0), ({"a": 1.0, "b": 0.0}, 0.5), ({"a": 3.0, "b": 1.0}, 16 / 20), ({}, None)],
)
def test_jains_index(parts: dict[str, float], index: float | None) -> None:
    assert jain(parts) == index


@pytest.mark.parametrize(
    "values, percent, found",
    [([], 50, None), ([7.0], 99, 7.0), ([3.0, 1.0, 2.0, 4.0], 50, 2.0), (list(range(1, 101)), 99, 99)],
)
def test_percentiles_are_of_the_nearest_rank(values: list[float], percent: float, found: float | None) -> None:
    assert percentile(values, percent) == found


def test_a_pause_after_a_preemption_counts_as_waiting() -> None:
    found = metrics(History((node("n"),), (job("a", 0, 130, 4, (0, 40), (50, 130)),)))
    assert (found.preemptions, found.wait_mean_s, found.jct_mean_s) == (1, 10.0, 130.0)


def test_what_never_ended_has_no_completion_time() -> None:
    found = metrics(History((node("n"),), (*THREE, job("d", 30, None, 4))))
    assert (found.n_jobs, found.n_finished, found.jct_mean_s) == (4, 3, 140.0)


def test_nothing_has_no_measures_and_breaks_nothing() -> None:
    found = metrics(History((), ()))
    assert (found.n_jobs, found.jct_mean_s, found.utilisation, found.rho_worst, found.jain) == (
        0,
        None,
        0.0,
        None,
        None,
    )


@pytest.mark.parametrize(
    "free, expected",
    [
        (gpus(4), 0.0),
        (gpus(1), 0.5),  # half of the mix asks for two
        (gpus(1.5), 1.0),  # half of the mix 1.5, the others leave over the half device
        (Resources(), 0.0),
    ],
)
def test_fragmentation_is_what_the_mix_cannot_use(free: Resources, expected: float) -> None:
    mix = mix_of([Bundle(gpus(1)), Bundle(gpus(2))])
    assert unusable(node("n"), free, mix) == expected


def test_free_accelerators_without_cpus_or_of_the_wrong_type_are_fragments() -> None:
    mix = mix_of([Bundle(gpus(1, CPU=4))])
    assert unusable(node("n"), gpus(3, CPU=2), mix) == 3.0
    other = mix_of([Bundle(gpus(1), Selector.parse({"ray.io/accelerator-type": "H100"}))])
    assert unusable(node("n"), gpus(3), other) == 3.0


def test_step_functions_integrate() -> None:
    steps = Steps.of([(0.0, 2.0), (10.0, -1.0), (20.0, -1.0)])
    assert [steps.at(at_s) for at_s in (-1, 0, 9.9, 10, 20)] == [0, 2, 2, 1, 0]
    assert steps.area(5.0, 15.0) == 15.0
    assert steps.mean(0.0, 40.0) == 0.75
