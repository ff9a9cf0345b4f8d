"""Whether a gang could ever start on the cluster as it is: asked of every bundle, then of the planner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from aios.errors import Problem as Complaint
from aios.errors import Unsatisfiable
from placement.model import Bundle, Demand, DemandId, Node, NodeId, NodeState, Plan, Problem, Tenant, total

MOST = 1_000
"""How many shapes of gangs are remembered."""


class Fits:
    """Which gangs were found to fit the empty cluster: true as long as its nodes and tenants are the same."""

    def __init__(self) -> None:
        self._nodes: Mapping[NodeId, Node] = {}
        self._tenants: Sequence[Tenant] = ()
        self._known: set[object] = set()

    def of(self, nodes: Mapping[NodeId, Node], tenants: Sequence[Tenant]) -> set[object]:
        """Return the shapes that fit these nodes; the same mapping stands for the same nodes."""
        if nodes is not self._nodes or tenants != self._tenants or len(self._known) >= MOST:
            self._nodes, self._tenants, self._known = nodes, tenants, set()
        return self._known


def check_fits(
    demand: Demand,
    nodes: Sequence[Node],
    names: Mapping[NodeId, str],
    tenants: Sequence[Tenant],
    plan: Callable[[Problem], Plan],
    at: tuple[str | int, ...] = (),
) -> None:
    """Raise Unsatisfiable where the gang does not fit even an empty cluster.

    Parameters
    ----------
    nodes : sequence of Node
        Those that are not down; a draining one counts, it may come back.
    plan : callable
        Answers for the empty cluster, where topology and limits are the only things in the way.
    """
    empty = [replace(node, state=NodeState.READY) for node in nodes]
    for bundle in dict.fromkeys(demand.bundles[: demand.min_bundles]):
        _check_bundle(demand.id, bundle, empty, names, at)
    _check_sum(demand, empty, at)
    answer = plan(Problem(nodes=tuple(empty), tenants=tuple(tenants), pending=(replace(demand, runtime_s=None),)))
    waiting = answer.waiting.get(demand.id)
    if waiting is not None and all(grant.demand != demand.id for grant in answer.grants):
        hint = " or ".join(waiting.would_run_if) or "ask for less, or add nodes"
        _refuse(f"{demand.id} could not start even on the empty cluster: {waiting.detail}", hint, at)


def _check_bundle(
    name: DemandId, bundle: Bundle, nodes: Sequence[Node], names: Mapping[NodeId, str], at: tuple[str | int, ...]
) -> None:
    accepted = [node for node in nodes if bundle.selector.accepts(node)]
    if not accepted:
        hint = "see the nodes' labels: aios nodes -o wide"
        _refuse(f"{name}: no node has {bundle.selector}", hint, at)
    if not any(bundle.resources.fits_in(node.resources) for node in accepted):
        best = max(accepted, key=lambda node: _closeness(bundle, node))
        which = "the largest node" if not bundle.selector.requirements else f"the largest node with {bundle.selector}"
        message = (
            f"{name}: no node could ever hold one bundle of {bundle.resources}: "
            f"{which}, {names.get(best.id) or best.id}, has {best.resources}"
        )
        _refuse(message, "ask for less in one bundle, spread it over more workers, or add a larger node", at)


def _check_sum(demand: Demand, nodes: Sequence[Node], at: tuple[str | int, ...]) -> None:
    asked, there = demand.resources(demand.min_bundles), total(node.resources for node in nodes)
    if not asked.fits_in(there):
        n = demand.min_bundles
        message = f"{demand.id}: a gang of {n} asks for {asked}, and the whole cluster has {there}"
        _refuse(message, "ask for fewer or smaller workers, or add nodes", at)


def _closeness(bundle: Bundle, node: Node) -> tuple[Fraction, int]:
    parts = [min(Fraction(1), Fraction(node.resources.get(name), amount)) for name, amount in bundle.resources.items()]
    return min(parts, default=Fraction(1)), sum(amount for _, amount in node.resources.items())


def _refuse(message: str, hint: str, at: tuple[str | int, ...]) -> None:
    raise Unsatisfiable(message, hint=hint, problems=(Complaint(at, message, hint),) if at else ())
