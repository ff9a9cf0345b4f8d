"""Ageing: waiting lifts, running does not, and no stream of more important work starves anything."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.ageing import aged
from placement.model import Demand, Policy, Problem, Running
from placement.planners import ladder
from placement.planners.greedy import Greedy
from tests.placement.builders import node, problem, runs, tenant, want

T = tenant("t", {"gpu": 8})
GREEDY = (Greedy(),)


def priorities(p: Problem) -> dict[str, int]:
    demands = [*p.pending, *(r.demand for r in p.running)]
    return {str(d.id): d.priority for d in demands}


def test_waiting_lifts_and_running_keeps_what_it_had() -> None:
    p = problem(
        [node("a", gpu=4)],
        [T],
        [want("w", priority=2, gpu=1, submitted_s=400), replace(want("s", gpu=1, submitted_s=0), served_s=900)],
        [runs(want("r", priority=1, gpu=1, submitted_s=100), "a", started_s=350)],
        policy=Policy(ageing_s=100),
    )
    assert priorities(aged(p)) == {"w": 2 + 6, "s": 1, "r": 1 + 2}
    assert aged(aged(p)) == aged(p)


def test_without_ageing_nothing_changes() -> None:
    p = problem([node("a", gpu=4)], [T], [want("w", gpu=1)])
    assert aged(p) is p


def test_what_has_waited_long_comes_before_what_is_more_important() -> None:
    pending = [want("old", gpu=4, submitted_s=0), want("new", priority=5, gpu=4, submitted_s=990)]
    for ageing_s, first in ((None, "new"), (150.0, "old")):
        p = problem([node("a", gpu=4)], [T], pending, policy=Policy(ageing_s=ageing_s))
        assert [grant.demand for grant in ladder.plan(p).grants] == [first]


def waits(stream: list[Demand], policy: Policy, until_s: float) -> dict[str, float]:
    """Run a stream on one node of 4 GPUs, planning at every arrival and end; return how long each waited."""
    at, running, todo, started = 0.0, list[Running](), sorted(stream, key=lambda d: d.submitted_s), dict[str, float]()
    pending: list[Demand] = []
    while (todo or pending or running) and at <= until_s:
        ends = [r.started_s + (r.demand.runtime_s or 0.0) for r in running]
        at = min([d.submitted_s for d in todo[:1]] + ends)
        running = [r for r, end in zip(running, ends, strict=True) if end > at]
        while todo and todo[0].submitted_s <= at:
            pending.append(todo.pop(0))
        p = problem([node("a", gpu=4)], [T], pending, running, now_s=at, policy=policy)
        plan = ladder.plan(p, planners=GREEDY)
        stopped = {gone.demand for gone in plan.preemptions}
        pending += [r.demand for r in running if r.demand.id in stopped]
        running = [r for r in running if r.demand.id not in stopped]
        for grant in plan.grants:
            demand = next(d for d in pending if d.id == grant.demand)
            running.append(Running(demand, grant.nodes, at))
            started.setdefault(str(demand.id), at - demand.submitted_s)
            pending = [d for d in pending if d.id != grant.demand]
    return started


def _stream(runtimes: list[int], sizes: list[int], gap_s: int) -> list[Demand]:
    return [
        want(f"hot{i}", priority=3, gpu=size, submitted_s=float(i * gap_s), runtime_s=float(runtime))
        for i, (runtime, size) in enumerate(zip(runtimes, sizes, strict=True))
    ]


POOR = want("poor", gpu=4, submitted_s=1.0, runtime_s=10.0)


def test_without_ageing_a_stream_starves_a_large_gang() -> None:
    stream = _stream([100] * 40, [3] * 40, 100)
    assert "poor" not in waits([*stream, POOR], Policy(), 3800)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_nothing_waits_longer_than_the_bound(data: st.DataObject) -> None:
    n, ageing_s = 40, 200.0
    runtimes = data.draw(st.lists(st.integers(50, 150), min_size=n, max_size=n))
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    stream = _stream(runtimes, sizes, data.draw(st.integers(20, 100)))
    got = waits([*stream, POOR], Policy(ageing_s=ageing_s), 1e9)
    cut_s = POOR.submitted_s + (3 - POOR.priority + 1) * ageing_s
    ahead_s = sum(d.runtime_s or 0.0 for d in stream if d.submitted_s < cut_s)
    assert got["poor"] <= cut_s - POOR.submitted_s + ahead_s
