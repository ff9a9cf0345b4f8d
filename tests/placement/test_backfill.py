"""Backfill is an honest contract: with known run times no blocked head starts later because others passed it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.model import Demand, Policy, Problem, Running
from placement.planners.base import Budget, Planner
from placement.planners.cpsat import CpSat
from placement.planners.greedy import Greedy
from tests.placement.builders import node, problem, tenant, want

T = tenant("t", {"gpu": 16})


@st.composite
def queues(draw: st.DrawFn) -> Problem:
    """One tenant, rigid gangs of known run time and one priority: the first that does not fit is the head."""
    nodes = [node(f"n{i}", gpu=draw(st.integers(1, 4))) for i in range(draw(st.integers(1, 3)))]
    free = {n.id: n.resources.get("GPU") // 1000 for n in nodes}
    running = []
    for i in range(draw(st.integers(0, 4))):
        able = [name for name, room in free.items() if room]
        if able:
            at = draw(st.sampled_from(able))
            free[at] -= 1
            length_s = draw(st.sampled_from([1100.0, 1300.0, 1600.0]))
            running.append(Running(want(f"r{i}", gpu=1, runtime_s=length_s), (at,), 0.0))
    pending = [
        want(
            f"w{i}",
            draw(st.integers(1, 4)),
            gpu=draw(st.integers(1, 2)),
            runtime_s=draw(st.sampled_from([50.0, 250.0])),
        )
        for i in range(draw(st.integers(1, 5)))
    ]
    return problem(nodes, [T], pending, running)


def start_of(name: str, p: Problem, planner: Planner) -> float | None:
    """Return when a workload starts if nothing else comes and all ends when it is expected to."""
    now_s, running, pending = p.now_s, list(p.running), list(p.pending)
    while True:
        plan = planner(replace(p, now_s=now_s, running=tuple(running), pending=tuple(pending)), Budget())
        demands: dict[str, Demand] = {str(d.id): d for d in pending}
        if any(grant.demand == name for grant in plan.grants):
            return now_s
        running += [Running(demands[grant.demand], grant.nodes, now_s) for grant in plan.grants]
        granted = {grant.demand for grant in plan.grants}
        pending = [d for d in pending if d.id not in granted]
        if not running:
            return None
        ends = [r.started_s + (r.demand.runtime_s or 0.0) for r in running]
        now_s = min(ends)
        running = [r for r, end in zip(running, ends, strict=True) if end > now_s]


def head_of(p: Problem, planner: Planner) -> str | None:
    """Return the first in the queue that waits."""
    plan = planner(p, Budget())
    return next((str(d.id) for d in p.pending if d.id in plan.waiting), None)


@pytest.mark.parametrize("planner", [Greedy(), CpSat()], ids=lambda planner: planner.name)
def test_no_head_starts_later_because_of_backfill(planner: Planner) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(queues())
    def same_or_earlier(p: Problem) -> None:
        head = head_of(p, planner)
        if head is not None:
            ahead = tuple(d for d in p.pending[: 1 + [str(d.id) for d in p.pending].index(head)])
            alone = start_of(head, replace(p, pending=ahead, policy=Policy(backfill=False)), planner)
            beside = start_of(head, p, planner)
            assert (alone is None) == (beside is None)
            assert alone is None or beside is None or beside <= alone

    same_or_earlier()
