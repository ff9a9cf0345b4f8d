"""Finish-time fairness: who finishes latest, compared with running alone, is entitled to more.

A workload's rho is the time from its submission to its end as it looks now, divided by the time that it would take
alone with all that it asks for. A tenant's rho is the worst of its workloads'. Tenants' shares rise at speeds equal to
weight times rho, so that the worst off catch up; guarantees stay what they are.

References
----------
Mahajan et al., Themis: Fair and Efficient GPU Cluster Scheduling, NSDI 2020, section 3 (there the worst off are
offered leases in an auction; here they rise faster).
"""

from __future__ import annotations

from collections.abc import Mapping

from placement.model import Demand, Problem, TenantId
from placement.shares.maxmin import FairLp
from placement.shares.tree import TenantTree

UNKNOWN_RUNTIME_S = 3600.0
"""What is taken for the run time of work that names none."""
MOST_RHO = 64.0
"""Nobody rises faster than by this times its weight."""


class FinishTime:
    """Speeds by weight times the worst rho of a tenant's workloads."""

    name = "finish-time"

    def __call__(self, problem: Problem) -> Mapping[TenantId, float]:
        tree, worst = TenantTree(problem), worst_rho(problem)
        weights = {}
        for tenant, facts in tree.by_id.items():
            rho = max(worst.get(member, 1.0) for member in tree.below(tenant))
            weights[tenant] = facts.weight * rho
        return FairLp(tree, weights).solve()


def worst_rho(problem: Problem) -> dict[TenantId, float]:
    """Return the worst rho of each tenant's own workloads, 1 to ``MOST_RHO``; 1 is as good as alone."""
    out: dict[TenantId, float] = {}
    for demand in problem.pending:
        left_s = UNKNOWN_RUNTIME_S if demand.runtime_s is None else demand.runtime_s
        _note(out, demand, rho(demand, problem.now_s, left_s, demand.served_s + left_s))
    for running in problem.running:
        demand = running.demand
        whole_s = UNKNOWN_RUNTIME_S if demand.runtime_s is None else demand.runtime_s
        left_s = max(0.0, running.started_s + whole_s - problem.now_s)
        _note(out, demand, rho(demand, problem.now_s, left_s, demand.served_s + whole_s))
    return out


def rho(demand: Demand, now_s: float, left_s: float, alone_s: float) -> float:
    """Return the time from submission to the end as it looks now, over the time alone."""
    return (max(0.0, now_s - demand.submitted_s) + left_s) / max(1.0, alone_s)


def _note(worst: dict[TenantId, float], demand: Demand, value: float) -> None:
    worst[demand.tenant] = min(MOST_RHO, max(1.0, worst.get(demand.tenant, 1.0), value))
