"""What a plan is worth where the largest total value is asked for: work that starts, less what its victims lose.

A workload's value is its size (its dominant share of the cluster, in accelerators) times the weight of its priority
class and its age, times the throughput at which the plan lets it run. A victim costs its own value, the work it has to
do again and its restart. What a tenant gets within its quota is worth something besides, whoever does it, less what it
gives up for that itself. Where its last victim for others takes it below its quota, that costs nothing besides: of like
victims the fewest GPUs go (law 7).

Sums are floats: they compare plans and prove nothing about laws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from placement.inuse import capacity
from placement.model import Demand, DemandId, Node, NodeId, Plan, Problem, Resources, Running, TenantId
from placement.qualities import most_performance
from placement.throughput import scaled, speed_on
from placement.weights import (
    ENTITLED_VALUE,
    FIRST_COME,
    LOSS_HORIZON_S,
    MOST_CLASSES,
    PRIORITY_BASE,
    RESTART_S,
)

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Entitled:
    """What of a tenant's use is worth more: up to ``quota`` of resource ``name``, each unit worth ``worth``."""

    name: str
    quota: int
    worth: float


class Values:
    """The value function of one problem.

    Attributes
    ----------
    accelerators : float
        GPUs of the cluster, or CPUs where it has none: the size of a workload that would fill it.
    """

    def __init__(self, problem: Problem, base: float = PRIORITY_BASE) -> None:
        self.now_s, self.ageing_s, self.base = problem.now_s, problem.policy.ageing_s, base
        have = capacity(problem)
        self.accelerators = (have.get("GPU") or have.get("CPU") or 1000) / 1000
        self._unit = {name: self.accelerators / amount for name, amount in have.items() if amount > 0}
        classes = sorted({d.priority for d in problem.pending} | {r.demand.priority for r in problem.running})
        self._top = max(0, len(classes) - 1)
        step = min(1.0, MOST_CLASSES / max(1, self._top))
        self._rank = {priority: rank * step for rank, priority in enumerate(classes)}
        self._sizes: dict[int, tuple[Resources, float]] = {}
        self._losses: dict[DemandId, tuple[Running, float, float]] = {}
        """Of running work: it, the worth of all its bundles at speed 1, and its speed."""
        self.entitled: dict[TenantId, Entitled] = {}
        for tenant in problem.tenants:
            shares = [(n == "GPU", self._unit.get(n, 0.0) * a, n, a) for n, a in (tenant.quota or Resources()).items()]
            if shares and max(shares)[1] > 0:
                _, _, name, amount = max(shares)
                self.entitled[tenant.id] = Entitled(name, amount, ENTITLED_VALUE * self._unit[name])

    def size(self, amounts: Resources) -> float:
        """Return the dominant share of the cluster, in accelerators."""
        known = self._sizes.get(id(amounts))
        if known is not None and known[0] is amounts:
            return known[1]
        size = max((self._unit.get(name, 0.0) * amount for name, amount in amounts.items()), default=0.0)
        self._sizes[id(amounts)] = (amounts, size)
        return size

    def whole(self, demand: Demand) -> float:
        """Return the size of the demand's first form with all its bundles."""
        first = demand.bundles[0].resources
        if demand.bundles.count(demand.bundles[0]) == len(demand.bundles):
            return self.size(first) * len(demand.bundles)
        return self.size(demand.resources())

    def weight(self, demand: Demand, waits: bool = True) -> float:
        """Return the weight of the demand's priority class, lifted by its age while it waits."""
        rank, waited_s = self._rank.get(demand.priority, 0.0), max(0.0, self.now_s - demand.submitted_s)
        if not waits:
            return float(self.base**rank)
        if self.ageing_s:
            return float(self.base ** min(rank + waited_s / self.ageing_s, min(self._top, MOST_CLASSES) + 1.0))
        return float(self.base**rank) * (1.0 + FIRST_COME * min(1.0, waited_s / DAY_S))

    def of(self, demand: Demand, rate: float) -> float:
        """Return what a newcomer is worth at a rate relative to its first form, whole, at speed 1."""
        return self.whole(demand) * self.weight(demand) * rate

    def cost(self, running: Running, kept: int = 0, nodes: Mapping[NodeId, Node] | None = None) -> float:
        """Return what it costs to leave running work only its first ``kept`` bundles; a restart only where none."""
        demand, n = running.demand, len(running.nodes)
        known = self._losses.get(demand.id)
        if known is None or known[0] is not running:
            speed = _slowest(demand, running.nodes, nodes) if demand.speed and nodes is not None else 1.0
            known = running, self.whole(demand) * self.weight(demand, waits=False), speed
            if nodes is not None:
                self._losses[demand.id] = known
        _, worth, speed = known
        lost_rate = (scaled(demand, n) - (scaled(demand, kept) if kept else 0.0)) * speed
        saved_s = running.started_s if running.checkpointed_s is None else running.checkpointed_s
        lost_s = min(4 * LOSS_HORIZON_S, max(0.0, self.now_s - saved_s)) + RESTART_S
        lost = 0.0 if kept else lost_s / LOSS_HORIZON_S * scaled(demand, n)
        return worth * (max(0.0, lost_rate) + lost)


def rate(demand: Demand, nodes: Sequence[Node], form: int = 0) -> float:
    """Return the throughput of a grant relative to the demand's first form, whole, at speed 1."""
    factor = demand.alternatives[form - 1].throughput if form else 1.0
    speed = min((speed_on(demand, node) for node in nodes), default=1.0) if demand.speed else 1.0
    return factor * scaled(demand.form(form), len(nodes)) * speed


def demand_value(problem: Problem, demand: Demand, nodes: Sequence[Node], form: int = 0) -> float:
    """Return what one newcomer is worth on its nodes."""
    return Values(problem).of(demand, rate(demand, nodes, form))


def plan_terms(
    problem: Problem,
    plan: Plan,
    base: float = PRIORITY_BASE,
    values: Values | None = None,
    use: Mapping[TenantId, int] | None = None,
) -> tuple[tuple[str, float], ...]:
    """Return the parts of a plan's value, in accelerators of the lowest class: started, grown, entitled, harm.

    ``values`` and ``use`` (of ``use_of``) are worked out here unless somebody has them already.
    """
    values = Values(problem, base) if values is None else values
    nodes = {node.id: node for node in problem.nodes}
    demands = {d.id: d for d in problem.pending}
    running = {r.demand.id: r for r in problem.running}
    entitled = values.entitled
    parents = {tenant.id: tenant.parent for tenant in problem.tenants}
    changes: dict[TenantId, dict[str, int]] = {}

    def change(demand: Demand, amounts: Resources, sign: int, among: Collection[TenantId] | None = None) -> None:
        for at in _line(parents, demand.tenant):
            if at in entitled and (among is None or at in among):
                name = entitled[at].name
                into = changes.setdefault(at, {})
                into[name] = into.get(name, 0) + sign * amounts.get(name)

    def sides(names: Sequence[DemandId]) -> set[TenantId]:
        """Return the tenants, and those above them, for whom somebody yields."""
        winners = (demands[name].tenant for name in names if name in demands)
        return {at for tenant in dict.fromkeys(winners) for at in _line(parents, tenant)}

    started = grown = harm = 0.0
    for grant in plan.grants:
        demand = demands[grant.demand]
        started += values.of(demand, rate(demand, [nodes[n] for n in grant.nodes], grant.form))
        change(demand, demand.form(grant.form).resources(len(grant.nodes)), 1)
    for stop in plan.preemptions:
        harm += values.cost(running[stop.demand], 0, nodes)
        change(running[stop.demand].demand, running[stop.demand].resources, -1, sides(stop.beneficiaries))
    for resize in plan.resizes:
        old = running[resize.demand]
        amounts = old.demand.resources(resize.to) - old.resources
        change(old.demand, amounts, 1, None if resize.to > resize.before else sides(resize.beneficiaries))
        if resize.to < resize.before:
            harm += values.cost(old, resize.to, nodes)
        else:
            more = scaled(old.demand, resize.to) - scaled(old.demand, resize.before)
            grown += values.whole(old.demand) * values.weight(old.demand, waits=False) * max(0.0, more)
    for move in plan.moves:
        old = running[move.demand]
        worth = values.whole(old.demand) * values.weight(old.demand, waits=False)
        harm += worth * (move.cost_s / max(1, len(move.nodes)) + RESTART_S) / LOSS_HORIZON_S
    bonus = 0.0
    if changes:
        use = use_of(problem, entitled) if use is None else use
        for tenant, by_name in changes.items():
            facts = entitled[tenant]
            before = use[tenant]
            after = before + by_name[facts.name]
            bonus += facts.worth * (min(facts.quota, after) - min(facts.quota, before))
    return ("started", started), ("grown", grown), ("entitled", bonus), ("harm", -harm)


def use_of(problem: Problem, entitled: Mapping[TenantId, Entitled]) -> dict[TenantId, int]:
    """Return what each entitled tenant's subtree uses now of the resource that counts for it."""
    own: dict[TenantId, dict[str, int]] = {}
    for running in problem.running:
        demand, n = running.demand, len(running.nodes)
        into = own.setdefault(demand.tenant, {})
        first = demand.bundles[0]
        if demand.bundles.count(first) == len(demand.bundles):
            for name, amount in first.resources.items():
                into[name] = into.get(name, 0) + amount * n
        else:
            for name, amount in demand.resources(n).items():
                into[name] = into.get(name, 0) + amount
    parents = {tenant.id: tenant.parent for tenant in problem.tenants}
    out = dict.fromkeys(entitled, 0)
    for tenant, amounts in own.items():
        for at in _line(parents, tenant):
            if at in entitled:
                out[at] += amounts.get(entitled[at].name, 0)
    return out


def _line(parents: Mapping[TenantId, TenantId | None], tenant: TenantId) -> list[TenantId]:
    """Return a tenant and those above it, without the root."""
    out: list[TenantId] = []
    at: TenantId | None = tenant
    while at is not None and at in parents and at not in out:
        out.append(at)
        at = parents[at]
    return out


def plan_value(problem: Problem, plan: Plan, base: float = PRIORITY_BASE) -> float:
    """Return the plan's total value: the sum of its terms."""
    return sum(value for _, value in plan_terms(problem, plan, base))


def most_value(problem: Problem) -> float:
    """Return a bound on any plan's value: all starts and grows at its fastest, quotas are used up, nobody yields."""
    values, out = Values(problem), 0.0
    for demand in problem.pending:
        out += values.of(demand, most_performance(demand) / len(demand.bundles))
    for running in problem.running:
        if len(running.nodes) < len(running.demand.bundles):
            most = max([1.0, *(factor for _, factor in running.demand.scaling)])
            out += values.whole(running.demand) * values.weight(running.demand, waits=False) * most
    use = use_of(problem, values.entitled)
    for tenant, facts in values.entitled.items():
        out += facts.worth * max(0, facts.quota - use[tenant])
    return out


def _slowest(demand: Demand, at: Sequence[NodeId], nodes: Mapping[NodeId, Node]) -> float:
    return min((speed_on(demand, nodes[name]) for name in at if name in nodes), default=1.0)
