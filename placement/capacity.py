"""Capacity: which nodes to ask for at least cost so that waiting work starts, and which nodes could go.

What a programme proposes is tried out: the planner answers the question with the nodes added, under all its laws, and
only who starts there counts as admitted. One node at a time is then taken back for as long as nobody loses by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from placement.model import MILLI, Demand, DemandId, Node, NodeId, NodeState, Plan, Problem, Resources, Running
from placement.planners import ladder
from placement.planners.base import Budget
from placement.planners.cpsat.fitter import Meter
from placement.planners.fitting import place
from placement.planners.sizing import Offer, Sizing, cheapest
from placement.planners.state import Room, State
from placement.planners.under import state_under
from placement.situation import WHOLE_CLUSTER, Situation

PlannerFunction = Callable[[Problem], Plan]

MOST_WANTED = 200
"""Waiting workloads that are looked at, the first in the queue first."""
MOST_TRIALS, FEW_TRIALS = 24, 6
"""How often the planner is asked: of a small question, and of one with more than ``SMALL`` nodes and workloads."""
SMALL = 600
MOST_IN_VAIN = 4
"""Nodes that are added one after the other without letting anybody in before that is given up."""
MOST_LEAVING = 64
"""Nodes that are asked whether they could go."""
ENDLESS = 10_000


@dataclass(frozen=True, slots=True)
class NodeType:
    """What the autoscaler can start: nodes of one kind, at ``cost`` each, at most ``most`` more of them."""

    name: str
    resources: Resources
    labels: tuple[tuple[str, str], ...] = ()
    cost: float = 1.0
    most: int = ENDLESS


@dataclass(frozen=True, slots=True)
class Removable:
    """A node that could go, and the work that would have to move first."""

    node: NodeId
    moves: tuple[DemandId, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """What to ask for, what it costs and whom it lets in.

    Attributes
    ----------
    add : tuple of (name of a type, number)
    cost, bound : float
        What that costs, and the least that serving as many could cost, as far as it was proven.
    admits : tuple of DemandId
        Waiting work that starts with these nodes, by the planner's own answer.
    not_helped : tuple of (DemandId, sentence)
        Waiting work that no node of the catalogue lets in, and why.
    removable : tuple of Removable
    """

    add: tuple[tuple[str, int], ...] = ()
    cost: float = 0.0
    bound: float = 0.0
    admits: tuple[DemandId, ...] = ()
    not_helped: tuple[tuple[DemandId, str], ...] = ()
    removable: tuple[Removable, ...] = ()


def cost_of(resources: Resources) -> float:
    """Return the cost of a node of which no price is known: its GPUs, and a hundredth for each CPU."""
    return round(resources.get("GPU") / MILLI + resources.get("CPU") / MILLI / 100, 3) or 1.0


def catalogue_of(problem: Problem) -> tuple[NodeType, ...]:
    """Return the kinds of nodes that the cluster has, each named after the first of its kind."""
    out: dict[object, NodeType] = {}
    for node in problem.nodes:
        labels = tuple((key, value) for key, value in node.labels if value != node.id)
        if node.id != WHOLE_CLUSTER and node.resources:
            kind = NodeType(node.id, node.resources, labels, cost_of(node.resources))
            out.setdefault((node.resources, labels), kind)
    return tuple(out.values())


def advise(
    problem: Problem,
    catalogue: Sequence[NodeType] | None = None,
    budget: float | None = None,
    planner: PlannerFunction = ladder.plan,
    thinking: Budget = Budget(),  # noqa: B008  # frozen
) -> Advice:
    """Return the cheapest nodes with which the most valuable waiting work starts, and the nodes that could go.

    Parameters
    ----------
    catalogue : sequence of NodeType, optional
        What there is to ask for; by default nodes like those of the cluster.
    budget : float, optional
        The most that all new nodes may cost together.
    planner : callable
        Answers the question with nodes added.
    thinking : Budget
        For the covering programmes; the planner has its own.
    """
    return _Advisor(problem, catalogue_of(problem) if catalogue is None else catalogue, budget, planner, thinking).run()


class _Advisor:
    def __init__(
        self,
        problem: Problem,
        catalogue: Sequence[NodeType],
        budget: float | None,
        planner: PlannerFunction,
        thinking: Budget,
    ) -> None:
        self.problem, self.types, self.budget, self.planner = problem, tuple(catalogue), budget, planner
        self.offers = [Offer(_node(kind, 0), kind.cost, kind.most) for kind in self.types]
        self.thinking, self.trials = thinking, 0
        size = len(problem.nodes) + len(problem.running) + len(problem.pending)
        self.most_trials = MOST_TRIALS if size <= SMALL else FEW_TRIALS
        self.plan = planner(problem)
        self.hoped: set[DemandId] = set()
        self.known: dict[tuple[int, ...], frozenset[DemandId]] = {}

    def run(self) -> Advice:
        now = Situation(self.problem, self.plan)
        waiting = [demand for demand in self.problem.pending if demand.id in self.plan.waiting]
        within = [demand for demand in waiting if not now.all_limits_in_the_way(demand)]
        wanted = [demand for demand in within if self._could_host(demand)][:MOST_WANTED]
        numbers, bound = self._bought(wanted)
        admitted = self._admitted(numbers)
        admits = tuple(demand.id for demand in waiting if demand.id in admitted)
        if not admits:
            numbers, bound = (0,) * len(self.types), 0.0
        return Advice(
            add=tuple((kind.name, n) for kind, n in zip(self.types, numbers, strict=True) if n),
            cost=self._cost(numbers),
            bound=min(bound, self._cost(numbers)),
            admits=admits,
            not_helped=tuple((d.id, self._why_not(d, within, wanted)) for d in waiting if d.id not in admits),
            removable=removable(self.problem, self.plan),
        )

    def _could_host(self, demand: Demand) -> bool:
        """Return whether every bundle has a node, of the cluster or of the catalogue, that could hold it."""
        nodes = [offer.sample for offer in self.offers if offer.most]
        nodes += [node for node in self.problem.nodes if node.state is NodeState.READY]
        return all(
            any(bundle.selector.accepts(node) and bundle.resources.fits_in(node.resources) for node in nodes)
            for bundle in dict.fromkeys(demand.bundles[: demand.min_bundles])
        )

    def _why_not(self, demand: Demand, within: Sequence[Demand], wanted: Sequence[Demand]) -> str:
        if demand not in within:
            return "a limit of its tenant, not room, keeps it waiting"
        if demand not in wanted:
            return "no node of the catalogue could hold it" if not self._could_host(demand) else "is far down the queue"
        if demand.id not in self.hoped:
            return f"not {'within the budget' if self.budget is not None else 'even with all nodes that may be added'}"
        return "others go first"

    # -- the nodes to add ----------------------------------------------------------------------------------------

    def _bought(self, wanted: Sequence[Demand]) -> tuple[tuple[int, ...], float]:
        """Return how many of each type, tried out, and the proven bound on the cost."""
        best: tuple[tuple[int, ...], Sizing] | None = None
        for sizing in self._proposals(wanted):
            hoped = sizing.starts.intersection(demand.id for demand in wanted)
            self.hoped |= hoped
            numbers = self._with_what_lacks(sizing.bought, wanted, hoped)
            if best is None or self._worth(numbers, wanted) > self._worth(best[0], wanted):
                best = numbers, sizing
            if hoped <= self._admitted(numbers):
                break
        if best is None:
            return (0,) * len(self.types), 0.0
        return self._with_less(best[0], wanted), best[1].bound

    def _proposals(self, wanted: Sequence[Demand]) -> Sequence[Sizing]:
        """Return the cheapest nodes beside the plan, then those with which nobody has to yield either.

        What displaces others now takes idle nodes first as soon as there are any.
        """
        if not wanted or not any(offer.most for offer in self.offers):
            return ()
        found = [cheapest(state_under(self.problem, self.plan), wanted, self.offers, self.budget, Meter(self.thinking))]
        granted = {grant.demand for grant in self.plan.grants}
        if self.plan.preemptions or self.plan.resizes or self.plan.moves:
            all_pending = [d for d in self.problem.pending if d in wanted or d.id in granted]
            state = state_under(self.problem, Plan())
            found.append(cheapest(state, all_pending, self.offers, self.budget, Meter(self.thinking)))
        return [sizing for sizing in found if sizing is not None]

    def _with_what_lacks(
        self, numbers: tuple[int, ...], wanted: Sequence[Demand], hoped: frozenset[DemandId]
    ) -> tuple[int, ...]:
        """Add a node at a time for the first who was hoped to start and does not, while that is of use."""
        best, in_vain = numbers, 0
        while self.trials < self.most_trials and in_vain < MOST_IN_VAIN:
            lacking = [demand for demand in wanted if demand.id in hoped - self._admitted(numbers)]
            able = [t for demand in lacking[:1] for t in self._able(demand, numbers)]
            if not able:
                break
            numbers = _one_more(numbers, min(able, key=lambda t: (self.types[t].cost, t)))
            if self._worth(numbers, wanted) > self._worth(best, wanted):
                best, in_vain = numbers, 0
            else:
                in_vain += 1
        return best

    def _able(self, demand: Demand, numbers: Sequence[int]) -> list[int]:
        """Return the types of which one more may be had and that hold a bundle of the demand."""
        return [
            t
            for t, offer in enumerate(self.offers)
            if numbers[t] < offer.most
            and (self.budget is None or self._cost(numbers) + offer.cost <= self.budget)
            and any(
                b.selector.accepts(offer.sample) and b.resources.fits_in(offer.sample.resources) for b in demand.bundles
            )
        ]

    def _with_less(self, numbers: tuple[int, ...], wanted: Sequence[Demand]) -> tuple[int, ...]:
        """Take nodes back, the dearest first, where as much is served without them."""
        for t in sorted(range(len(self.types)), key=lambda t: (-self.types[t].cost, t)):
            while numbers[t] and self.trials < self.most_trials + len(self.types):
                fewer = _one_more(numbers, t, -1)
                if self._worth(fewer, wanted) < self._worth(numbers, wanted):
                    break
                numbers = fewer
        return numbers

    def _worth(self, numbers: tuple[int, ...], wanted: Sequence[Demand]) -> tuple[int, ...]:
        """Return how many of the wanted start, by priority from the highest down."""
        admitted = self._admitted(numbers)
        ranks = sorted({demand.priority for demand in wanted}, reverse=True)
        return tuple(sum(d.priority == rank and d.id in admitted for d in wanted) for rank in ranks)

    def _admitted(self, numbers: tuple[int, ...]) -> frozenset[DemandId]:
        """Return who starts with so many more nodes of each type."""
        if not any(numbers):
            return frozenset(grant.demand for grant in self.plan.grants)
        if numbers not in self.known:
            self.trials += 1
            answer = self.planner(self.with_nodes(numbers))
            self.known[numbers] = frozenset(grant.demand for grant in answer.grants)
        return self.known[numbers]

    def with_nodes(self, numbers: Sequence[int]) -> Problem:
        return with_added(self.problem, [(kind, n) for kind, n in zip(self.types, numbers, strict=True)])

    def _cost(self, numbers: Sequence[int]) -> float:
        return round(sum(kind.cost * n for kind, n in zip(self.types, numbers, strict=True)), 3)


def with_added(problem: Problem, added: Sequence[tuple[NodeType, int]]) -> Problem:
    """Return the question with nodes of these types added."""
    new = tuple(_node(kind, i) for kind, n in added for i in range(n))
    return replace(problem, nodes=problem.nodes + new)


def _node(kind: NodeType, i: int) -> Node:
    return Node(NodeId(f"{kind.name}+new-{i}"), kind.resources, kind.labels)


def _one_more(numbers: tuple[int, ...], t: int, more: int = 1) -> tuple[int, ...]:
    return (*numbers[:t], numbers[t] + more, *numbers[t + 1 :])


# What could go


def removable(problem: Problem, plan: Plan) -> tuple[Removable, ...]:
    """Return nodes that nobody misses: idle and of no use to who waits, or whose work fits on the others.

    One after the other, the emptiest first: all of them may go together. Only work that may be preempted moves.
    """
    state, out = state_under(problem, plan), list[Removable]()
    waiting = [demand for demand in problem.pending if demand.id in plan.waiting]
    held = _held(state)
    new = {node for _, nodes in state.granted.values() for node in nodes}
    ready = [room for room in state.rooms.values() if room.open and room.node.id not in new]
    ready.sort(key=lambda room: (len(held.get(room.node.id, ())), -cost_of(room.node.resources), room.node.id))
    for room in ready[:MOST_LEAVING]:
        name = room.node.id
        if any(_could_use(room.node, demand) for demand in waiting) or problem.foreign.get(name):
            continue
        moved = _moved_off(state, name, held.get(name, ()))
        if moved is not None:
            out.append(Removable(name, tuple(moved)))
            for run in moved.values():
                state.alive[run.demand.id] = run
            held = _held(state)
    return tuple(out)


def _held(state: State) -> dict[NodeId, list[Running]]:
    out: dict[NodeId, list[Running]] = {}
    for run in state.alive.values():
        for node in dict.fromkeys(run.nodes):
            out.setdefault(node, []).append(run)
    return out


def _could_use(node: Node, demand: Demand) -> bool:
    return any(b.selector.accepts(node) and b.resources.fits_in(node.resources) for b in dict.fromkeys(demand.bundles))


def _moved_off(state: State, name: NodeId, there: Sequence[Running]) -> Mapping[DemandId, Running] | None:
    """Take a node off the state with its work put elsewhere; None, and nothing changed, where that cannot be."""
    if not all(run.demand.preemptible for run in there):
        return None
    rooms = {node: room.copy() for node, room in state.rooms.items() if node != name}
    moved: dict[DemandId, Running] = {}
    for run in sorted(there, key=lambda run: (-len(run.nodes), run.demand.id)):
        _take(rooms, run, run.nodes, -1)
        closed = state.closed_to(run.demand)
        nodes = place(rooms, state.tree.capacity, run.demand, len(run.nodes), closed=closed)
        if nodes is None:
            return None
        moved[run.demand.id] = replace(run, nodes=nodes)
        _take(rooms, run, nodes, 1)
    state.rooms = rooms
    return moved


def _take(rooms: Mapping[NodeId, Room], run: Running, nodes: Sequence[NodeId], sign: int) -> None:
    for node, bundle in zip(nodes, run.demand.bundles, strict=False):
        if node in rooms:
            rooms[node].take(bundle.resources, sign)
