"""A small planner for tests of everything but planning: first fit by priority, preempting what is lower."""

from __future__ import annotations

from placement.model import (
    Cause,
    Demand,
    Grant,
    NodeId,
    NodeState,
    Plan,
    Preemption,
    Problem,
    Reason,
    Resources,
    Running,
    SolveStats,
    Waiting,
)
from placement.planners.base import Budget


def first_fit(problem: Problem, budget: Budget) -> Plan:
    """Return a plan that places each demand, highest priority first, where it first fits."""
    free = {n.id: n.resources for n in problem.nodes if n.state is NodeState.READY}
    for id, amount in problem.foreign.items():
        _take(free, id, amount)
    for running in problem.running:
        for bundle, id in zip(running.demand.bundles, running.nodes, strict=False):
            _take(free, id, bundle.resources)
    grants, preemptions, waiting = [], [], {}
    victims = [r for r in problem.running if r.demand.preemptible]
    for demand in sorted(problem.pending, key=lambda d: -d.priority):
        nodes = _place(problem, demand, free)
        mine = [r for r in victims if r.demand.tenant == demand.tenant and r.demand.priority < demand.priority]
        lower = sorted(mine, key=lambda r: r.demand.priority)
        evicted: list[Running] = []
        trial = dict(free)
        while nodes is None and lower:
            evicted.append(lower.pop(0))
            for bundle, id in zip(evicted[-1].demand.bundles, evicted[-1].nodes, strict=False):
                if id in trial:
                    trial[id] = trial[id] + bundle.resources
            nodes = _place(problem, demand, trial)
        if nodes is None:
            waiting[demand.id] = Waiting(Reason.CAPACITY, f"asks for {demand.resources(demand.min_bundles)}")
            continue
        free = trial
        for running in evicted:
            victims.remove(running)
            preemptions.append(Preemption(running.demand.id, Cause.PRIORITY, (demand.id,)))
        for bundle, id in zip(demand.bundles, nodes, strict=False):
            _take(free, id, bundle.resources)
        grants.append(Grant(demand.id, nodes))
    return Plan(tuple(grants), tuple(preemptions), waiting=waiting, stats=SolveStats("first_fit", "greedy"))


def _place(problem: Problem, demand: Demand, free: dict[NodeId, Resources]) -> tuple[NodeId, ...] | None:
    room, nodes = dict(free), list[NodeId]()
    for bundle in demand.bundles:
        for node in problem.nodes:
            if node.id in room and bundle.selector.accepts(node) and bundle.resources.fits_in(room[node.id]):
                _take(room, node.id, bundle.resources)
                nodes.append(node.id)
                break
        else:
            break
    return tuple(nodes) if len(nodes) >= demand.min_bundles else None


def _take(free: dict[NodeId, Resources], id: NodeId, amount: Resources) -> None:
    if id in free:
        free[id] = free[id] - amount
