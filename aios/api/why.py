"""Why a workload waits, asked anew: what would let it run, tried out by the planner, and when it is likely to start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aios.api.overview import explain_view
from aios.api.present import with_names
from aios.api.service import Service
from aios.kernel.state import State, Workload
from aios.views import ExplainView
from placement.explain import explain
from placement.model import DemandId

MOST_ASKED = 3
"""Workloads of one request about which the planner is asked anew; of the others is told what was recorded."""


def explanations(service: Service, workloads: Sequence[Workload]) -> tuple[ExplainView, ...]:
    """Return why each of the workloads waits or runs where it does, and what to do next."""
    state, now_s = service.state(), service.now_s()
    views = {workload.id: explain_view(state, workload, now_s) for workload in workloads}
    problem = service.problem()
    pending = {demand.id for demand in problem.pending}
    waiting = [workload for workload in workloads if DemandId(workload.id) in pending][:MOST_ASKED]
    if waiting:
        plan = service.plan_now(problem)
        for workload in waiting:
            if DemandId(workload.id) in plan.waiting:
                found = explain(problem, plan, DemandId(workload.id), service.plan_now)
                views[workload.id] = _told(state, views[workload.id], found.would_run_if, found.forecast.sentences)
    return tuple(views.values())


def _told(state: State, view: ExplainView, would: Sequence[str], forecast: Sequence[str]) -> ExplainView:
    return replace(
        view,
        evidence=(*view.evidence, *(with_names(state, sentence) for sentence in forecast)),
        would_run_if=tuple(with_names(state, hint) for hint in would),
    )
