"""Whether a plan keeps the rules of nodes: what they have, whole devices, and who may use them when they are reserved.

Part of the judge (``placement.check``): worked out from the whole plan, without any planner's code. Only nodes are
added up on which the plan changes anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from placement.model import (
    MILLI,
    Bundle,
    Demand,
    DemandId,
    Grant,
    Node,
    NodeId,
    Plan,
    Problem,
    Resources,
    Running,
    TenantId,
)
from placement.model.demand import counted
from placement.model.resources import UNIT_RESOURCES

Broken = tuple[int, str, str]


def granted_form(demand: Demand, grant: Grant) -> Demand:
    """Return what a grant is judged as: the demand in the form that it was granted in."""
    return demand.form(grant.form)


@dataclass(slots=True)
class Load:
    """What one node would give."""

    used: dict[str, int] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    fractions: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def put(self, amounts: Resources, n: int = 1) -> None:
        for name, amount in amounts.items():
            self.used[name] = self.used.get(name, 0) + amount * n
            if name in UNIT_RESOURCES:
                self.whole[name] = self.whole.get(name, 0) + amount // MILLI * n
                if amount % MILLI:
                    self.fractions[name] = self.fractions.get(name, ()) + (amount % MILLI,) * n


class NodeBook:
    """What stands on each node that a plan touches, under the plan.

    Attributes
    ----------
    fresh : set of NodeId
        Nodes on which the plan puts something new: these may not give more than they have.
    """

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem = problem
        self.nodes: dict[NodeId, Node] = {node.id: node for node in problem.nodes}
        self.now: dict[DemandId, tuple[NodeId, ...]] = {p.demand: () for p in plan.preemptions}
        self.now |= {resize.demand: resize.nodes for resize in plan.resizes}
        self.now |= {move.demand: move.nodes for move in plan.moves}
        demands = {demand.id: demand for demand in problem.pending}
        grants = [(granted_form(demands[g.demand], g).bundles, g.nodes) for g in plan.grants]
        self.fresh: set[NodeId] = {node for _, at in grants for node in at}
        touched = set(self.fresh)
        for running in problem.running:
            at = self.now.get(running.demand.id)
            if at is not None:
                touched.update(running.nodes, at)
                self.fresh.update(new for new, old in zip_longest(at, running.nodes) if new and new != old)
        self.parts: dict[NodeId, list[Resources]] = {node: [] for node in touched if node in self.nodes}
        self._stand(grants)
        self._loads: dict[NodeId, Load] = {}

    def _stand(self, grants: Iterable[tuple[tuple[Bundle, ...], Sequence[NodeId]]]) -> None:
        """Note what stands on the touched nodes: foreign use, what runs on, what is new."""
        parts = self.parts
        for node, amounts in self.problem.foreign.items():
            if node in parts:
                parts[node].append(amounts)
        stays = ((r.demand.bundles, self.now.get(r.demand.id, r.nodes)) for r in self.problem.running)
        for work in (stays, grants):
            for bundles, at in work:
                for bundle, node in zip(bundles, at, strict=False):
                    if node in parts:
                        parts[node].append(bundle.resources)

    def load(self, node: NodeId) -> Load:
        if node not in self._loads:
            self._loads[node] = load_of(self.parts[node])
        return self._loads[node]

    def holds(self, node: NodeId, more: Sequence[Resources] = (), less: Sequence[Resources] = ()) -> bool:
        """Return whether a node can give all that the plan puts on it, with ``more`` and without ``less``."""
        if not more and not less:
            return fits(self.nodes[node], self.load(node))
        parts = [*self.parts[node], *more]
        for gone in less:
            parts.remove(gone)
        return fits(self.nodes[node], load_of(parts))

    def put_back(self, running: Running, first: int, last: int) -> None:
        """Let bundles ``first`` to ``last`` (exclusive) of displaced work stay where they were after all."""
        for bundle, node in list(zip(running.demand.bundles, running.nodes, strict=False))[first:last]:
            if node in self.parts:
                self.parts[node].append(bundle.resources)
                self._loads.pop(node, None)


def load_of(parts: Iterable[Resources]) -> Load:
    load, vectors = Load(), {}
    counts: dict[int, int] = {}
    for part in parts:
        counts[id(part)] = counts.get(id(part), 0) + 1
        vectors[id(part)] = part
    for key, n in counts.items():
        load.put(vectors[key], n)
    return load


def fits(node: Node, load: Load) -> bool:
    has = dict(node.resources.items())
    return all(amount <= has.get(name, 0) for name, amount in load.used.items()) and all(
        on_devices(has.get(name, 0), load, name) for name in load.whole
    )


def broken_rules(book: NodeBook, plan: Plan) -> Iterator[Broken]:
    """Return broken rules of nodes as (law, subject, sentence)."""
    for node in book.problem.nodes:
        if node.id in book.fresh:
            load, has = book.load(node.id), dict(node.resources.items())
            for name, amount in load.used.items():
                if amount > has.get(name, 0):
                    yield 1, node.id, f"would give {amount} of {name}, has {has.get(name, 0)}"
            for name in sorted(load.whole):
                if load.used[name] <= has.get(name, 0) and not on_devices(has.get(name, 0), load, name):
                    yield 1, node.id, f"would have to cut a part of a {name} over two devices"
    yield from _whole_above_one(book.problem, plan)
    yield from _reserved(book.problem, plan)


# Devices


def on_devices(total: int, load: Load, name: str) -> bool:
    """Return whether whole devices and parts of one fit a node's devices."""
    whole, fractions = load.whole.get(name, 0), load.fractions.get(name, ())
    devices = [MILLI] * (total // MILLI) + ([total % MILLI] if total % MILLI else [])
    if whole > len(devices):
        return not whole
    if not fractions:
        return True
    return _pack(tuple(sorted(devices[whole:])), tuple(sorted(fractions, reverse=True)), set())


def _pack(rooms: tuple[int, ...], parts: tuple[int, ...], failed: set[tuple[int, tuple[int, ...]]]) -> bool:
    """Return whether the parts fit the rooms uncut: depth first, the largest part first, equal rooms tried once."""
    if not parts:
        return True
    if sum(parts) > sum(rooms) or (len(parts), rooms) in failed:
        return False
    tried: set[int] = set()
    for i, room in enumerate(rooms):
        if parts[0] <= room and room not in tried:
            tried.add(room)
            left = tuple(sorted((*rooms[:i], room - parts[0], *rooms[i + 1 :])))
            if _pack(left, parts[1:], failed):
                return True
    failed.add((len(parts), rooms))
    return False


def _whole_above_one(problem: Problem, plan: Plan) -> Iterator[Broken]:
    """A bundle asks for a part of one device, or for whole ones."""
    demands = {demand.id: demand for demand in problem.pending}
    sound: set[int] = set()
    for grant in plan.grants:
        for bundle, _ in counted(granted_form(demands[grant.demand], grant).bundles[: len(grant.nodes)]):
            if id(bundle) in sound:
                continue
            odd = [n for n in UNIT_RESOURCES if bundle.resources.get(n) > MILLI and bundle.resources.get(n) % MILLI]
            for name in odd:
                yield 1, grant.demand, f"asks {bundle.resources.get(name) / MILLI:g} {name}; above one it must be whole"
            if not odd:
                sound.add(id(bundle))


# Reservations


@dataclass(frozen=True, slots=True)
class _Kept:
    """A reservation that is not over: from when, its name and whose it is."""

    starts_s: float
    id: str
    tenants: frozenset[TenantId]


def _reserved(problem: Problem, plan: Plan) -> Iterator[Broken]:
    """Reserved nodes take nothing new but from those they are kept for, or what is known to end before (law 1)."""
    kept: dict[NodeId, list[_Kept]] = {}
    for reservation in problem.reservations:
        if reservation.ends_s > problem.now_s:
            entry = _Kept(reservation.starts_s, reservation.id, frozenset(reservation.tenants))
            for node in reservation.nodes:
                kept.setdefault(node, []).append(entry)
    if not kept:
        return
    parents = {tenant.id: tenant.parent for tenant in problem.tenants}
    for demand, nodes, ends_s in _newcomers(problem, plan):
        line = frozenset(_line(parents, demand.tenant))
        for node in sorted(nodes & kept.keys()):
            for entry in kept[node]:
                in_time = ends_s is not None and ends_s <= entry.starts_s
                if not in_time and not entry.tenants & line:
                    yield 1, demand.id, f"is placed on {node}, which reservation {entry.id} keeps for others"


def _newcomers(problem: Problem, plan: Plan) -> Iterator[tuple[Demand, set[NodeId], float | None]]:
    """Return what a plan puts somewhere, on which nodes anew, and until when (None: not known)."""
    now, demands = problem.now_s, {demand.id: demand for demand in problem.pending}
    running = {r.demand.id: r for r in problem.running}
    for grant in plan.grants:
        demand = demands[grant.demand]
        yield demand, set(grant.nodes), None if demand.runtime_s is None else now + demand.runtime_s
    for resize in plan.resizes:
        if resize.to > resize.before:
            yield running[resize.demand].demand, set(resize.nodes[resize.before :]), _end(running[resize.demand], now)
    for move in plan.moves:
        old = running[move.demand]
        end = _end(old, now)
        again_s = move.cost_s / max(1, len(move.nodes))
        anew = {new for new, was in zip(move.nodes, old.nodes, strict=False) if new != was}
        yield old.demand, anew, None if end is None else end + again_s


def _end(running: Running, now_s: float) -> float | None:
    """Return when running work ends by its estimate; from now on where it is overdue."""
    if running.demand.runtime_s is None:
        return None
    end = running.started_s + running.demand.runtime_s
    return end if end >= now_s else now_s + running.demand.runtime_s


def _line(parents: Mapping[TenantId, TenantId | None], tenant: TenantId) -> tuple[TenantId, ...]:
    out: list[TenantId] = []
    at: TenantId | None = tenant
    while at is not None and at not in out:
        out.append(at)
        at = parents.get(at)
    return tuple(out)
