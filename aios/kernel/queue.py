"""The planning question: who waits, who holds what, and what is kept for whom.

Work that was told to yield still holds its nodes, and the workload that it yields to has them kept in its ``Waits``.
The planner sees the cluster as it will be: who yields is gone, who has nodes kept runs there. What the leaving hold
beyond what is kept counts as foreign use, so that a new grant can be launched at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from aios.kernel.concurrency import held_back
from aios.kernel.events import WorkloadId
from aios.kernel.ports import Observed
from aios.kernel.quarantine import shut
from aios.kernel.records import status_of
from aios.kernel.resizing import in_place, parts, shrinks, staying
from aios.kernel.retry import elsewhere
from aios.kernel.state import Attempt, State, Status, Workload
from aios.kernel.used import with_usage
from placement.model import (
    ROOT,
    Bundle,
    Demand,
    Node,
    NodeId,
    NodeState,
    Objective,
    Plan,
    Policy,
    Problem,
    Resources,
    Running,
    Tenant,
    total,
)
from placement.model.demand import counted

RESIZE_AFTER_S = 300.0
"""How long elastic work runs before it may grow: each change of size costs a restart from its checkpoint."""

RESIZE_IN_PLACE_AFTER_S = 30.0
"""How long a service keeps its size before it may grow: a change in place costs no restart."""

LEAST_LEFT_S = 1.0
"""What is thought to be left of work that has outrun its estimate."""

BY_USAGE = ("drf-usage",)
"""The fairness policies that look at past use."""

Question = tuple[object, ...]
"""What a plan depends on, apart from the time within a round: two equal questions have the same answer."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A plan is wanted for this problem, seen at this version of the state."""

    problem: Problem
    version: int
    question: Question


@dataclass(frozen=True, slots=True)
class Proposed:
    """A plan and what it is the answer to; ``failed`` where the planner gave none."""

    plan: Plan
    ask: Ask
    failed: bool = False


def ask(state: State, now_s: float, observed: Observed, policy: Policy | None = None) -> Ask | None:
    """Return the question whose answer would help now; None where nothing waits, could grow or could be better placed.

    Where the plan aims at the most useful work in rounds, what runs may go on elsewhere even when nobody waits.
    """
    in_rounds = _for_goodput(policy_in_force(state, policy))
    held = held_back(state)
    if not any(
        (workload.id not in held and _wants(state, workload, now_s)) or (in_rounds and _may_turn(workload))
        for workload in live(state)
    ):
        return None
    now = problem(state, now_s, observed, policy)
    return Ask(now, state.version, question(now))


def _for_goodput(policy: Policy) -> bool:
    return policy.objective is Objective.GOODPUT and policy.time_slice_s is not None


def _may_turn(workload: Workload) -> bool:
    """Return whether work runs that might be better placed in the next round."""
    attempt = workload.current
    return attempt is not None and attempt.deadline_s is None and not workload.work.service


def _wants(state: State, workload: Workload, now_s: float) -> bool:
    attempt = workload.current
    if attempt is not None:
        return attempt.deadline_s is None and may_grow(workload, attempt, now_s)
    return is_pending(state, workload, now_s) and not kept(state, workload.id)


def problem(state: State, now_s: float, observed: Observed, policy: Policy | None = None) -> Problem:
    """Return the cluster as the planner is to see it."""
    running: list[Running] = []
    pending: list[Demand] = []
    leaving: list[Mapping[NodeId, Resources]] = []
    kept_nodes: list[Mapping[NodeId, Resources]] = []
    all_kept, held = kept_nodes_of(state), held_back(state)
    for workload in live(state):
        attempt, nodes = workload.current, all_kept.get(workload.work.id, ())
        if attempt is not None and yields(attempt):
            leaving.append(placed(workload.held(attempt), attempt.nodes))
        elif attempt is not None:
            if in_place(workload):
                running.extend(_service(workload, attempt, now_s))
            else:
                running.append(_running(workload, attempt, now_s))
            if shrinks(attempt):
                leaving.append(_given_up(workload, attempt))
        if nodes:
            demand = as_left(workload, kept_demand(state, workload))
            kept_nodes.append(placed(demand, nodes))
            running.append(Running(_as_placed(demand, nodes, preemptible=False), nodes, now_s))
        elif attempt is None and workload.id not in held and is_pending(state, workload, now_s):
            pending.append(elsewhere(state, workload, as_left(workload, workload.work.demand)))
    nodes_up = tuple(_as_open(state, n) for n in _in_order(state.nodes.values()) if n.state is not NodeState.DOWN)
    surplus = _surplus(added(leaving), added(kept_nodes))
    foreign = added([foreign_use(observed), surplus])
    return Problem(
        nodes=nodes_up,
        tenants=_with_usage(state, _tenants(state, [r.demand for r in running] + pending), now_s, policy),
        running=tuple(running),
        pending=tuple(pending),
        now_s=now_s,
        policy=policy_in_force(state, policy),
        foreign={node.id: foreign[node.id] for node in nodes_up if node.id in foreign},
        reservations=tuple(state.reservations[name] for name in sorted(state.reservations)),
        expected=_expected(state, [r.demand for r in running] + pending),
    )


def _as_open(state: State, node: Node) -> Node:
    """Return a node as the planner may use it: on one in quarantine nothing new starts, and what runs stays."""
    return replace(node, state=NodeState.DRAINING) if shut(state, node.id) else node


def _expected(state: State, known: Iterable[Demand]) -> tuple[tuple[Bundle, float], ...]:
    """Return what is likely to want room soon: what waits for its inputs, beside what the planner sees anyway.

    Empty where nothing waits for inputs: then the planner goes by what it sees.
    """
    coming = [workload.work.demand for workload in live(state) if _waits_for_inputs(state, workload)]
    if not coming:
        return ()
    mix: dict[Bundle, float] = {}
    for demand in (*known, *coming):
        for bundle, n in counted(demand.bundles):
            mix[bundle] = mix.get(bundle, 0.0) + n
    return tuple(mix.items())


def _waits_for_inputs(state: State, workload: Workload) -> bool:
    return workload.current is None and not workload.status.over and bool(unmet(state, workload))


def policy_in_force(state: State, otherwise: Policy | None = None) -> Policy:
    """Return the rules that were applied last, or else those given."""
    if state.policy is not None:
        return state.policy
    return Policy() if otherwise is None else otherwise


def question(problem: Problem) -> Question:
    return (
        problem.nodes,
        tuple(replace(tenant, usage=()) if tenant.usage else tenant for tenant in problem.tenants),
        tuple((r.demand.id, r.nodes, r.demand.preemptible, len(r.demand.bundles)) for r in problem.running),
        tuple(demand.id for demand in problem.pending),
        tuple(sorted(problem.foreign.items())),
        problem.policy,
        tuple((one, one.starts_s <= problem.now_s) for one in problem.reservations),
        rounds(problem),
    )


def rounds(problem: Problem) -> tuple[int, ...]:
    """Return how many time slices and steps of ageing are past; where all waits or all runs they change nothing."""
    if not _changes_in_rounds(problem):
        return ()
    return tuple(int(problem.now_s // period_s) for period_s in _periods_s(problem.policy))


def next_round_s(problem: Problem) -> float | None:
    """Return when the same question deserves another answer, None where only an event can change it."""
    if not _changes_in_rounds(problem):
        return None
    return min(((problem.now_s // period_s + 1) * period_s for period_s in _periods_s(problem.policy)), default=None)


def _changes_in_rounds(problem: Problem) -> bool:
    return bool(problem.running) and (bool(problem.pending) or _for_goodput(problem.policy))


def _periods_s(policy: Policy) -> tuple[float, ...]:
    return tuple(period_s for period_s in (policy.time_slice_s, policy.ageing_s) if period_s)


def live(state: State) -> Iterator[Workload]:
    """Return the workloads that are not over, in order of submission."""
    return (state.workloads[id] for id in state.live)


def is_pending(state: State, workload: Workload, now_s: float) -> bool:
    """Return whether a workload wants nodes now."""
    return (
        workload.status in (Status.QUEUED, Status.PREEMPTED)
        and workload.stop_requested_s is None
        and workload.not_before_s <= now_s
        and not unmet(state, workload)
    )


def unmet(state: State, workload: Workload) -> tuple[WorkloadId, ...]:
    """Return the workloads that must succeed (services: be ready) before this one may start."""
    if not workload.work.needs:
        return ()
    return tuple(id for id in workload.work.needs if not _met(state, id))


def _met(state: State, id: WorkloadId) -> bool:
    need = state.workloads.get(id)
    if need is None:
        return status_of(state, id) is Status.SUCCEEDED
    return need.status is Status.SUCCEEDED or (need.work.service and need.ready)


def kept(state: State, id: WorkloadId) -> tuple[NodeId, ...]:
    """Return the nodes that are kept for a waiting workload."""
    waits = state.waits.get(id)
    return waits.nodes if waits is not None else ()


def kept_nodes_of(state: State) -> dict[WorkloadId, tuple[NodeId, ...]]:
    """Return the nodes that are kept, for everyone who has any."""
    return {id: waits.nodes for id, waits in state.waits.items() if waits.nodes}


def kept_demand(state: State, workload: Workload) -> Demand:
    """Return the demand of a workload in the form that nodes are kept for."""
    waits = state.waits.get(workload.id)
    return workload.work.demand.form(waits.form if waits is not None else 0)


def yields(attempt: Attempt) -> bool:
    """Return whether an attempt was told to make room."""
    return attempt.preempt_cause != ""


def yielding(state: State) -> dict[WorkloadId, list[WorkloadId]]:
    """Return the workloads that still have to end, or to get smaller, by those for whom they do."""
    found: dict[WorkloadId, list[WorkloadId]] = {}
    for other in live(state):
        attempt = other.current
        if attempt is not None and attempt.preempted_for and (yields(attempt) or shrinks(attempt)):
            for id in dict.fromkeys(attempt.preempted_for):
                found.setdefault(id, []).append(other.id)
    return found


def _given_up(workload: Workload, attempt: Attempt) -> dict[NodeId, Resources]:
    """Return what an attempt holds that it was told to give up."""
    held = workload.held(attempt)
    stays = placed(held, staying(attempt))
    return _surplus(placed(held, attempt.nodes), stays)


def placed(demand: Demand, nodes: tuple[NodeId, ...]) -> dict[NodeId, Resources]:
    """Return what a demand takes of each node: bundle i on ``nodes[i]``."""
    if len(nodes) == 1:
        return {nodes[0]: demand.bundles[0].resources}
    by_node: dict[NodeId, list[Resources]] = {}
    for bundle, node in zip(demand.bundles, nodes, strict=False):
        by_node.setdefault(node, []).append(bundle.resources)
    return {node: total(parts) for node, parts in by_node.items()}


def added(parts: Iterable[Mapping[NodeId, Resources]]) -> dict[NodeId, Resources]:
    """Return the sum by node."""
    by_node: dict[NodeId, list[Resources]] = {}
    for part in parts:
        for node, resources in part.items():
            by_node.setdefault(node, []).append(resources)
    return {node: total(amounts) for node, amounts in by_node.items()}


def foreign_use(observed: Observed) -> dict[NodeId, Resources]:
    return {seen.node.id: seen.foreign for seen in observed.nodes if seen.foreign}


def _surplus(leaving: Mapping[NodeId, Resources], kept_nodes: Mapping[NodeId, Resources]) -> dict[NodeId, Resources]:
    surplus = {node: (held - kept_nodes.get(node, Resources())).positive() for node, held in leaving.items()}
    return {node: amount for node, amount in surplus.items() if amount}


def _running(workload: Workload, attempt: Attempt, now_s: float) -> Running:
    demand = as_left(workload, workload.held(attempt))
    may_yield = demand.preemptible and workload.status is not Status.STOPPING
    started_s = attempt.granted_s if attempt.started_s is None else attempt.started_s
    saved_s = workload.checkpoint_s
    if saved_s is not None and saved_s < attempt.granted_s:
        saved_s = started_s  # it began from that checkpoint: nothing older can be lost
    now = _as_placed(demand, attempt.nodes, preemptible=may_yield)
    if may_yield and resizes_s(workload, attempt) is not None:
        most = demand.bundles if may_grow(workload, attempt, now_s) else now.bundles
        now = replace(now, bundles=most, min_bundles=demand.min_bundles)
    return Running(now, attempt.nodes, started_s, saved_s)


def _service(workload: Workload, attempt: Attempt, now_s: float) -> tuple[Running, ...]:
    """Return a service as two: its minimum, which is never taken from it, and what it has above that."""
    minimum, rest = parts(workload, attempt)
    nodes, least = staying(attempt), len(minimum.bundles)
    started_s = attempt.granted_s if attempt.started_s is None else attempt.started_s
    grows = workload.status is not Status.STOPPING and may_grow(workload, attempt, now_s)
    if len(nodes) <= least:
        most = (*minimum.bundles, *rest.bundles) if grows else minimum.bundles
        return (Running(replace(minimum, bundles=most), nodes, started_s),)
    may_yield = rest.preemptible and workload.status is not Status.STOPPING and attempt.resizing_to is None
    now = _as_placed(rest, nodes[least:], preemptible=may_yield)
    if may_yield and resizes_s(workload, attempt) is not None:
        now = replace(now, bundles=rest.bundles if grows else now.bundles, min_bundles=1)
    return Running(minimum, nodes[:least], started_s), Running(now, nodes[least:], started_s)


def resizes_s(workload: Workload, attempt: Attempt) -> float | None:
    """Return from when a running elastic workload may grow; None where its size stays.

    It goes on from its checkpoint with another number of bundles; a service changes in place, one change at a time.
    """
    demand = workload.held(attempt)
    if demand.min_bundles == len(demand.bundles) or attempt.started_s is None or attempt.resizing_to is not None:
        return None
    if not workload.work.service:
        return attempt.started_s + RESIZE_AFTER_S
    return None if attempt.ready_s is None else max(attempt.ready_s, attempt.held_from_s) + RESIZE_IN_PLACE_AFTER_S


def may_grow(workload: Workload, attempt: Attempt, now_s: float) -> bool:
    """Return whether a running elastic workload has fewer bundles than it can use, for long enough to change it."""
    from_s = resizes_s(workload, attempt)
    return from_s is not None and from_s <= now_s and len(attempt.nodes) < len(workload.held(attempt).bundles)


def as_left(workload: Workload, demand: Demand) -> Demand:
    """Return a demand with the workload's progress: what earlier attempts have saved need not be done again."""
    if not workload.attained and not workload.served_s:
        return demand
    left_s = None if demand.runtime_s is None else max(LEAST_LEFT_S, demand.runtime_s - workload.served_s)
    return replace(demand, served_s=workload.served_s, attained=workload.attained, runtime_s=left_s)


def _as_placed(demand: Demand, nodes: tuple[NodeId, ...], *, preemptible: bool) -> Demand:
    """Return what runs as the planner may treat it: with the size it has, and whole or not at all."""
    if len(nodes) == demand.min_bundles == len(demand.bundles) and preemptible == demand.preemptible:
        return demand
    return replace(demand, bundles=demand.bundles[: len(nodes)], min_bundles=len(nodes), preemptible=preemptible)


def _with_usage(state: State, tenants: tuple[Tenant, ...], now_s: float, policy: Policy | None) -> tuple[Tenant, ...]:
    """Return the tenants with their past use, where the policy in force looks at it."""
    rules = policy_in_force(state, policy)
    if rules.fairness not in BY_USAGE:
        return tenants
    running = ((workload, workload.current) for workload in live(state))
    open_ = [(workload, attempt) for workload, attempt in running if attempt is not None]
    return with_usage(tenants, state.usage, open_, now_s, rules.usage_half_life_s)


def _tenants(state: State, demands: Iterable[Demand]) -> tuple[Tenant, ...]:
    """Return all known tenants; one that old work names and nobody knows any more is taken as it is."""
    known = dict(state.tenants.items())
    for demand in demands:
        if demand.tenant not in known:
            known[demand.tenant] = Tenant(demand.tenant)
    return tuple(known[id] for id in sorted(known) if id != ROOT)


def _in_order(nodes: Iterable[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: node.id)
