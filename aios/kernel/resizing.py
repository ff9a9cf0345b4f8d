"""Changes of size in place: work that answers requests gives up bundles, or gets more, without a new attempt.

What grows holds its new nodes from the order on; what shrinks holds the old ones until it has let go of them.
"""

from __future__ import annotations

from aios.kernel.events import AttemptResized, ResizeOrdered, WorkloadId
from aios.kernel.replacing import replace
from aios.kernel.state import Attempt, Workload
from aios.kernel.worked import received
from placement.model import Demand, DemandId, NodeId

ABOVE = " above its minimum"

GROWS_WITHIN_S = 600.0
"""How long an attempt may take to grow; then it keeps the size that it had."""

LATE_S = 30.0
"""How long after its grace an attempt may take to let go of what it gives up; then it is restarted smaller."""


def in_place(workload: Workload) -> bool:
    """Return whether a workload changes its size without a restart: it answers requests and has a minimum."""
    demand = workload.work.demand
    return workload.work.service and demand.min_bundles < len(demand.bundles)


def above_minimum(id: WorkloadId) -> DemandId:
    """Return the id under which the planner sees what a service has above its minimum."""
    return DemandId(f"{id}{ABOVE}")


def owner(id: DemandId) -> tuple[WorkloadId, bool]:
    """Return whose demand it is, and whether it is only what that has above its minimum."""
    text = id.removesuffix(ABOVE)
    return WorkloadId(text), text != id


def parts(workload: Workload, attempt: Attempt) -> tuple[Demand, Demand]:
    """Return what a service keeps whatever comes, and the rest of what it may have."""
    demand = workload.held(attempt)
    least = demand.min_bundles
    minimum = replace(demand, bundles=demand.bundles[:least], preemptible=False)
    rest = replace(
        demand,
        id=above_minimum(workload.id),
        bundles=demand.bundles[least:],
        min_bundles=1,
        topologies=(),
        scaling=(),
        alternatives=(),
    )
    return minimum, rest


def shrinks(attempt: Attempt) -> bool:
    """Return whether an attempt was told to give up bundles and still holds them."""
    return attempt.resizing_to is not None and attempt.resizing_to < len(attempt.nodes)


def staying(attempt: Attempt) -> tuple[NodeId, ...]:
    """Return the nodes that an attempt keeps once its change of size is done."""
    return attempt.nodes[: attempt.resizing_to] if shrinks(attempt) else attempt.nodes


def ordered(event: ResizeOrdered, workload: Workload) -> Workload:
    """Return a workload whose attempt was told to change its size."""
    attempt = workload.current
    if attempt is None or attempt.number != event.attempt:
        return workload
    to = len(event.nodes)
    waiting = replace(
        attempt,
        resizing_to=to,
        resize_by_s=event.deadline_s,
        preempted_for=event.beneficiaries,
        resized_from=len(attempt.nodes),
        first_size=attempt.first_size or len(attempt.nodes),
    )
    verb = "grows" if to > len(attempt.nodes) else "shrinks"
    whom = f" for {', '.join(event.beneficiaries)}" if event.beneficiaries else ""
    workload = replace(
        workload, message=f"{verb} from {len(attempt.nodes)} to {to} bundles{whom}, and goes on meanwhile"
    )
    return _holds(workload, waiting, event.nodes if to > len(attempt.nodes) else attempt.nodes, event.at_s)


def done(event: AttemptResized, workload: Workload) -> Workload:
    """Return a workload whose attempt has the size that was ordered."""
    attempt = workload.current
    if attempt is None or attempt.number != event.attempt:
        return workload
    settled = replace(attempt, resizing_to=None, resize_by_s=None, preempted_for=())
    workload = replace(workload, message=f"has {len(event.nodes)} bundles")
    return _holds(workload, settled, event.nodes, event.at_s)


def _holds(workload: Workload, attempt: Attempt, nodes: tuple[NodeId, ...], at_s: float) -> Workload:
    """Return a workload whose attempt holds these nodes from now on; what it held until now is entered first."""
    attained = workload.attained + received(workload, workload.attempts[-1], at_s)
    changed = replace(attempt, nodes=nodes, since_s=at_s)
    return replace(workload, attained=attained, attempts=(*workload.attempts[:-1], changed))
