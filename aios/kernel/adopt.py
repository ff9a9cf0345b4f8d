"""What of a plan is still valid now: that much becomes grants and orders to yield, the rest is refused and said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from aios.kernel.events import PlanAdopted, PreemptionOrdered, Waits, WorkloadId
from aios.kernel.evolve import Fold
from aios.kernel.ports import Observed
from aios.kernel.queue import Proposed, kept, problem, question, yielding_for
from aios.kernel.room import Room
from aios.kernel.state import State, Status
from placement.model import DemandId, Grant, NodeState, Plan, Policy, Preemption, Problem, Reason, Waiting

Judge = Callable[[Problem, Plan], Sequence[object]]
"""``placement.check.violations``: what is wrong with a plan, nothing where it is right."""

REASONS = {
    Reason.UNSATISFIABLE: "Unsatisfiable",
    Reason.SELECTOR: "NoMatchingNode",
    Reason.TOPOLOGY: "TopologyNotMet",
    Reason.DRAINED: "NodesDraining",
    Reason.QUOTA: "WaitingForQuota",
    Reason.PRIORITY: "BehindHigherPriority",
    Reason.FRAGMENTATION: "FragmentedCapacity",
    Reason.CAPACITY: "WaitingForResources",
}
"""The reason that users read, by the planner's."""


def adopt(fold: Fold, now_s: float, observed: Observed, proposed: Proposed, policy: Policy, judge: Judge) -> bool:
    """Record the part of a plan that is valid now.

    Returns
    -------
    bool
        Whether all of it was, and nothing has changed since it was asked for: asking again would bring nothing new.
    """
    present = problem(fold.state, now_s, observed, policy)
    plan, refused = valid_part(fold.state, observed, present, proposed.plan, judge)
    plan_id = fold.state.plan_id + 1
    fold.record(_adopted(now_s, plan_id, proposed.plan, refused))
    for preemption in plan.preemptions:
        _order(fold, now_s, preemption)
    room = Room(fold.state, observed)
    for one in plan.grants:
        _grant_or_keep(fold, now_s, room, one, plan_id, plan)
    for demand in present.pending:
        _say_why(fold, now_s, WorkloadId(demand.id), proposed.plan.waiting.get(demand.id))
    return not refused and not proposed.failed and question(present) == proposed.ask.question


def valid_part(
    state: State, observed: Observed, present: Problem, plan: Plan, judge: Judge
) -> tuple[Plan, tuple[str, ...]]:
    """Return the largest prefix-greedy part of a plan that holds now, and what was refused with why."""
    refused: list[str] = []
    victims = {p.demand: p for p in plan.preemptions if _accepted(refused, p.demand, _no_victim(state, p))}
    grants = [g for g in plan.grants if _accepted(refused, g.demand, _no_grant(state, present, g))]
    refused.extend(f"{resize.demand}: a running workload keeps its {resize.before} bundles" for resize in plan.resizes)
    while True:
        grants = _that_fit(state, observed, grants, victims, refused)
        granted = {one.demand for one in grants}
        needed = {id: p for id, p in victims.items() if not p.beneficiaries or granted.intersection(p.beneficiaries)}
        if len(needed) < len(victims):
            refused.extend(f"{id}: need not yield, nobody gets its place" for id in victims if id not in needed)
            victims = needed
            continue
        orders = tuple(_for_those(granted, preemption) for preemption in victims.values())
        waiting = _waiting(present, plan, granted)
        part = replace(plan, grants=tuple(grants), preemptions=orders, resizes=(), waiting=waiting)
        wrong = judge(present, part) if grants or victims else ()
        if not wrong:
            return part, tuple(refused)
        if grants:
            refused.append(f"{grants.pop().demand}: {wrong[0]}")
        else:
            refused.extend(f"{id}: {wrong[0]}" for id in victims)
            victims = {}


def _for_those(granted: set[DemandId], preemption: Preemption) -> Preemption:
    return replace(preemption, beneficiaries=tuple(id for id in preemption.beneficiaries if id in granted))


def _accepted(refused: list[str], id: DemandId, why_not: str) -> bool:
    if why_not:
        refused.append(f"{id}: {why_not}")
    return not why_not


def _no_victim(state: State, preemption: Preemption) -> str:
    """Return why a workload cannot be told to yield, empty where it can."""
    workload = state.workloads.get(WorkloadId(preemption.demand))
    if workload is None or workload.current is None:
        return "it does not run any more"
    if workload.status is Status.STOPPING:
        return "it is ending already"
    return "" if workload.work.demand.preemptible else "it is not preemptible"


def _no_grant(state: State, present: Problem, one: Grant) -> str:
    """Return why a grant cannot be, room apart; empty where it can."""
    demand = next((demand for demand in present.pending if demand.id == one.demand), None)
    if demand is None:
        return "it does not wait any more"
    if not demand.min_bundles <= len(one.nodes) <= len(demand.bundles):
        return f"{len(one.nodes)} bundles are not {demand.min_bundles} to {len(demand.bundles)}"
    for bundle, id in zip(demand.bundles, one.nodes, strict=False):
        node = state.nodes.get(id)
        if node is None or node.state is not NodeState.READY:
            return f"node {id} is not ready"
        if not bundle.selector.accepts(node):
            return f"node {id} is not {bundle.selector}"
    return ""


def _that_fit(
    state: State, observed: Observed, grants: list[Grant], victims: dict[DemandId, Preemption], refused: list[str]
) -> list[Grant]:
    """Return the grants that have room, in the plan's order, once the victims are gone."""
    room = Room(state, observed)
    for id in victims:
        workload = state.workloads[WorkloadId(id)]
        assert workload.current is not None, f"{id}: only what runs can yield"
        room.leave(workload.work.demand, workload.current.nodes)
    fitting = []
    for one in grants:
        demand = state.workloads[WorkloadId(one.demand)].work.demand
        if room.is_free(demand, one.nodes):
            room.promise(demand, one.nodes)
            fitting.append(one)
        else:
            refused.append(f"{one.demand}: its place was taken meanwhile")
    return fitting


def _waiting(present: Problem, plan: Plan, granted: set[DemandId]) -> dict[DemandId, Waiting]:
    """Return a reason for everything that waits under the part, so that it is a whole plan."""
    other = Waiting(Reason.CAPACITY, "it waits for the next plan")
    return {d.id: plan.waiting.get(d.id, other) for d in present.pending if d.id not in granted}


def _adopted(now_s: float, plan_id: int, plan: Plan, refused: tuple[str, ...]) -> PlanAdopted:
    stats = plan.stats
    return PlanAdopted(
        now_s,
        plan_id,
        stats.planner,
        stats.status,
        stats.objective,
        stats.bound,
        stats.gap,
        stats.wall_s,
        stats.terms,
        stats.fallbacks,
        tuple((id, plan.shares[id].entitled, plan.shares[id].used) for id in sorted(plan.shares)),
        refused,
    )


def _order(fold: Fold, now_s: float, preemption: Preemption) -> None:
    workload = fold.state.workloads[WorkloadId(preemption.demand)]
    assert workload.current is not None, f"{workload.id}: only what runs can yield"
    fold.record(
        PreemptionOrdered(
            now_s,
            workload.id,
            workload.current.number,
            preemption.cause.value,
            tuple(WorkloadId(id) for id in preemption.beneficiaries),
            now_s + workload.work.grace_s,
        )
    )


def _grant_or_keep(fold: Fold, now_s: float, room: Room, one: Grant, plan_id: int, plan: Plan) -> None:
    """Grant where there is room now; else keep the nodes until those who yield are gone."""
    id = WorkloadId(one.demand)
    demand = fold.state.workloads[id].work.demand
    leaving = yielding_for(fold.state, id)
    if not leaving and room.fits_now(demand, one.nodes):
        room.take(demand, one.nodes)
        fold.grant(now_s, id, one.nodes, plan_id, f"plan {plan_id} ({plan.stats.planner}, {plan.stats.status})")
        return
    who = ", ".join(leaving) or "others"
    detail = f"{who} must leave first; {len(one.nodes)} bundles are kept for it"
    fold.wait(Waits(now_s, id, "WaitingForPreemption", detail, (), one.nodes, plan_id))


def _say_why(fold: Fold, now_s: float, id: WorkloadId, waiting: Waiting | None) -> None:
    workload = fold.state.workloads[id]
    if waiting is not None and workload.current is None and not kept(fold.state, id):
        fold.wait(Waits(now_s, id, REASONS[waiting.reason], waiting.detail, waiting.would_run_if))
