"""What a planner has decided so far: room on nodes, use of tenants, grants made and work displaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from placement.model import (
    MILLI,
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Problem,
    Resources,
    Running,
    TenantId,
)
from placement.planners.keeping import closed_to
from placement.planners.scarcity import prices
from placement.planners.tree import Tree, Vector, add

GPU = "GPU"


def fractions_fit(devices: Sequence[int], fractions: Sequence[int]) -> bool:
    """Return whether the fractions can be put on devices without cutting one (first fit, then a full search)."""
    rooms, items = sorted(devices, reverse=True), sorted(fractions, reverse=True)
    if sum(items) > sum(rooms):
        return False
    left = list(rooms)
    for item in items:
        for i, room in enumerate(left):
            if item <= room:
                left[i] -= item
                break
        else:
            return len(items) <= 12 and _search(list(rooms), items, 0)
    return True


def _search(rooms: list[int], items: Sequence[int], at: int) -> bool:
    if at == len(items):
        return True
    for i in range(len(rooms)):
        if items[at] <= rooms[i] and rooms[i] not in rooms[:i]:
            rooms[i] -= items[at]
            if _search(rooms, items, at + 1):
                return True
            rooms[i] += items[at]
    return False


def devices_of(gpu: int) -> list[int]:
    """Return the devices that an amount of GPU makes up; a fraction left over is a device of that size."""
    return [MILLI] * (gpu // MILLI) + ([gpu % MILLI] if gpu % MILLI else [])


@dataclass(slots=True)
class Room:
    """What is free on one node; ``fractions`` are the parts of single GPUs in use."""

    node: Node
    free: Vector
    gpu: int
    fractions: list[int] = field(default_factory=list)
    open: bool = True
    price: float = 0.0
    """How sought-after its accelerators are (``scarcity``)."""

    def copy(self) -> Room:
        return Room(self.node, dict(self.free), self.gpu, list(self.fractions), self.open, self.price)

    def fits(self, resources: Resources) -> bool:
        """Return whether one more bundle fits, GPU fractions on single devices."""
        free = self.free
        for name, amount in resources.entries:
            if amount > free.get(name, 0):
                return False
        gpu = resources.get(GPU)
        if not gpu or (not gpu % MILLI and not self.fractions):
            return True
        return self._devices_hold(gpu)

    def _devices_hold(self, gpu: int) -> bool:
        if gpu > MILLI and gpu % MILLI:
            return False
        fractions = self.fractions + ([gpu] if gpu % MILLI else [])
        whole = self.gpu - self.free.get(GPU, 0) - sum(self.fractions) + (0 if gpu % MILLI else gpu)
        rooms = devices_of(self.gpu)
        return whole // MILLI <= len(rooms) and fractions_fit(rooms[whole // MILLI :], fractions)

    def sound(self) -> bool:
        """Return whether what the node gives is what it has, GPU fractions on single devices."""
        return all(amount >= 0 for amount in self.free.values()) and self._devices_hold(0)

    def take(self, resources: Resources, sign: int = 1) -> None:
        """Take a bundle's amounts (or give them back with sign -1)."""
        add(self.free, resources, -sign)
        gpu = resources.get(GPU)
        if gpu % MILLI and gpu < MILLI:
            if sign > 0:
                self.fractions.append(gpu)
            else:
                self.fractions.remove(gpu)

    def how_many(self, resources: Resources, most: int) -> int:
        """Return how many such bundles fit, up to ``most``."""
        n = most
        for name, amount in resources.entries:
            n = min(n, max(0, self.free.get(name, 0)) // amount)
        gpu = resources.get(GPU)
        if n and gpu and (gpu % MILLI or self.fractions):
            trial, n_fit = self.copy(), 0
            while n_fit < n and trial.fits(resources):
                trial.take(resources)
                n_fit += 1
            return n_fit
        return n


@dataclass(frozen=True, slots=True)
class Victim:
    """Running work that stops (``keep`` 0) or shrinks to its first ``keep`` bundles."""

    running: Running
    keep: int = 0
    released: Vector = field(init=False, compare=False, repr=False)
    """The amounts that it gives up."""

    def __post_init__(self) -> None:
        released: Vector = {}
        for _, bundle in self.parts:
            add(released, bundle.resources)
        object.__setattr__(self, "released", released)

    def __hash__(self) -> int:
        return hash((self.running.demand.id, self.keep))

    @property
    def id(self) -> DemandId:
        return self.running.demand.id

    @property
    def tenant(self) -> TenantId:
        return self.running.demand.tenant

    @property
    def parts(self) -> tuple[tuple[NodeId, Bundle], ...]:
        """Return the bundles that go, with their nodes."""
        return tuple(zip(self.running.nodes, self.running.demand.bundles, strict=False))[self.keep :]


class State:
    """Mutable; ``copy`` is cheap enough for trials. ``at_s`` is the moment that it describes."""

    def __init__(self, problem: Problem, tree: Tree) -> None:
        self.problem, self.tree, self.at_s = problem, tree, problem.now_s
        self.rooms: dict[NodeId, Room] = {}
        price = prices(problem)
        for node in problem.nodes:
            room = Room(node, dict(node.resources.items()), node.resources.get(GPU))
            foreign = problem.foreign.get(node.id, Resources())
            add(room.free, foreign, -1)
            if foreign.get(GPU) % MILLI:
                room.fractions.append(foreign.get(GPU) % MILLI)
            room.open = node.state is NodeState.READY
            room.price = price.get(node.id, 0.0)
            self.rooms[node.id] = room
        self.use: dict[TenantId, Vector] = {tenant: {} for tenant in tree.tenants}
        self.alive: dict[DemandId, Running] = {}
        self.granted: dict[DemandId, tuple[Demand, tuple[NodeId, ...]]] = {}
        for running in problem.running:
            self.alive[running.demand.id] = running
            self.hold(running.demand, running.nodes)

    def copy(self) -> State:
        twin = object.__new__(State)
        twin.problem, twin.tree, twin.at_s = self.problem, self.tree, self.at_s
        twin.rooms = {key: room.copy() for key, room in self.rooms.items()}
        twin.use = {key: dict(use) for key, use in self.use.items()}
        twin.alive, twin.granted = dict(self.alive), dict(self.granted)
        return twin

    def closed_to(self, demand: Demand) -> frozenset[NodeId]:
        """Return the nodes on which a demand may take no new place at this moment, for reservations."""
        if not self.problem.reservations:
            return frozenset()
        running, until_s = self.alive.get(demand.id), None
        if running is not None and demand.runtime_s is not None:
            end_s = running.started_s + demand.runtime_s
            until_s = end_s if end_s >= self.at_s else None
        return closed_to(self.problem, self.tree, demand, self.at_s, until_s)

    def hold(self, demand: Demand, nodes: Sequence[NodeId], sign: int = 1, first: int = 0) -> None:
        """Count bundles ``first``.. of a demand on their nodes and tenants (or off them with sign -1)."""
        for node, bundle in zip(nodes[first:], demand.bundles[first:], strict=False):
            if node in self.rooms:
                self.rooms[node].take(bundle.resources, sign)
            for tenant in self.tree.paths[demand.tenant]:
                add(self.use[tenant], bundle.resources, sign)

    def grant(self, demand: Demand, nodes: Sequence[NodeId]) -> None:
        """Give a newcomer its nodes (again with others where it has some; its turn among newcomers stays)."""
        before, old = self.granted.get(demand.id, (demand, ()))
        if before is demand and tuple(nodes[: len(old)]) == old:
            self.hold(demand, nodes, first=len(old))
        else:
            self.hold(before, old, -1)
            self.hold(demand, nodes)
        self.granted[demand.id] = (demand, tuple(nodes))

    def revoke(self, demand_id: DemandId) -> None:
        """Take a newcomer's nodes back."""
        if demand_id in self.granted:
            demand, nodes = self.granted.pop(demand_id)
            self.hold(demand, nodes, -1)

    def displace(self, victims: Iterable[Victim]) -> None:
        """Stop or shrink running work."""
        for victim in victims:
            running = self.alive[victim.id]
            self.hold(running.demand, running.nodes, -1, first=victim.keep)
            if victim.keep:
                self.alive[victim.id] = Running(
                    running.demand, running.nodes[: victim.keep], running.started_s, running.checkpointed_s
                )
            else:
                del self.alive[victim.id]

    def extend(self, demand_id: DemandId, nodes: Sequence[NodeId]) -> None:
        """Let running elastic work grow onto further nodes."""
        running = self.alive[demand_id]
        grown = Running(running.demand, running.nodes + tuple(nodes), running.started_s, running.checkpointed_s)
        self.hold(grown.demand, grown.nodes, first=len(running.nodes))
        self.alive[demand_id] = grown

    def use_with(self, tenant: TenantId, more: Vector, victims: Iterable[Victim] = ()) -> dict[TenantId, Vector]:
        """Return every tenant's use with a newcomer's amounts and without the victims."""
        changes: list[tuple[TenantId, Vector, int]] = [(tenant, more, 1)]
        changes += [(victim.tenant, victim.released, -1) for victim in victims]
        out: dict[TenantId, Vector] = dict(self.use)
        touched: set[TenantId] = set()
        for who, amounts, sign in changes:
            for node in self.tree.paths[who]:
                if node not in touched:
                    out[node] = dict(out[node])
                    touched.add(node)
                add(out[node], amounts, sign)
        return out
