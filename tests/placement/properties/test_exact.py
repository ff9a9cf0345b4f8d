"""On tiny clusters every plan can be looked at: none that the judge passes serves better than the exact one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations, product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.model import Cause, DemandId, Grant, NodeId, Plan, Preemption, Problem, Reason, Running, Waiting
from placement.planners import ladder
from placement.score import order_of_service, score
from tests.placement.builders import node, problem, rules, runs, tenant, want

SLOW = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
POLICIES = [
    rules(),
    rules(within="never", reclaim="lower_priority"),
    rules(within="lower_or_newer", reclaim="never"),
    rules(borrow="lower_priority"),
    rules(within="never", borrow="fair"),
]


@st.composite
def _tiny(draw: st.DrawFn) -> Problem:
    nodes = [node(f"n{i}", gpu=draw(st.integers(1, 3))) for i in range(draw(st.integers(1, 2)))]
    tenants = [
        tenant(
            name,
            {"gpu": draw(st.integers(0, 3))},
            limit=draw(st.sampled_from([None, None, {"gpu": 2}])),
            preemption=draw(st.sampled_from(POLICIES)),
        )
        for name in "ab"
    ]
    running = []
    for n in nodes:
        for _ in range(draw(st.integers(0, n.resources.get("GPU") // 1000))):
            demand = want(
                f"r{len(running)}",
                tenant=draw(st.sampled_from("ab")),
                priority=draw(st.integers(0, 1)),
                preemptible=draw(st.sampled_from([True, True, False])),
                gpu=1,
            )
            running.append(runs(demand, n.id, started_s=float(len(running))))
    pending = [
        want(
            f"w{i}",
            draw(st.integers(1, 2)),
            tenant=draw(st.sampled_from("ab")),
            priority=draw(st.integers(0, 2)),
            gpu=draw(st.sampled_from([1, 1, 2])),
        )
        for i in range(draw(st.integers(1, 1 if running else 3)))
    ]
    return problem(nodes, tenants, pending, running)


def _plans(p: Problem) -> Iterator[Plan]:
    """Every plan: who starts where, and who stops for whom."""
    nodes = [n.id for n in p.nodes]
    for started in chain.from_iterable(combinations(p.pending, n) for n in range(1 + len(p.pending))):
        names = [d.id for d in started]
        waiting = {d.id: Waiting(Reason.CAPACITY, "") for d in p.pending if d.id not in names}
        for at in product(*(product(nodes, repeat=len(d.bundles)) for d in started)):
            grants = tuple(Grant(d.id, where) for d, where in zip(started, at, strict=True))
            for stops in _stops(p, grants, names):
                yield Plan(grants, stops, (), waiting)


def _stops(p: Problem, grants: tuple[Grant, ...], names: list[DemandId]) -> Iterator[tuple[Preemption, ...]]:
    if not _overfull(p, grants, ()):
        yield ()
    most = min(3, len(p.running)) if names else 0
    for gone in chain.from_iterable(combinations(p.running, n) for n in range(1, most + 1)):
        if not _overfull(p, grants, gone):
            for whom in product(names, repeat=len(gone)):
                yield tuple(
                    Preemption(r.demand.id, Cause.PRIORITY, (name,)) for r, name in zip(gone, whom, strict=True)
                )


def _overfull(p: Problem, grants: tuple[Grant, ...], gone: tuple[Running, ...]) -> bool:
    free: dict[NodeId, int] = {n.id: n.resources.get("GPU") for n in p.nodes}
    demands = {d.id: d for d in p.pending}
    placed = [(r.demand, r.nodes) for r in p.running if r not in gone]
    placed += [(demands[g.demand], g.nodes) for g in grants]
    for demand, nodes in placed:
        for at, bundle in zip(nodes, demand.bundles, strict=True):
            free[at] -= bundle.resources.get("GPU")
    return min(free.values()) < 0


@SLOW
@given(_tiny())
def test_no_plan_that_keeps_the_laws_serves_better_than_the_exact_one(p: Problem) -> None:
    plan = ladder.plan(p)
    assert violations(p, plan) == ()
    mine = score(p, plan).service
    # Whoever is blocked keeps a claim (law 8): behind it the order of service alone decides no more.
    n = next((i for i, (starts, _) in enumerate(mine) if not starts), len(mine)) + 1
    best = mine[:n]
    for other in _plans(p):
        theirs = score(p, other).service[:n]
        if theirs > best and not violations(p, other):
            raise AssertionError(f"{[d.id for d in order_of_service(p)]}: {plan} serves {mine}, {other} {theirs}")
