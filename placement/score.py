"""How good a plan is: terms compared one after the other, the most important first; knows no planner.

The first term follows the laws' order of service: guarantees first, then by share, the more important and the earlier
first inside a tenant. A plan that serves whoever comes first is better than one that serves others in its stead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from placement import localities
from placement.inuse import capacity, dominant, use_by_tenant, used_shares
from placement.model import ACCELERATOR_KEY, Demand, Plan, Problem, Resources, TenantId, total
from placement.weights import ADMITTED, ENTITLEMENT, FRAGMENTATION, HARM, LOCALITY, PERFORMANCE, TERMS

Harm = tuple[tuple[float, int], ...]
"""Work displaced, the worst first: minus its priority, and 0 where it stops or 1 where it shrinks."""

NO_MORE: tuple[float, int] = (float("inf"), 0)
"""Ends every ``Harm``, so that of two that begin alike the shorter is better."""


@dataclass(frozen=True, slots=True, order=True)
class Score:
    """Compared field by field, in this order; larger is better.

    Attributes
    ----------
    service : tuple of (bool, Harm)
        For each pending demand in the order of service: whether it starts, and who yields for it.
    entitlement : float
        Minus the sum of the tenants' shortfalls from their entitled shares (0..1 each).
    bundles : int
        Bundles of new work, and of running work that grows.
    shrunk : int
        Minus the bundles that running elastic work gives up.
    performance : float
        Bundles of new work, each times its speed on its node.
    locality : int
        Preferred topologies that hold.
    fragmentation : int
        Minus the nodes on which new work stands.
    stopped_bundles : int
        Minus the bundles of running work that stop.
    """

    service: tuple[tuple[bool, Harm], ...]
    entitlement: float
    bundles: int
    shrunk: int
    performance: float
    locality: int
    fragmentation: int
    stopped_bundles: int

    @property
    def terms(self) -> tuple[tuple[str, float], ...]:
        """Return (name, value) of every term, as ``placement.weights`` names them."""
        return (
            (ADMITTED.name, sum(starts for starts, _ in self.service) / max(1, len(self.service))),
            (ENTITLEMENT.name, self.entitlement),
            (PERFORMANCE.name, self.performance),
            (HARM.name, float(self.stopped_bundles + self.shrunk)),
            (LOCALITY.name, float(self.locality)),
            (FRAGMENTATION.name, float(self.fragmentation)),
        )

    @property
    def total(self) -> float:
        """Return the weighted sum that an answer states as its objective."""
        weights = {term.name: term.weight for term in TERMS}
        return sum(weights[name] * value for name, value in self.terms)


def score(problem: Problem, plan: Plan, entitled: Mapping[TenantId, float] | None = None) -> Score:
    """Return the plan's score; ``entitled`` are the tenants' entitled shares (nobody is short where left out)."""
    entitled = entitled or {}
    granted = {grant.demand: grant.nodes for grant in plan.grants}
    stopped = {p.demand for p in plan.preemptions}
    victims = [r for r in problem.running if r.demand.id in stopped]
    changes = [resize.to - resize.before for resize in plan.resizes]
    used = used_shares(problem, plan)
    return Score(
        service=_service(problem, plan),
        entitlement=round(-sum(max(0.0, entitled.get(t, 0.0) - used[t]) for t in used), 9),
        bundles=sum(map(len, granted.values())) + sum(n for n in changes if n > 0),
        shrunk=sum(n for n in changes if n < 0),
        performance=round(_performance(problem, plan), 9),
        locality=_locality(problem, plan),
        fragmentation=-len({node for nodes in granted.values() for node in nodes}),
        stopped_bundles=-sum(len(r.nodes) for r in victims),
    )


def _service(problem: Problem, plan: Plan) -> tuple[tuple[bool, Harm], ...]:
    """Return each demand's lot, in the order of service; a victim counts against the first for whom it yields."""
    order = order_of_service(problem)
    granted = {grant.demand for grant in plan.grants}
    place = {demand.id: i for i, demand in enumerate(order)}
    priority = {r.demand.id: float(r.demand.priority) for r in problem.running}
    harm: dict[int, list[tuple[float, int]]] = {}
    for stop in plan.preemptions:
        first = min((place[name] for name in stop.beneficiaries if name in place), default=-1)
        harm.setdefault(first, []).append((-priority[stop.demand], 0))
    for resize in plan.resizes:
        if resize.to < resize.before:
            first = min((place[name] for name in resize.beneficiaries if name in place), default=-1)
            harm.setdefault(first, []).append((-priority[resize.demand], 1))
    return tuple((d.id in granted, (*sorted(harm.get(i, [])), NO_MORE)) for i, d in enumerate(order))


def _performance(problem: Problem, plan: Plan) -> float:
    nodes = {node.id: node for node in problem.nodes}
    demands = {d.id: d for d in problem.pending}
    out = 0.0
    for grant in plan.grants:
        speeds = dict(demands[grant.demand].speed)
        out += sum(speeds.get(nodes[node].label(ACCELERATOR_KEY) or "", 1.0) for node in grant.nodes)
    return out


def _locality(problem: Problem, plan: Plan) -> int:
    nodes = {node.id: node for node in problem.nodes}
    demands = {d.id: d for d in problem.pending}
    kept = 0
    for grant in plan.grants:
        demand = demands[grant.demand].form(grant.form)
        wishes = [topology for topology in demand.topologies if not topology.required]
        kept += sum(localities.broken(nodes, demand, wish, grant.nodes) is None for wish in wishes)
    return kept


def most_there_can_be(problem: Problem) -> float:
    """Return the weighted sum of a plan in which all starts on its fastest nodes and nobody yields: a bound on any."""
    bundles = sum(len(d.bundles) * max([1.0, *(factor for _, factor in d.speed)]) for d in problem.pending)
    preferred = sum(not topology.required for d in problem.pending for topology in d.topologies)
    return ADMITTED.weight * bool(problem.pending) + PERFORMANCE.weight * bundles + LOCALITY.weight * preferred


# The order of service


def order_of_service(problem: Problem) -> tuple[Demand, ...]:
    """Return pending demands in the order in which a boundless cluster would serve them (laws 3, 6, 8).

    At each level of the tree: who stays within its guarantee, then the lowest share above quota, then who came first.
    """
    line = _Line(problem)
    return tuple(iter(line.next, None))


class _Line:
    def __init__(self, problem: Problem) -> None:
        self.tenants = {tenant.id: tenant for tenant in problem.tenants}
        self.children: dict[TenantId | None, list[TenantId]] = {}
        for tenant in problem.tenants:
            parent = tenant.parent if tenant.parent in self.tenants else None
            self.children.setdefault(parent, []).append(tenant.id)
        self.quota = {tenant: self._quota(tenant) for tenant in self.tenants}
        named = {name for quota in self.quota.values() for name in quota}
        self.guarded = named or {n for d in problem.pending for b in d.bundles for n in b.resources}
        self.use = dict(use_by_tenant(problem))
        self.capacity = capacity(problem)
        arrivals = sorted(range(len(problem.pending)), key=lambda i: (problem.pending[i].submitted_s, i))
        self.arrival = {problem.pending[i].id: place for place, i in enumerate(arrivals)}
        self.queues: dict[TenantId, list[Demand]] = {}
        for demand in sorted(problem.pending, key=lambda d: (-d.priority, self.arrival[d.id]), reverse=True):
            self.queues.setdefault(demand.tenant, []).append(demand)

    def _quota(self, tenant: TenantId) -> Resources:
        own = self.tenants[tenant].quota
        return total(self._quota(child) for child in self.children.get(tenant, ())) if own is None else own

    def next(self) -> Demand | None:
        """Serve one more demand: take it off its queue and count it as used."""
        found = self._first(None)
        if found is None:
            return None
        self.queues[found.tenant].pop()
        at: TenantId | None = found.tenant
        while at is not None and at in self.tenants:
            self.use[at] += found.resources(found.min_bundles)
            at = self.tenants[at].parent
        return found

    def _first(self, tenant: TenantId | None) -> Demand | None:
        rivals: list[tuple[tuple[bool, float, int], Demand]] = []
        if tenant is not None and self.queues.get(tenant):
            rivals.append((self._key(tenant, self.queues[tenant][-1]), self.queues[tenant][-1]))
        for child in self.children.get(tenant, ()):
            found = self._first(child)
            if found is not None:
                rivals.append((self._key(child, found), found))
        return min(rivals, key=lambda rival: rival[0])[1] if rivals else None

    def _key(self, tenant: TenantId, demand: Demand) -> tuple[bool, float, int]:
        more, quota, use = demand.resources(demand.min_bundles), self.quota[tenant], self.use[tenant]
        names = [name for name in more if name in self.guarded]
        within = bool(names) and all(use.get(name) + more.get(name) <= quota.get(name) for name in names)
        above = dominant((use - quota).positive(), self.capacity) / self.tenants[tenant].weight
        return not within, above, self.arrival[demand.id]
