"""The judge of plans: which laws does a plan break? It shares no code with any planner.

The laws: 1 capacity, 2 gangs, 3 guarantee, 4 borrowing, 5 within a tenant, 6 fairness among borrowers, 7 least harm,
9 nobody is forgotten, 10 what may not be preempted, 12 staying put.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from placement import tenantbook
from placement.model import (
    MILLI,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Plan,
    Problem,
    Resources,
    Running,
)
from placement.model.resources import UNIT_RESOURCES
from placement.tenantbook import Displaced, TenantBook


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken law: its number, whom it concerns and a sentence."""

    law: int
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"law {self.law}: {self.subject} {self.sentence}"


def violations(problem: Problem, plan: Plan) -> tuple[Violation, ...]:
    """Return every broken law that the plan itself shows; empty for a sound plan."""
    named = tuple(_names(problem, plan))
    if named:
        return named
    found = [*_gangs(problem, plan), *_resizes(problem, plan), *_capacity(problem, plan)]
    if not found:
        found = [Violation(*broken) for broken in tenantbook.broken_rules(_book(problem, plan))]
        found += _spared(problem, plan)
    return tuple(found)


def _names(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Every name is known and stands once (laws 9, 10, 12)."""
    pending = {d.id for d in problem.pending}
    running = {r.demand.id: r for r in problem.running}
    nodes = {node.id for node in problem.nodes}
    granted = [grant.demand for grant in plan.grants]
    for name in sorted({g for g in granted if g not in pending or granted.count(g) > 1}):
        yield Violation(2, name, "is granted, but is not one pending workload")
    for demand in problem.pending:
        if (demand.id in granted) == (demand.id in plan.waiting):
            yield Violation(9, demand.id, "is not in exactly one of grants and waiting")
    for name in plan.waiting:
        if name not in pending:
            yield Violation(9, name, "waits, but is not pending")
    stopped = [p.demand for p in plan.preemptions]
    changed = stopped + [r.demand for r in plan.resizes]
    for name in sorted(set(changed)):
        if name not in running:
            yield Violation(12, name, "is stopped or resized, but does not run")
        elif changed.count(name) > 1:
            yield Violation(12, name, "is stopped or resized more than once")
        elif name in stopped and not running[name].demand.preemptible:
            yield Violation(10, name, "may not be preempted")
    for grant in plan.grants:
        for node in sorted(set(grant.nodes) - nodes):
            yield Violation(1, grant.demand, f"is placed on unknown node {node}")
    for resize in plan.resizes:
        for node in sorted(set(resize.nodes) - nodes):
            yield Violation(1, resize.demand, f"is resized onto unknown node {node}")


def _gangs(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Gangs are whole enough, on nodes that take them, with their required topology (laws 1, 2)."""
    demands = {d.id: d for d in problem.pending}
    for grant in plan.grants:
        demand = demands[grant.demand]
        n, most = len(grant.nodes), len(demand.bundles)
        if not demand.min_bundles <= n <= most:
            yield Violation(2, demand.id, f"got {n} bundles, must be {demand.min_bundles} to {most}")
            continue
        yield from _placed(problem, demand, grant.nodes, 0)


def _placed(problem: Problem, demand: Demand, at: Sequence[NodeId], first_new: int) -> Iterator[Violation]:
    nodes = {node.id: node for node in problem.nodes}
    for bundle, name in list(zip(demand.bundles, at, strict=False))[first_new:]:
        node = nodes[name]
        if node.state is not NodeState.READY:
            yield Violation(1, demand.id, f"is placed on {node.state.value} node {name}")
        if not bundle.selector.accepts(node):
            yield Violation(2, demand.id, f"is placed on {name} against its selector {bundle.selector}")
    topology = demand.topology
    if topology is None or not topology.required:
        return
    values = [nodes[name].label(topology.key) for name in at]
    if None in values:
        yield Violation(2, demand.id, f"has a bundle on a node without label {topology.key}")
    elif topology.kind == "pack" and len(set(values)) > 1:
        yield Violation(2, demand.id, f"must be on one {topology.key}, is on {len(set(values))}")
    elif topology.kind == "spread" and len(set(values)) < len(values):
        yield Violation(2, demand.id, f"has two bundles on one {topology.key}")


def _resizes(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Resized work keeps its nodes and stays within its range (laws 2, 10, 12)."""
    running = {r.demand.id: r for r in problem.running}
    for resize in plan.resizes:
        old, demand = running[resize.demand], running[resize.demand].demand
        if resize.before != len(old.nodes) or resize.to != len(resize.nodes):
            yield Violation(12, demand.id, f"is resized {resize.before} to {resize.to}, which its nodes do not say")
        if not demand.min_bundles <= resize.to <= len(demand.bundles):
            yield Violation(2, demand.id, f"is resized to {resize.to} bundles, below {demand.min_bundles} or above all")
        kept = min(resize.to, len(old.nodes))
        if resize.nodes[:kept] != old.nodes[:kept]:
            yield Violation(12, demand.id, "would move")
        if resize.to < len(old.nodes) and not demand.preemptible:
            yield Violation(10, demand.id, "may not be preempted, not even in part")
        if resize.to > len(old.nodes):
            yield from _placed(problem, demand, resize.nodes, len(old.nodes))


# Capacity


@dataclass(slots=True)
class _Load:
    """What one node would give."""

    used: dict[str, int]
    whole: int = 0
    fractions: tuple[int, ...] = ()
    fresh: bool = False


def _loads(problem: Problem, plan: Plan) -> dict[NodeId, _Load]:
    """Return each node's load under the plan; ``fresh`` where something new is put on it."""
    loads = {node.id: _Load({}) for node in problem.nodes}
    for node, amounts in problem.foreign.items():
        if node in loads:
            _put(loads[node], amounts)
    stopped = {p.demand for p in plan.preemptions}
    resized = {r.demand: r for r in plan.resizes}
    for running in problem.running:
        name = running.demand.id
        if name not in stopped:
            at = resized[name].nodes if name in resized else running.nodes
            for i, (bundle, node) in enumerate(zip(running.demand.bundles, at, strict=False)):
                if node in loads:
                    _put(loads[node], bundle.resources)
                    loads[node].fresh |= i >= len(running.nodes)
    demands = {d.id: d for d in problem.pending}
    for grant in plan.grants:
        for bundle, node in zip(demands[grant.demand].bundles, grant.nodes, strict=False):
            _put(loads[node], bundle.resources)
            loads[node].fresh = True
    return loads


def _put(load: _Load, amounts: Resources) -> None:
    for name, amount in amounts.items():
        load.used[name] = load.used.get(name, 0) + amount
        if name in UNIT_RESOURCES:
            load.whole += amount // MILLI
            load.fractions += (amount % MILLI,) if amount % MILLI else ()


def _capacity(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """No node that gets something new gives more than it has (law 1)."""
    loads = _loads(problem, plan)
    for node in problem.nodes:
        load = loads[node.id]
        if load.fresh:
            for name, amount in load.used.items():
                if amount > node.resources.get(name):
                    yield Violation(1, node.id, f"would give {amount} of {name}, has {node.resources.get(name)}")
            for name in UNIT_RESOURCES & set(load.used):
                if load.used[name] <= node.resources.get(name) and not _on_devices(node.resources.get(name), load):
                    yield Violation(1, node.id, f"would have to cut a part of a {name} over two devices")
    for grant in plan.grants:
        demand = next(d for d in problem.pending if d.id == grant.demand)
        for bundle in demand.bundles[: len(grant.nodes)]:
            for name in UNIT_RESOURCES:
                amount = bundle.resources.get(name)
                if amount > MILLI and amount % MILLI:
                    yield Violation(1, demand.id, f"asks {amount / MILLI:g} {name}; above one it must be whole")


def _on_devices(total: int, load: _Load) -> bool:
    devices = [MILLI] * (total // MILLI) + ([total % MILLI] if total % MILLI else [])
    if load.whole > len(devices):
        return not load.whole
    return _pack(tuple(devices[load.whole :]), tuple(sorted(load.fractions, reverse=True)))


def _pack(rooms: tuple[int, ...], parts: tuple[int, ...]) -> bool:
    """Return whether the parts fit the rooms uncut: depth first, the largest part first, equal rooms tried once."""
    if not parts:
        return True
    if sum(parts) > sum(rooms):
        return False
    tried: set[int] = set()
    for i, room in sorted(enumerate(rooms), key=lambda pair: pair[1]):
        if parts[0] <= room and room not in tried:
            tried.add(room)
            if _pack((*rooms[:i], room - parts[0], *rooms[i + 1 :]), parts[1:]):
                return True
    return False


# Tenants and victims


def _book(problem: Problem, plan: Plan) -> TenantBook:
    demands = {d.id: d for d in problem.pending}
    running = {r.demand.id: r for r in problem.running}
    got = [(demands[g.demand], demands[g.demand].resources(len(g.nodes))) for g in plan.grants]
    gone = [
        Displaced(running[p.demand].demand, running[p.demand].started_s, running[p.demand].resources, p.beneficiaries)
        for p in plan.preemptions
    ]
    for resize in plan.resizes:
        old = running[resize.demand]
        if resize.to < resize.before:
            parts = old.resources - old.demand.resources(resize.to)
            gone.append(Displaced(old.demand, old.started_s, parts, resize.beneficiaries))
        else:
            got.append((old.demand, old.demand.resources(resize.to) - old.resources))
    return TenantBook(problem, tuple(got), tuple(gone))


def milder(problem: Problem, plan: Plan) -> tuple[DemandId, Plan] | None:
    """Return a victim that could stay where it was, and the plan in which it does; None if each one has to yield.

    The victims of the highest priority are tried first; shrunk work gets one bundle back at a time.
    """
    running = {r.demand.id: r for r in problem.running}
    trials: list[tuple[int, Running, Plan]] = []
    for gone in plan.preemptions:
        rest = tuple(other for other in plan.preemptions if other is not gone)
        trials.append((running[gone.demand].demand.priority, running[gone.demand], replace(plan, preemptions=rest)))
    for resize in plan.resizes:
        if resize.to < resize.before:
            old = running[resize.demand]
            more = replace(resize, to=resize.to + 1, nodes=old.nodes[: resize.to + 1])
            kept = tuple(other for other in plan.resizes if other is not resize)
            kept += (more,) if more.to < more.before else ()
            trials.append((old.demand.priority, old, replace(plan, resizes=kept)))
    for _, victim, trial in sorted(trials, key=lambda t: t[0], reverse=True):
        if _fits_back(problem, trial, victim) and not any(True for _ in tenantbook.broken_rules(_book(problem, trial))):
            return victim.demand.id, trial
    return None


def _spared(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """No victim could simply have stayed where it was (law 7)."""
    found = milder(problem, plan)
    if found is not None:
        yield Violation(7, found[0], "could have stayed: everything fits with it in place")


def _fits_back(problem: Problem, milder: Plan, victim: Running) -> bool:
    loads = _loads(problem, milder)
    nodes: dict[NodeId, Node] = {node.id: node for node in problem.nodes}
    return all(
        amount <= nodes[name].resources.get(resource)
        for name in set(victim.nodes) & set(nodes)
        for resource, amount in loads[name].used.items()
    ) and all(
        _on_devices(nodes[name].resources.get(resource), loads[name])
        for name in set(victim.nodes) & set(nodes)
        for resource in UNIT_RESOURCES
    )
