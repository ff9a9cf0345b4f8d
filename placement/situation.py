"""The cluster as a plan leaves it, and the one question that explanations ask of it: would this gang fit, if?"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from placement.fitting import fits
from placement.model import (
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Plan,
    Problem,
    Reclaim,
    Reservation,
    Running,
    Tenant,
    TenantId,
    format_amount,
)
from placement.planners.keeping import in_the_way
from placement.planners.state import Room, State, Victim
from placement.planners.tree import Tree, Vector
from placement.planners.under import state_under

WHOLE_CLUSTER = NodeId("cluster")
"""The one node of a cluster that is described by its quotas alone."""

Limit = tuple[TenantId, str, str]
"""Which tenant's limit on which resource is in the way, and its word: limit, borrow_limit or lend_limit."""

Holding = tuple[Demand, tuple[NodeId, ...]]
"""Work and the nodes that it holds under the plan, running already or starting."""


class Situation:
    """Read-only once built; ``running`` and ``granted`` are what holds nodes under the plan."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.demands: dict[DemandId, Demand] = {demand.id: demand for demand in problem.pending}
        self.demands.update({run.demand.id: run.demand for run in problem.running})
        self._tree = Tree(problem)
        self._freely_lending = Tree(replace(problem, tenants=tuple(_freely(t) for t in problem.tenants)))
        self._state = state_under(problem, plan, self._tree)
        self.granted: dict[DemandId, tuple[NodeId, ...]] = {grant.demand: grant.nodes for grant in plan.grants}
        self._rooms_by_priority: dict[int, list[Room]] = {}

    # What is there

    @property
    def holders(self) -> list[Holding]:
        """Return what holds nodes under the plan: work that stays, and work that starts."""
        return [(run.demand, run.nodes) for run in self._state.alive.values()] + list(self._state.granted.values())

    @property
    def starting(self) -> list[Holding]:
        return list(self._state.granted.values())

    @property
    def alive(self) -> Mapping[DemandId, Running]:
        return self._state.alive

    @cached_property
    def rooms(self) -> list[Room]:
        """Return what is free on every node, whatever its state."""
        return list(self._state.rooms.values())

    @cached_property
    def ready(self) -> list[Room]:
        return [room for room in self.rooms if room.node.state is NodeState.READY]

    @cached_property
    def empty(self) -> list[Room]:
        """Return all nodes, whatever their state, as if nobody used them."""
        bare = replace(self.problem, running=(), foreign={})
        return list(State(bare, self._tree).rooms.values())

    @cached_property
    def empty_ready(self) -> list[Room]:
        return [room for room in self.empty if room.node.state is NodeState.READY]

    def reservations_in_the_way(self, demand: Demand) -> tuple[Reservation, ...]:
        """Return the reservations that keep their nodes from a demand that started now."""
        return in_the_way(self.problem, self._tree, demand, self.problem.now_s)

    def ready_without(self, kept: Iterable[Reservation]) -> list[Room]:
        """Return the ready nodes but for those that are reserved."""
        nodes = {node for reservation in kept for node in reservation.nodes}
        return [room for room in self.ready if room.node.id not in nodes]

    def without_more_important(self, priority: int) -> list[Room]:
        """Return the ready nodes as if work above ``priority`` were not there."""
        if priority not in self._rooms_by_priority:
            work = [(demand, nodes) for demand, nodes in self.holders if demand.priority > priority]
            self._rooms_by_priority[priority] = self.freed(work)
        return self._rooms_by_priority[priority]

    def freed(self, work: Iterable[Holding]) -> list[Room]:
        """Return the ready nodes as if this work gave its nodes back."""
        rooms = {room.node.id: room for room in self.ready}
        touched: set[NodeId] = set()
        for demand, nodes in work:
            for node, bundle in zip(nodes, demand.bundles, strict=False):
                if node not in rooms:
                    continue
                if node not in touched:
                    rooms[node] = rooms[node].copy()
                    touched.add(node)
                rooms[node].take(bundle.resources, -1)
        return list(rooms.values())

    def use(self, tenant: TenantId) -> Vector:
        return dict(self._state.use[tenant])

    def ancestors(self, tenant: TenantId) -> tuple[TenantId, ...]:
        """Return the tenant and those above it."""
        return self._tree.paths[tenant]

    def quota(self, tenant: TenantId) -> Mapping[str, int]:
        return self._tree.quota[tenant]

    # What if

    def reclaimable(self, demand: Demand) -> Vector | None:
        """Return what other tenants use above their quotas, for a demand whose guarantee covers it; else None."""
        tree, use, asked = self._tree, self._state.use, needs(demand)
        names = [name for name in asked if name in tree.governed]
        path = tree.paths[demand.tenant]
        then = {name: use[path[-1]].get(name, 0) + asked[name] for name in names}
        if tree.policy(demand.tenant).reclaim is Reclaim.NEVER or not tree.within(path[-1], then, names):
            return None
        out: Vector = dict.fromkeys(names, 0)
        for mine in path:
            for other in tree.children[tree.parent(mine)]:
                for name in names if other != mine else ():
                    out[name] += max(0, use[other].get(name, 0) - tree.quota[other].get(name, 0))
        return out

    def fits(
        self,
        demand: Demand,
        rooms: Sequence[Room],
        *,
        n: int | None = None,
        selector: bool = True,
        topology: bool = True,
    ) -> bool:
        """Return whether the first ``n`` bundles (its minimum by default) fit on the rooms."""
        bundles = demand.bundles[: demand.min_bundles if n is None else n]
        if not selector:
            bundles = tuple(replace(bundle, selector=type(bundle.selector)()) for bundle in bundles)
        return fits(rooms, bundles, demand.topologies if topology else ())

    def starts_without(self, demand: Demand, work: Sequence[Holding]) -> bool:
        """Return whether it is within all limits and fits once this work has given its nodes back."""
        return self.limit_in_the_way(demand, gone=work) is None and self.fits(demand, self.freed(work))

    def limit_in_the_way(self, demand: Demand, n: int | None = None, gone: Sequence[Holding] = ()) -> Limit | None:
        """Return the limit of its tenant or of an ancestor that ``n`` more bundles would break."""
        more = needs(demand, n)
        use = self._state.use_with(demand.tenant, more, [Victim(Running(other, nodes)) for other, nodes in gone])
        found = self._freely_lending.refusal(demand.tenant, use, more)
        if found is not None:
            return found
        found = self._tree.refusal(demand.tenant, use, more)
        # Where all tenants together would exceed the cluster, it is room that lacks and not what the lender keeps.
        short = found is not None and self._in_all(use, found[1]) > self._tree.capacity.get(found[1], 0)
        return None if short and not self.fits(demand, self.ready, n=n) else found

    def lent_enough(self, demand: Demand, more_nodes: Iterable[Node]) -> bool:
        """Return whether the other tenants would lend enough if the cluster had these nodes too."""
        more = needs(demand)
        if not self._tree.lending_is_limited.intersection(more):
            return True
        tenants = tuple(replace(t, limit=None, borrow_limit=None) for t in self.problem.tenants)
        wider = replace(self.problem, tenants=tenants, nodes=(*self.problem.nodes, *more_nodes))
        return Tree(wider).refusal(demand.tenant, self._state.use_with(demand.tenant, more), more) is None

    def all_limits_in_the_way(self, demand: Demand) -> list[Limit]:
        """Return every ``limit`` and ``borrow_limit`` on the way up that its minimum would break."""
        more = needs(demand)
        use = self._state.use_with(demand.tenant, more)
        tenants = {t.id: replace(t, lend_limit=None) for t in self.problem.tenants}
        out: list[Limit] = []
        while True:
            found = Tree(replace(self.problem, tenants=tuple(tenants.values()))).refusal(demand.tenant, use, more)
            if found is None:
                return out
            out.append(found)
            tenants[found[0]] = _without_limit(tenants[found[0]], found)

    def most_allowed(self, limit: Limit) -> int:
        """Return the amount at which a limit of the kind ``limit`` or ``borrow_limit`` stops its tenant."""
        tenant, resource, word = limit
        facts = self._tree.tenants[tenant]
        if word == "limit":
            return dict(facts.limit or ()).get(resource, 0)
        return self.quota(tenant).get(resource, 0) + dict(facts.borrow_limit or ()).get(resource, 0)

    def _in_all(self, use: Mapping[TenantId, Mapping[str, int]], resource: str) -> int:
        return sum(use[t].get(resource, 0) for t in self._tree.tenants if len(self._tree.paths[t]) == 1)


def _freely(tenant: Tenant) -> Tenant:
    return replace(tenant, lend_limit=None)


def _without_limit(tenant: Tenant, limit: Limit) -> Tenant:
    def rest(limits: tuple[tuple[str, int], ...] | None) -> tuple[tuple[str, int], ...]:
        return tuple((name, most) for name, most in limits or () if name != limit[1])

    if limit[2] == "limit":
        return replace(tenant, limit=rest(tenant.limit))
    return replace(tenant, borrow_limit=rest(tenant.borrow_limit))


def needs(demand: Demand, n: int | None = None) -> Vector:
    """Return what its first ``n`` bundles (its minimum by default) ask for in all."""
    return dict(demand.resources(demand.min_bundles if n is None else n).items())


def idle(rooms: Iterable[Room]) -> Vector:
    """Return the free amounts in all, nowhere counted below zero."""
    out: Vector = {}
    for room in rooms:
        for name, amount in room.free.items():
            out[name] = out.get(name, 0) + max(0, amount)
    return out


def amounts(vector: Mapping[str, int], names: Collection[str] | None = None) -> str:
    """Return ``8 GPU, 32 CPU``: the scarce kinds first, zeros told where ``names`` asks for them."""
    chosen = [name for name, amount in vector.items() if amount] if names is None else list(names)
    order = sorted(chosen, key=lambda name: (name != "GPU", name in ("CPU", "memory"), name))
    return ", ".join(f"{format_amount(name, vector.get(name, 0))} {name}" for name in order) or "nothing"
