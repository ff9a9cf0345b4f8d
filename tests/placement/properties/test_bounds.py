"""What an answer states as its bound is one: no plan that keeps the laws is worth more, whatever forms and moves do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.check import violations
from placement.model import Bundle, Grant, Move, Plan, Policy, Problem, Reason, Shape, Waiting
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.cpsat.fitter import Meter
from placement.planners.cpsat.solve import upper_bound
from placement.planners.tree import Tree
from placement.score import most_there_can_be, score
from tests.placement.builders import admitted, amounts, node, problem, runs, tenant, want

SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
MIGRATION = Policy(migration=True)


def _shape(n: int, gpu: int, throughput: float = 1.0) -> Shape:
    return Shape((Bundle(amounts({"gpu": gpu})),) * n, n, throughput)


@st.composite
def _with_forms(draw: st.DrawFn) -> Problem:
    """One or two nodes, and gangs that may start as something else."""
    nodes = [node(f"n{i}", gpu=draw(st.integers(1, 3))) for i in range(draw(st.integers(1, 2)))]
    pending = []
    for i in range(draw(st.integers(1, 3))):
        demand = want(f"w{i}", draw(st.integers(1, 2)), gpu=draw(st.integers(1, 3)))
        if draw(st.booleans()):
            other = _shape(draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.sampled_from([0.5, 1.0, 1.5])))
            demand = replace(demand, alternatives=(other,))
        pending.append(demand)
    return problem(nodes, [tenant("t", {"gpu": 9})], pending)


@st.composite
def _movable(draw: st.DrawFn) -> Problem:
    """Two or three nodes with running work that may be moved, and gangs that wait."""
    nodes = [node(f"n{i}", gpu=draw(st.integers(1, 3))) for i in range(draw(st.integers(2, 3)))]
    free = {n.id: n.resources.get("GPU") // 1000 for n in nodes}
    running = []
    for i in range(draw(st.integers(0, 3))):
        at = draw(st.sampled_from(nodes)).id
        if free[at]:
            free[at] -= 1
            running.append(runs(want(f"r{i}", gpu=1), at, started_s=float(draw(st.integers(1, 900)))))
    pending = [want(f"w{i}", gpu=draw(st.integers(1, 3))) for i in range(draw(st.integers(1, 2)))]
    return problem(nodes, [tenant("t", {"gpu": 9})], pending, running, policy=MIGRATION)


def _plans(p: Problem) -> Iterator[Plan]:
    """Every plan in which nobody stops: who starts where in which form, and who moves where."""
    nodes = [n.id for n in p.nodes]
    starts = []
    for demand in p.pending:
        forms = [demand.form(number) for number in range(len(demand.alternatives) + 1)]
        ways = [
            Grant(demand.id, at, number)
            for number, form in enumerate(forms)
            for at in product(nodes, repeat=len(form.bundles))
        ]
        starts.append([None, *ways])
    places = [[(r, at) for at in (nodes if p.policy.migration else r.nodes)] for r in p.running]
    for chosen in product(*starts):
        grants = tuple(grant for grant in chosen if grant is not None)
        started = {grant.demand for grant in grants}
        waiting = {d.id: Waiting(Reason.CAPACITY, "") for d in p.pending if d.id not in started}
        for standing in product(*places):
            moves = tuple(Move(r.demand.id, (at,)) for r, at in standing if (at,) != r.nodes)
            yield Plan(grants, (), (), waiting, moves=moves)


@SLOW
@given(st.one_of(_with_forms(), _movable()))
def test_no_plan_that_keeps_the_laws_is_worth_more_than_the_bound(p: Problem) -> None:
    bound = upper_bound(p, Tree(p), Meter(Budget()))
    for other in (ladder.plan(p), *_plans(p)):
        if score(p, other).total > bound + 1e-6:
            assert violations(p, other), other


def test_a_plan_in_another_form_is_proven_to_be_the_best() -> None:
    wide = replace(want("w", 2, gpu=2), alternatives=(_shape(4, 1),))
    p = problem([node("n", gpu=8)], [tenant("t", {"gpu": 9})], [wide, want("too-big", gpu=9)])
    answer = ladder.plan(p)
    assert admitted(answer) == {"w"}
    assert answer.stats.bound < 0.6 * most_there_can_be(p)


def test_what_cannot_be_let_in_by_moving_is_no_part_of_the_bound() -> None:
    running = [runs(want(f"r{i}", gpu=1), f"n{i}", started_s=float(i + 1)) for i in range(2)]
    p = problem(
        [node(f"n{i}", gpu=2) for i in range(2)],
        [tenant("t", {"gpu": 9})],
        [want("fits", gpu=2), want("does-not", gpu=2)],
        running,
        policy=MIGRATION,
    )
    answer = ladder.plan(p)
    assert admitted(answer) == {"fits"}
    assert len(answer.moves) == 1
    assert answer.stats.gap < 0.01
