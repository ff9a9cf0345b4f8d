"""What of a plan is still valid now: that much becomes grants and orders to yield, the rest is refused and said so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from aios.kernel.concurrency import Slots
from aios.kernel.events import PlanAdopted, PreemptionOrdered, ResizeOrdered, Waits, WorkloadId
from aios.kernel.evolve import Fold
from aios.kernel.ports import Observed
from aios.kernel.quarantine import shut
from aios.kernel.queue import Proposed, kept, problem, question, yielding
from aios.kernel.resizing import GROWS_WITHIN_S, in_place, owner, parts
from aios.kernel.room import Room
from aios.kernel.state import State, Status
from placement.model import (
    Demand,
    DemandId,
    Grant,
    Move,
    NodeId,
    NodeState,
    Plan,
    Policy,
    Preemption,
    Problem,
    Reason,
    Resize,
    Waiting,
)

Order = Preemption | Move | Resize
"""What running work is told: to end, or to go on elsewhere or with another size."""

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
        if owner(preemption.demand)[1]:
            _resize_in_place(fold, now_s, preemption, plan_id)
            continue
        _order(fold, now_s, preemption.demand, preemption.cause.value, preemption.beneficiaries)
    changes: tuple[Move | Resize, ...] = (*plan.moves, *plan.resizes)
    for change in changes:
        _send_elsewhere(fold, now_s, change, plan_id)
    if plan.grants:
        room, leaving = Room(fold.state, observed), yielding(fold.state)
        for one in plan.grants:
            _grant_or_keep(fold, now_s, room, one, leaving.get(WorkloadId(one.demand), ()), plan_id, plan)
    for demand in present.pending:
        _say_why(fold, now_s, WorkloadId(demand.id), proposed.plan.waiting.get(demand.id))
    return not refused and not proposed.failed and question(present) == proposed.ask.question


def valid_part(
    state: State, observed: Observed, present: Problem, plan: Plan, judge: Judge
) -> tuple[Plan, tuple[str, ...]]:
    """Return the largest prefix-greedy part of a plan that holds now, and what was refused with why."""
    refused: list[str] = []
    orders: tuple[Order, ...] = (*plan.preemptions, *plan.moves, *plan.resizes)
    victims = {one.demand: one for one in orders if _accepted(refused, one.demand, _no_victim(state, one))}
    waiting = {demand.id: demand for demand in present.pending}
    grants = [g for g in plan.grants if _accepted(refused, g.demand, _no_grant(state, waiting, g))]
    grants = _within_limits(state, grants, refused)
    while True:
        grants = _that_fit(state, observed, grants, victims, refused)
        granted = {one.demand for one in grants} | {id for id, order in victims.items() if isinstance(order, Move)}
        needed = {id: p for id, p in victims.items() if not p.beneficiaries or granted.intersection(p.beneficiaries)}
        if len(needed) < len(victims):
            refused.extend(f"{id}: need not yield, nobody gets its place" for id in victims if id not in needed)
            victims = needed
            continue
        kept_orders = [_for_those(granted, order) for order in victims.values()]
        part = replace(
            plan,
            grants=tuple(grants),
            preemptions=tuple(order for order in kept_orders if isinstance(order, Preemption)),
            moves=tuple(order for order in kept_orders if isinstance(order, Move)),
            resizes=tuple(order for order in kept_orders if isinstance(order, Resize)),
            waiting=_waiting(present, plan, granted),
        )
        wrong = judge(present, part) if grants or victims else ()
        if not wrong:
            return part, tuple(refused)
        if grants:
            refused.append(f"{grants.pop().demand}: {wrong[0]}")
        else:
            refused.extend(f"{id}: {wrong[0]}" for id in victims)
            victims = {}


def _for_those(granted: set[DemandId], order: Order) -> Order:
    return replace(order, beneficiaries=tuple(id for id in order.beneficiaries if id in granted))


def _accepted(refused: list[str], id: DemandId, why_not: str) -> bool:
    if why_not:
        refused.append(f"{id}: {why_not}")
    return not why_not


def _no_victim(state: State, order: Order) -> str:
    """Return why a workload cannot be told to yield, move or change its size, empty where it can."""
    workload = state.workloads.get(owner(order.demand)[0])
    if workload is None or workload.current is None:
        return "it does not run any more"
    if workload.status is Status.STOPPING:
        return "it is ending already"
    if workload.current.resizing_to is not None:
        return "it is changing its size already"
    demand, nodes = _held(state, order.demand)
    if isinstance(order, Resize) and len(nodes) != order.before:
        return f"it has {len(nodes)} bundles, not {order.before}"
    if not isinstance(order, Preemption):
        return _not_on(state, demand, order.nodes)
    return "" if workload.work.demand.preemptible else "it is not preemptible"


def _no_grant(state: State, waiting: Mapping[DemandId, Demand], one: Grant) -> str:
    """Return why a grant cannot be, room apart; empty where it can."""
    demand = waiting.get(one.demand)
    if demand is None:
        return "it does not wait any more"
    demand = demand.form(one.form)
    if not demand.min_bundles <= len(one.nodes) <= len(demand.bundles):
        return f"{len(one.nodes)} bundles are not {demand.min_bundles} to {len(demand.bundles)}"
    return _not_on(state, demand, one.nodes)


def _within_limits(state: State, grants: list[Grant], refused: list[str]) -> list[Grant]:
    """Return the grants that their tenants and users may run beside what runs, in the plan's order."""
    slots, kept_grants = Slots(state), []
    for one in grants:
        workload = state.workloads[WorkloadId(one.demand)]
        why = slots.closed_to(workload)
        if _accepted(refused, one.demand, "" if why is None else why.detail):
            slots.take(workload)
            kept_grants.append(one)
    return kept_grants


def _not_on(state: State, demand: Demand, nodes: tuple[NodeId, ...]) -> str:
    """Return why a demand's bundles cannot be on these nodes, room apart; empty where they can."""
    for bundle, id in zip(demand.bundles, nodes, strict=False):
        node = state.nodes.get(id)
        if node is None or node.state is not NodeState.READY:
            return f"node {id} is not ready"
        if shut(state, id):
            return f"node {id} is in quarantine"
        if not bundle.selector.accepts(node):
            return f"node {id} is not {bundle.selector}"
    return ""


def _that_fit(
    state: State, observed: Observed, grants: list[Grant], victims: dict[DemandId, Order], refused: list[str]
) -> list[Grant]:
    """Return the grants that have room, in the plan's order, once the victims are gone.

    Victims that would go on elsewhere and have no room there stay, and are taken out.
    """
    if not grants and not victims:
        return []
    room = Room(state, observed)
    for id in victims:
        held, nodes = _held(state, id)
        room.leave(held, nodes)
    for id, order in list(victims.items()):
        held, nodes = _held(state, id)
        if isinstance(order, Preemption):
            continue
        if room.is_free(held, order.nodes):
            room.promise(held, order.nodes)
        else:
            refused.append(f"{id}: its new place was taken meanwhile")
            room.promise(held, nodes)
            del victims[id]
    fitting = []
    for one in grants:
        demand = state.workloads[WorkloadId(one.demand)].work.demand.form(one.form)
        if room.is_free(demand, one.nodes):
            room.promise(demand, one.nodes)
            fitting.append(one)
        else:
            refused.append(f"{one.demand}: its place was taken meanwhile")
    return fitting


def _held(state: State, id: DemandId) -> tuple[Demand, tuple[NodeId, ...]]:
    """Return what running work holds; of a service the part that the planner means."""
    whose, above = owner(id)
    workload = state.workloads[whose]
    assert workload.current is not None, f"{whose}: only what runs can yield"
    if not above:
        return workload.held(workload.current), workload.current.nodes
    minimum, rest = parts(workload, workload.current)
    return rest, workload.current.nodes[len(minimum.bundles) :]


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


def _order(fold: Fold, now_s: float, id: DemandId, cause: str, beneficiaries: tuple[DemandId, ...]) -> None:
    workload = fold.state.workloads[WorkloadId(id)]
    assert workload.current is not None, f"{workload.id}: only what runs can yield"
    fold.record(
        PreemptionOrdered(
            now_s,
            workload.id,
            workload.current.number,
            cause,
            tuple(WorkloadId(id) for id in beneficiaries),
            now_s + workload.work.grace_s,
        )
    )


def _send_elsewhere(fold: Fold, now_s: float, change: Move | Resize, plan_id: int) -> None:
    """Have running work save its progress, and keep the nodes on which it goes on."""
    id, above = owner(change.demand)
    workload = fold.state.workloads[id]
    attempt = workload.current
    assert attempt is not None, f"{workload.id}: only what runs can move"
    if above or (isinstance(change, Resize) and in_place(workload)):
        _resize_in_place(fold, now_s, change, plan_id)
        return
    if isinstance(change, Move):
        _order(fold, now_s, change.demand, "migration", change.beneficiaries)
        detail = f"it saves its progress and moves to {len(change.nodes)} other places"
    else:
        _order(fold, now_s, change.demand, "resize", change.beneficiaries)
        detail = f"it saves its progress and goes on with {change.to} bundles instead of {change.before}"
    fold.wait(
        Waits(
            now_s,
            workload.id,
            fold.state.workloads[workload.id].reason,
            detail,
            (),
            change.nodes,
            plan_id,
            attempt.form,
        )
    )


def _resize_in_place(fold: Fold, now_s: float, order: Order, plan_id: int) -> None:
    """Have a service give up bundles, or get more, and go on; what would move of it goes, and may come back later."""
    id, above = owner(order.demand)
    workload = fold.state.workloads[id]
    attempt = workload.current
    assert attempt is not None, f"{id}: only what runs changes its size"
    least = attempt.nodes[: workload.held(attempt).min_bundles] if above else ()
    nodes = (*least, *(order.nodes if isinstance(order, Resize) else ()))
    deadline_s = now_s + (GROWS_WITHIN_S if len(nodes) > len(attempt.nodes) else workload.work.grace_s)
    cause = "" if isinstance(order, Move) or order.cause is None else order.cause.value
    whom = tuple(WorkloadId(id) for id in order.beneficiaries)
    fold.record(ResizeOrdered(now_s, id, attempt.number, nodes, cause, whom, plan_id, deadline_s))


def _grant_or_keep(
    fold: Fold, now_s: float, room: Room, one: Grant, leaving: Sequence[WorkloadId], plan_id: int, plan: Plan
) -> None:
    """Grant where there is room now; else keep the nodes until those who yield are gone."""
    id = WorkloadId(one.demand)
    demand = fold.state.workloads[id].work.demand.form(one.form)
    if not leaving and room.fits_now(demand, one.nodes):
        room.take(demand, one.nodes)
        why = f"plan {plan_id} ({plan.stats.planner}, {plan.stats.status})"
        fold.grant(now_s, id, one.nodes, plan_id, why, one.form)
        return
    who = ", ".join(leaving) or "others"
    detail = f"{who} must leave first; {len(one.nodes)} bundles are kept for it"
    fold.wait(Waits(now_s, id, "WaitingForPreemption", detail, (), one.nodes, plan_id, one.form))


def _say_why(fold: Fold, now_s: float, id: WorkloadId, waiting: Waiting | None) -> None:
    workload = fold.state.workloads[id]
    if waiting is not None and workload.current is None and not kept(fold.state, id):
        fold.wait(Waits(now_s, id, REASONS[waiting.reason], waiting.detail, waiting.would_run_if))
