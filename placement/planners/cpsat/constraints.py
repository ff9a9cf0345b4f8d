"""The programme: one method per rule, in the order in which ``add_constraints`` lists them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from ortools.sat.python import cp_model

from placement.localities import values_open_to
from placement.model import MILLI, Borrow, Demand, NodeId, Reclaim, TenantId, Topology
from placement.planners.cpsat.batches import Batch, Gang, Units, amounts_of
from placement.planners.cpsat.variables import Bool, Linear, variables
from placement.planners.state import GPU, Room, State, Victim, devices_of
from placement.planners.tree import Vector


class Programme:
    """Where gangs stand and who yields for them, as one CP-SAT model.

    ``newcomer`` is the demand for which victims may yield now, with the amounts that it adds; without it no victim's
    rule is modelled (a relaxation, for bounds).
    """

    def __init__(self, state: State, batch: Batch, newcomer: tuple[Demand, Vector] | None = None) -> None:
        self.state, self.tree, self.batch, self.newcomer = state, state.tree, batch, newcomer
        self.model = cp_model.CpModel()
        self.units = Units(amounts_of(batch))
        self.vars = variables(self.model, batch)
        self.asks, self.leaves = self._asks(), self._leaves()
        self.add_constraints()

    def add_constraints(self) -> None:
        """State every rule."""
        self.gang_whole_or_not_at_all()
        self.elastic_work_grows_in_order()
        self.elastic_work_shrinks_before_it_stops()
        self.nodes_give_what_they_have()
        self.parts_of_a_gpu_fit_one_device()
        self.packed_gangs_stay_together()
        self.spread_gangs_stay_apart()
        self.spread_gangs_are_balanced()
        if self.newcomer is not None:
            self.limits_hold(*self.newcomer)
            self.victims_yield_by_the_rules(*self.newcomer)
            self.victims_are_above_their_quota(self.newcomer[0])

    # -- gangs ---------------------------------------------------------------------------------------------------

    def gang_whole_or_not_at_all(self) -> None:
        """Every bundle that a gang must have, or gets, stands on one node."""
        for gang in self.batch.gangs:
            name, starts = gang.demand.id, self.vars.starts[gang.demand.id]
            if not gang.optional:
                self.model.add(starts == 1)
            for k, kind in enumerate(gang.kinds):
                here = [self.vars.count[name, k, node] for node in self.batch.hosts(kind)]
                extra = sum(self.vars.gets[name, i] for i in kind.may)
                self.model.add(sum(here) == len(kind.must) * starts + extra)

    def elastic_work_grows_in_order(self) -> None:
        """An elastic gang that has k bundles has the first k."""
        for gang in self.batch.gangs:
            before = self.vars.starts[gang.demand.id]
            for i in range(gang.least, gang.most):
                self.model.add_implication(self.vars.gets[gang.demand.id, i], before)
                before = self.vars.gets[gang.demand.id, i]

    def elastic_work_shrinks_before_it_stops(self) -> None:
        """Running elastic work gives its last bundles up first, and all of them where it stops."""
        for victim in self.batch.victims:
            running, name = victim.running, victim.id
            for i in range(running.demand.min_bundles, len(running.nodes)):
                self.model.add_implication(self.vars.stops[name], self.vars.drops[name, i])
                if i + 1 < len(running.nodes):
                    self.model.add_implication(self.vars.drops[name, i], self.vars.drops[name, i + 1])

    # -- nodes ---------------------------------------------------------------------------------------------------

    def nodes_give_what_they_have(self) -> None:
        """No resource of a node is given twice; what victims leave is there to take."""
        asks, leaves = self.asks, self.leaves
        for node, room in self.batch.rooms.items():
            for resource in sorted({name for name, _, _ in asks.get(node, ())}):
                taken = [amount * var for name, amount, var in asks[node] if name == resource]
                left = [e for e in leaves.get(node, ()) if e[0] == resource]
                freed = [self.units.given(resource, amount) * var for _, amount, var in left]
                self.model.add(sum(taken) <= self.units.given(resource, room.free.get(resource, 0)) + sum(freed))

    def _asks(self) -> dict[NodeId, list[tuple[str, int, cp_model.IntVar]]]:
        out: dict[NodeId, list[tuple[str, int, cp_model.IntVar]]] = {}
        for gang in self.batch.gangs:
            for k, kind in enumerate(gang.kinds):
                for node in self.batch.hosts(kind):
                    var = self.vars.count[gang.demand.id, k, node]
                    for name, amount in kind.resources.items():
                        out.setdefault(node, []).append((name, self.units.asked(name, amount), var))
        return out

    def _leaves(self) -> dict[NodeId, list[tuple[str, int, Bool]]]:
        out: dict[NodeId, list[tuple[str, int, Bool]]] = {}
        for victim in self.batch.victims:
            for i, node in enumerate(victim.running.nodes):
                for name, amount in victim.running.demand.bundles[i].resources.items():
                    out.setdefault(node, []).append((name, amount, self.vars.drops[victim.id, i]))
        return out

    def parts_of_a_gpu_fit_one_device(self) -> None:
        """On nodes where GPUs are shared, every part stands on one device and whole ones take whole devices."""
        parts = self._gpu_parts()
        for node, room in self.batch.rooms.items():
            leaving = [e for e in self.leaves.get(node, ()) if e[0] == GPU and e[1] % MILLI]
            if not parts.get(node) and not (room.fractions and self._whole(node)):
                continue
            self._devices(node, room, parts.get(node, []), leaving)

    def _gpu_parts(self) -> dict[NodeId, list[tuple[int, cp_model.IntVar]]]:
        out: dict[NodeId, list[tuple[int, cp_model.IntVar]]] = {}
        for node, asks in self.asks.items():
            out[node] = [(amount, var) for name, amount, var in asks if name == GPU and amount % MILLI]
        return out

    def _whole(self, node: NodeId) -> list[tuple[int, cp_model.IntVar]]:
        return [(a, var) for name, a, var in self.asks.get(node, ()) if name == GPU and not a % MILLI]

    def _devices(
        self, node: NodeId, room: Room, parts: list[tuple[int, cp_model.IntVar]], leaving: list[tuple[str, int, Bool]]
    ) -> None:
        """Put every part, new or staying, on one of the node's devices."""
        devices = devices_of(room.gpu)
        shared = [self.model.new_bool_var(f"device {d} of {node} is shared") for d in range(len(devices))]
        load: list[list[Linear]] = [[] for _ in devices]
        staying: list[tuple[int, Linear]] = [(part, 1) for part in room.fractions]
        for _, part, drop in leaving:
            staying.remove((part, 1))
            staying.append((part, 1 - drop))
        for part, there in staying:
            on = [self.model.new_bool_var("") for _ in devices]
            self.model.add(sum(on) == there)
            for d, var in enumerate(on):
                load[d].append(part * var)
        for part, var in parts:
            n = [self.model.new_int_var(0, MILLI // part, "") for _ in devices]
            self.model.add(sum(n) == var)
            for d, amount in enumerate(n):
                load[d].append(part * amount)
        for d, size in enumerate(devices):
            self.model.add(sum(load[d]) <= size * shared[d])
        old_whole = room.gpu - room.free.get(GPU, 0) - sum(room.fractions)
        whole = sum(amount * var for amount, var in self._whole(node))
        freed = sum(
            amount * var for name, amount, var in self.leaves.get(node, ()) if name == GPU and not amount % MILLI
        )
        parted = sum(var * size for var, size in zip(shared, devices, strict=True))
        self.model.add(whole + old_whole - freed + parted <= room.gpu)

    # -- topology ------------------------------------------------------------------------------------------------

    def packed_gangs_stay_together(self) -> None:
        """A gang with required packing, or each slice of it, stands where the label has one value."""
        for gang, topology in self._required():
            if topology.kind == "pack":
                self.together(gang, topology)

    def spread_gangs_stay_apart(self) -> None:
        """A gang with required spreading has no two bundles where the label has the same value."""
        for gang, topology in self._required():
            if topology.kind == "spread" and topology.skew is None:
                self.apart(gang, topology)

    def spread_gangs_are_balanced(self) -> None:
        """The numbers of a gang's bundles on the values open to it differ by at most its skew."""
        for gang, topology in self._required():
            if topology.skew is not None:
                self.balanced(gang, topology)

    def _required(self) -> Iterable[tuple[Gang, Topology]]:
        return ((g, topology) for g in self.batch.gangs for topology in g.demand.topologies if topology.required)

    def together(self, gang: Gang, topology: Topology, when: Bool | None = None) -> None:
        """Hold each slice of a gang on one value, always or ``when`` that is so."""
        for n, counts in self._by_slice(gang, topology, when).items():
            chosen = []
            for value, count in counts.items():
                chosen.append(self.model.new_bool_var(f"{gang.demand.id}: slice {n} is on {topology.key} {value}"))
                for var in count:
                    self._if(self.model.add(var == 0), when).only_enforce_if(~chosen[-1])
            self.model.add_at_most_one(chosen)

    def apart(self, gang: Gang, topology: Topology, when: Bool | None = None) -> None:
        """Hold every bundle of a gang on another value."""
        for count in self._by_value(gang, topology, when).values():
            self._if(self.model.add(sum(count) <= 1), when)

    def balanced(self, gang: Gang, topology: Topology, when: Bool | None = None) -> None:
        """Hold a gang's numbers per value within its skew of each other."""
        counts = self._by_value(gang, topology, when)
        nodes = [room.node for room in self.batch.rooms.values()]
        least = self.model.new_int_var(0, gang.most, f"{gang.demand.id}: fewest on one {topology.key}")
        for value in sorted(values_open_to(nodes, gang.demand, topology.key) | set(counts)):
            here = sum(counts.get(value, []))
            self._if(self.model.add(here >= least), when)
            self._if(self.model.add(here <= least + (topology.skew or 0)), when)

    @staticmethod
    def _if(rule: cp_model.Constraint, when: Bool | None) -> cp_model.Constraint:
        return rule if when is None else rule.only_enforce_if(when)

    def _by_value(self, gang: Gang, topology: Topology, when: Bool | None) -> dict[str, list[cp_model.IntVar]]:
        return self._by_slice(gang, replace(topology, slice=0), when).get(0, {})

    def _by_slice(
        self, gang: Gang, topology: Topology, when: Bool | None
    ) -> dict[int, dict[str, list[cp_model.IntVar]]]:
        """Return the counts by the label's value for each slice; nodes without the label take none."""
        out: dict[int, dict[str, list[cp_model.IntVar]]] = {}
        for k, kind in enumerate(gang.kinds):
            n = kind.first // topology.slice if topology.slice else 0
            for node in self.batch.hosts(kind):
                value = self.batch.rooms[node].node.label(topology.key)
                var = self.vars.count[gang.demand.id, k, node]
                if value is None:
                    self._if(self.model.add(var == 0), when)
                else:
                    out.setdefault(n, {}).setdefault(value, []).append(var)
        return out

    # -- tenants -------------------------------------------------------------------------------------------------

    def _use(self, tenant: TenantId, name: str, more: int = 0) -> Linear:
        """Return a subtree's use of a resource, with what the newcomer adds and without what victims leave."""
        return (
            self.state.use[tenant].get(name, 0)
            + more
            - sum(
                victim.running.demand.bundles[i].resources.get(name) * self.vars.drops[victim.id, i]
                for victim in self.batch.victims
                if tenant in self.tree.paths[victim.tenant]
                for i in range(len(victim.running.nodes))
            )
        )

    def limits_hold(self, newcomer: Demand, more: Vector) -> None:
        """The newcomer's tenant and its ancestors stay within their limits (lending is judged on the answer)."""
        for tenant in self.tree.paths[newcomer.tenant]:
            facts, quota = self.tree.tenants[tenant], self.tree.quota[tenant]
            for name, most in facts.limit or ():
                if name in more:
                    self.model.add(self._use(tenant, name, more[name]) <= most)
            for name, most in facts.borrow_limit or ():
                if name in more:
                    self.model.add(self._use(tenant, name, more[name]) <= quota.get(name, 0) + most)

    def victims_yield_by_the_rules(self, newcomer: Demand, more: Vector) -> None:
        """Outside its own tenant a newcomer reclaims within its guarantee, or borrows as its policy says."""
        policy = self.tree.policy(newcomer.tenant)
        within: dict[TenantId, Bool] = {}
        for victim in self.batch.victims:
            if victim.tenant == newcomer.tenant:
                continue
            mine, side = self.tree.apart(newcomer.tenant, victim.tenant)
            lower = victim.running.demand.priority < newcomer.priority
            if mine[-1] not in within:
                within[mine[-1]] = self._within(mine[-1], more)
            inside, goes = within[mine[-1]], self._goes(victim)
            if not (policy.reclaim is Reclaim.ANY or (policy.reclaim is Reclaim.LOWER_PRIORITY and lower)):
                self.model.add_implication(goes, ~inside)
            if policy.borrow is Borrow.FAIR:
                self._larger_share_shrinks(mine[-1], side[-1], more, (goes, ~inside))
            elif not (policy.borrow is Borrow.LOWER_PRIORITY and lower):
                self.model.add_implication(goes, inside)

    def _goes(self, victim: Victim) -> Bool:
        """Return whether a victim yields at all: its last bundle goes first."""
        return self.vars.drops[victim.id, len(victim.running.nodes) - 1]

    def _within(self, tenant: TenantId, more: Vector) -> Bool:
        inside = self.model.new_bool_var(f"{tenant} stays within its guarantee")
        names = [name for name in more if name in self.tree.governed]
        if not names:
            self.model.add(inside == 0)
        for name in names:
            quota = self.tree.quota[tenant].get(name, 0)
            self.model.add(self._use(tenant, name, more[name]) <= quota).only_enforce_if(inside)
        return inside

    def _larger_share_shrinks(self, mine: TenantId, theirs: TenantId, more: Vector, when: tuple[Bool, ...]) -> None:
        before = max(self.tree.share(t, self.state.use[t]) for t in (mine, theirs))
        for tenant, added in ((mine, more), (theirs, {})):
            weight = self.tree.tenants[tenant].weight
            for name in sorted(set(self.state.use[tenant]) | set(added)):
                below = math.ceil(before * max(1, self.tree.capacity.get(name, 0)) * weight - 1e-6) - 1
                most = self.tree.quota[tenant].get(name, 0) + below
                self.model.add(self._use(tenant, name, added.get(name, 0)) <= most).only_enforce_if(*when)

    def victims_are_above_their_quota(self, newcomer: Demand) -> None:
        """Each victim's tenants, below the first that the newcomer shares, are above their quota when it goes."""
        under: dict[TenantId, list[Victim]] = {}
        for victim in self.batch.victims:
            if victim.tenant != newcomer.tenant:
                for tenant in self.tree.apart(newcomer.tenant, victim.tenant)[1]:
                    under.setdefault(tenant, []).append(victim)
        for tenant, victims in under.items():
            self._above(tenant, victims)

    def _above(self, tenant: TenantId, victims: list[Victim]) -> None:
        use, quota = self.state.use[tenant], self.tree.quota[tenant]
        names = [n for n in use if n in self.tree.governed and use[n] > quota.get(n, 0)]
        counted = {name: self.model.new_bool_var(f"{tenant} is above in {name}") for name in names}
        last = {victim.id: self.model.new_bool_var(f"{victim.id} is the last of {tenant}") for victim in victims}
        self.model.add_at_most_one(last.values())
        for victim in victims:
            self.model.add_implication(last[victim.id], self._goes(victim))
            uses = victim.running.resources
            self.model.add(sum(counted[n] for n in names if uses.get(n)) >= self._goes(victim))
        for name in names:
            spared = sum(self._last_step(victim, last[victim.id], name) for victim in victims)
            left = self._use(tenant, name) + spared
            self.model.add(left >= quota.get(name, 0) + 1).only_enforce_if(counted[name])

    def _last_step(self, victim: Victim, last: Bool, name: str) -> Linear:
        """Return what the last victim gives up in its last step: its minimum where it stops, else what it drops."""
        bundles, least = victim.running.demand.bundles, victim.running.demand.min_bundles
        n = len(victim.running.nodes)
        if least >= n:
            return victim.running.resources.get(name) * last
        out: list[Linear] = []
        for i in range(n):
            counts = self.model.new_bool_var(f"bundle {i} of {victim.id} goes last")
            self.model.add_implication(counts, last)
            self.model.add_implication(counts, self.vars.drops[victim.id, i])
            if i >= least:
                self.model.add_implication(counts, ~self.vars.stops[victim.id])
            out.append(bundles[i].resources.get(name) * counts)
        return sum(out)
