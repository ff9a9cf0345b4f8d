"""The exact planner equals enumeration where that is possible, and proves what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.model import Demand, Problem, Running
from placement.planners.base import Budget
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from tests.placement.builders import admitted, node, problem, runs, stopped, tenant, want

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def _placeable(p: Problem, demands: Sequence[Demand], running: Sequence[Running]) -> bool:
    """Return whether all bundles fit the nodes' GPUs beside what runs: every assignment is tried."""
    free = {n.id: n.resources.get("GPU") for n in p.nodes}
    for r in running:
        for name, bundle in zip(r.nodes, r.demand.bundles, strict=True):
            free[name] -= bundle.resources.get("GPU")
    sizes = [bundle.resources.get("GPU") for d in demands for bundle in d.bundles]
    for at in product(free, repeat=len(sizes)):
        left = dict(free)
        for name, size in zip(at, sizes, strict=True):
            left[name] -= size
        if min(left.values()) >= 0:
            return True
    return not sizes


@st.composite
def _gangs(draw: st.DrawFn) -> Problem:
    nodes = [node(f"n{i}", gpu=draw(st.integers(1, 4))) for i in range(draw(st.integers(1, 3)))]
    pending = [
        want(f"w{i}", draw(st.integers(1, 2)), priority=10 - i, gpu=draw(st.integers(1, 3)))
        for i in range(draw(st.integers(1, 4)))
    ]
    return problem(nodes, [tenant("t", {"gpu": 16})], pending)


@SLOW
@given(_gangs())
def test_who_starts_is_what_enumeration_finds(p: Problem) -> None:
    expected: list[Demand] = []
    for demand in p.pending:
        if _placeable(p, [*expected, demand], ()):
            expected.append(demand)
    assert admitted(CpSat()(p, Budget())) == {d.id for d in expected}


@st.composite
def _full(draw: st.DrawFn) -> Problem:
    nodes = [node(f"n{i}", gpu=draw(st.integers(2, 4))) for i in range(draw(st.integers(1, 2)))]
    running = []
    for n in nodes:
        free = n.resources.get("GPU") // 1000
        while free:
            size = draw(st.integers(1, free))
            free -= size
            name = f"r{len(running)}"
            running.append(runs(want(name, priority=draw(st.integers(0, 3)), gpu=size), n.id, started_s=len(running)))
    newcomer = want("x", draw(st.integers(1, 2)), priority=3, gpu=draw(st.integers(1, 3)))
    return problem(nodes, [tenant("t", {"gpu": 16})], [newcomer], running)


def _least_harm(p: Problem) -> Iterator[tuple[tuple[int, ...], set[str]]]:
    """Every set of victims that makes room, with its priorities from the highest down."""
    candidates = [r for r in p.running if r.demand.priority < p.pending[0].priority]
    for n in range(len(candidates) + 1):
        for victims in combinations(candidates, n):
            stay = [r for r in p.running if r not in victims]
            if _placeable(p, p.pending, stay):
                yield tuple(sorted((v.demand.priority for v in victims), reverse=True)), {v.demand.id for v in victims}


@SLOW
@given(_full())
def test_victims_are_the_least_harm_that_enumeration_finds(p: Problem) -> None:
    plan = CpSat()(p, Budget())
    choices = list(_least_harm(p))
    assert bool(admitted(plan)) == bool(choices)
    if choices:
        least = min(harm for harm, _ in choices)
        assert stopped(plan) in [victims for harm, victims in choices if harm == least]


def test_newcomers_are_placed_jointly() -> None:
    """The first gang must not take the place that only the second can use."""
    p = problem(
        [node("n1", gpu=3), node("n2", gpu=2), node("n3", gpu=2)],
        [tenant("t", {"gpu": 7})],
        [want("x", 1, gpu=2), want("y", 1, gpu=2), want("z", 1, gpu=3)],
    )
    assert admitted(CpSat()(p, Budget())) == {"x", "y", "z"}


def test_what_greedy_misses_is_found() -> None:
    p = problem(
        [node("n1", gpu=3), node("n2", gpu=4)],
        [tenant("t", {"gpu": 7})],
        [want("x", gpu=1), want("y", gpu=2), want("z", 2, gpu=2)],
    )
    assert admitted(CpSat()(p, Budget())) == {"x", "y", "z"}
    assert admitted(Greedy()(p, Budget())) <= {"x", "y", "z"}


def test_one_big_low_victim_is_found_behind_many_small_ones() -> None:
    p = problem(
        [node("a", gpu=4), node("b", gpu=4)],
        [tenant("t", {"gpu": 8})],
        [want("x", priority=9, gpu=4)],
        [*(runs(want(f"s{i}", priority=1, gpu=1), "a") for i in range(4)), runs(want("big", priority=1, gpu=4), "b")],
    )
    assert stopped(CpSat()(p, Budget())) == {"big"}


def test_fast_nodes_and_preferred_racks_are_used_where_that_costs_nobody() -> None:
    labels = [{"rack": "1", "ray.io/accelerator-type": "A"}, {"rack": "2", "ray.io/accelerator-type": "H"}]
    nodes = [node(f"n{i}", labels[i // 2], gpu=1) for i in range(4)]
    p = problem(
        nodes,
        [tenant("t", {"gpu": 4})],
        [
            want("any", 2, gpu=1, pack="rack"),
            want("fast", 2, gpu=1, pack="rack", speed={"H": 3.0}),
        ],
    )
    plan = CpSat()(p, Budget())
    assert {str(g.demand): set(g.nodes) for g in plan.grants} == {"any": {"n0", "n1"}, "fast": {"n2", "n3"}}


def test_a_full_start_is_proved_optimal() -> None:
    p = problem([node("a", gpu=4)], [tenant("t", {"gpu": 4})], [want("x", 4, gpu=1)])
    stats = CpSat()(p, Budget()).stats
    assert (stats.planner, stats.status) == ("cpsat", "optimal")
    assert stats.gap <= 1e-6


def test_memory_in_bytes_stays_exact() -> None:
    p = problem(
        [node("a", memory="64GiB")],
        [tenant("t", {"memory": "64GiB"})],
        [want("x", memory="34359738368B"), want("y", memory="34359738368B"), want("z", memory="1B")],
    )
    assert admitted(CpSat()(p, Budget())) == {"x", "y"}


def test_without_time_the_answer_is_greedys() -> None:
    p = problem([node("n1", gpu=3), node("n2", gpu=4)], [tenant("t", {"gpu": 7})], [want("x", gpu=1), want("y", gpu=2)])
    plan = CpSat()(p, Budget(deterministic_s=0.0))
    assert admitted(plan) == admitted(Greedy()(p, Budget()))
    assert violations(p, plan) == ()
