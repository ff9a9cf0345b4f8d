"""Who yields for a newcomer: the nodes that are cheapest to clear, then whoever is not needed goes back.

Theory of operation. For each sort of newcomer (tenant, importance, kind of bundle) the nodes that its rights let it
clear stand in a heap by what one more bundle costs there: the importance of who would go, then how much, then the
fewest. Rights and rooms only shrink as decisions are made, so a cost that has changed is found out when its node comes
up. Victims leave one by one, each while its tenants are above their quota; at the end the whole set is judged by
``planners.rules``' measure, and undone where a rule forbids it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heappop, heappush

from placement.model import Borrow, Cause, Demand, Reclaim, TenantId, Within
from placement.planners.bulk.clearing import Clearing
from placement.planners.bulk.gangs import Gang, Gangs
from placement.planners.bulk.kinds import Kind
from placement.planners.bulk.placing import NO_BOUND, Placer
from placement.planners.bulk.rights import ANY, Rights
from placement.planners.bulk.spots import Cost, Going, Heap, Source, Spot
from placement.planners.bulk.turns import Step
from placement.planners.tree import Vector

MANY = 100
CHOICE = 8
"""Nodes with room to gain that are looked at beyond what a newcomer needs, before the cheapest are taken.

Who needs ``MANY`` bundles has four times as many to choose from."""


MOST_YIELDS = 2
"""Domains in which a newcomer's own side goes first for it; as a rule what fails in one fails in the others too."""


class VictimSearch:
    """Finds victims for newcomers; what has failed is not tried again until rooms grow."""

    def __init__(self, gangs: Gangs, placer: Placer, effort: int) -> None:
        self.gangs, self.rooms, self.book, self.placer = gangs, gangs.rooms, gangs.book, placer
        self.clearing = Clearing(gangs)
        self.effort = effort
        """Nodes that may still be looked at; what is not found by then waits."""
        self._heaps: dict[object, Heap] = {}
        self._sources: dict[object, Source] = {}
        self._failed: dict[object, tuple[int, int]] = {}
        self._rights: tuple[int, Rights] | None = None
        self._n_yielded = 0
        """In how many domains it has been tried in vain to let the newcomer's own side go first."""
        self._too_much = False
        """Whether the newcomer's own side cannot give up so much that it is within its guarantee, wherever it goes."""

    def forget(self) -> None:
        """Forget who has failed: a tenant's use has fallen."""
        self._failed.clear()

    def _sign(self, step: Step, kind: Kind) -> object:
        newer = self.book.tree.policy(step.demand.tenant).within is Within.LOWER_OR_NEWER
        return step.demand.tenant, step.priority, kind.number, step.demand.submitted_s if newer else 0.0

    def hopeless(self, step: Step, kind: Kind, n: int, among: tuple[str, int] | None = None) -> bool:
        """Return whether a search has failed, among all nodes or in a domain, and nothing there got roomier since."""
        if among is None:
            self.placer.bound(kind)
            fewest, grown = self._failed.get(self._sign(step, kind), (10**9, 0))
            return n >= fewest and grown == kind.grown
        fewest, grown = self._failed.get((self._sign(step, kind), among), (10**9, 0))
        return n >= fewest and grown == self.rooms.grown_in(*among)

    def note_failed(self, step: Step, kind: Kind, n: int, among: tuple[str, int]) -> None:
        """Note that a search in a domain of a label has failed."""
        self._failed[self._sign(step, kind), among] = n, self.rooms.grown_in(*among)

    def begin(self) -> None:
        """Note that another newcomer, or the same at another moment, is looked at."""
        self._too_much, self._n_yielded = False, 0

    def clear(self, step: Step, kind: Kind, n: int, nodes: Sequence[int] | None = None) -> Going | None:
        """Let victims go until ``n`` bundles of a kind fit (among ``nodes``) and the newcomer's limits allow them.

        What has gone is gone: ``undo`` brings it back.
        """
        if nodes is None and self.hopeless(step, kind, n):
            return None
        going = self._by_rights(step, kind, n, nodes) or self._by_yielding(step, kind, n, nodes)
        if going is None and nodes is None:
            self._failed[self._sign(step, kind)] = n, kind.grown
        return going

    def _by_rights(self, step: Step, kind: Kind, n: int, nodes: Sequence[int] | None) -> Going | None:
        """Let those go whom the newcomer may displace as things stand."""
        return self._search(self._rights_of(step), step, kind, n, nodes, Going())

    def _by_yielding(self, step: Step, kind: Kind, n: int, nodes: Sequence[int] | None) -> Going | None:
        """Let so much of the newcomer's own side go first that it is within its guarantee and may reclaim the rest."""
        rights = self._rights_of(step)
        governed = [name for name in step.more if name in self.book.tree.governed]
        if rights.own == -ANY or rights.policy.reclaim is Reclaim.NEVER or not governed or self.effort <= 0:
            return None
        if self._too_much or self._n_yielded >= MOST_YIELDS:
            return None
        self._n_yielded += nodes is not None
        yielding = self._who_yields(rights, step, governed)
        if yielding:
            going = Going(reclaims=True)
            for gang in yielding:
                self.effort -= 1
                self._go(rights, gang, 0, going)
            return self._search(Rights(self.gangs, step), step, kind, n, nodes, going)
        self._too_much = True
        return None

    def _who_yields(self, rights: Rights, step: Step, governed: Sequence[str]) -> list[Gang] | None:
        """Return who of the newcomer's own side goes so that it is within its guarantee; None where all are too few.

        Whatever a tenant gives up counts for all that it is under, so that the most that is missing decides.
        """
        tree, use, short = self.book.tree, self.book.use, dict[str, int]()
        for top in tree.paths[step.demand.tenant]:
            for name in governed:
                over = use[top].get(name, 0) + step.more[name] - tree.quota[top].get(name, 0)
                if over > short.get(name, 0):
                    short[name] = over
        sizes = self.gangs.sizes[step.demand.tenant].items()
        below = rights.own + rights.newer
        if short.get("GPU", 0) > sum(size for priority, size in sizes if priority < below):
            return None
        out: list[Gang] = []
        for gang in self.gangs.of[step.demand.tenant] if short else ():
            if gang.keep and rights.may(gang) and any(gang.kinds[0].resources.get(name) for name in governed):
                out.append(gang)
                for name, amount in gang.released(0).items():
                    if name in short:
                        short[name] -= amount
                if all(amount <= 0 for amount in short.values()):
                    return out
        return None

    def _guaranteed(self, tenant: TenantId, step: Step) -> bool:
        return self.book.guaranteed(tenant, step.more)

    def _search(
        self, rights: Rights, step: Step, kind: Kind, n: int, nodes: Sequence[int] | None, going: Going
    ) -> Going | None:
        fair = rights.policy.borrow is Borrow.FAIR
        before = {t: self.book.share(t) for t in self.book.tree.tenants} if fair else {}
        if (
            self.effort > 0
            and self._make_allowed(rights, step, going)
            and self._make_room(rights, kind, n, nodes, going)
        ):
            self._spare(step, kind, n, nodes, going)
            if self._judge(rights, step, going, before):
                return going
        self.undo(going)
        return None

    def _rights_of(self, step: Step) -> Rights:
        """Return the rights of a newcomer; the last ones as long as nothing has changed."""
        known = self._rights
        if known is None or known[0] != self.book.version or known[1].step is not step:
            known = self._rights = self.book.version, Rights(self.gangs, step)
        return known[1]

    def undo(self, going: Going) -> None:
        for gang, keep in reversed(going.order):
            self.gangs.restore(gang, keep)
        going.order.clear()

    def _go(self, rights: Rights, gang: Gang, keep: int, going: Going) -> bool:
        if not rights.above(gang, keep):
            return False
        going.order.append((gang, gang.keep))
        self.gangs.release(gang, keep)
        return True

    # -- limits --------------------------------------------------------------------------------------------------

    def _make_allowed(self, rights: Rights, step: Step, going: Going) -> bool:
        """Let the newcomer's own side go until its limits allow it."""
        tenant = step.demand.tenant
        if self.book.allowed(tenant, step.more):
            return True
        for gang in self.gangs.of[tenant]:
            if gang.keep and rights.may(gang):
                self.effort -= 1
                self._go(rights, gang, 0, going)
                if self.book.allowed(tenant, step.more):
                    return True
        return False

    # -- room ----------------------------------------------------------------------------------------------------

    def _make_room(self, rights: Rights, kind: Kind, n: int, nodes: Sequence[int] | None, going: Going) -> bool:
        count = self._count(kind, n, nodes)
        if count >= n:
            return True
        if not self.clearing.enough(rights, kind, n - count):
            return False
        if nodes is not None and not self.clearing.enough_among(rights, kind, n, nodes):
            return False
        heap = self._heap(rights, kind, n, nodes)
        put_back: list[tuple[Cost, int]] = []
        self._widen(heap, rights, kind, n - count)
        while count < n and self.effort > 0:
            if not heap.ready:
                self._widen(heap, rights, kind, n - count)
                if not heap.ready:
                    break
            cost, node = heappop(heap.ready)
            self.effort -= 1
            found = self.clearing.option(rights, kind, n, node)
            if found is None:
                continue
            if found[0] > cost:
                heappush(heap.ready, (found[0], node))
                continue
            put_back.append((cost, node))
            touched = {at for gang, keep in found[1] for at, _ in gang.parts(keep) if at >= 0}
            if nodes is not None:
                touched = touched.intersection(nodes)
            had = self.rooms.count_on(kind, touched)
            gone = [self._go(rights, gang, keep, going) for gang, keep in found[1]]
            count += self.rooms.count_on(kind, touched) - had
            if all(gone) and count < n:
                again = self.clearing.option(rights, kind, n, node)
                if again is not None:
                    heappush(heap.ready, (again[0], node))
                    put_back.pop()
        for entry in put_back:
            heappush(heap.ready, entry)
        return count >= n

    def _count(self, kind: Kind, n: int, nodes: Sequence[int] | None) -> int:
        return self.rooms.count(kind, n) if nodes is None else self.rooms.count_on(kind, nodes)

    def _heap(self, rights: Rights, kind: Kind, n: int, nodes: Sequence[int] | None) -> Heap:
        if nodes is not None:
            return Heap(Source(iter([(0, node, NO_BOUND) for node in nodes])))
        sign = rights.sign
        heap = self._heaps.get((sign, kind.number, n == 1))
        if heap is None:
            source = self._sources.get(sign)
            if source is None:
                source = self._sources[sign] = Source(self._nodes(rights))
            heap = self._heaps[sign, kind.number, n == 1] = Heap(source)
        return heap

    def _nodes(self, rights: Rights) -> Iterator[Spot]:
        """Yield the nodes on which something may go, those of the least important first."""
        seen: set[int] = set()
        own, is_open, may = rights.step.demand.tenant, self.rooms.open, rights.may
        for gang in self.gangs.in_order if rights.below else self.gangs.of[own]:
            if gang.keep and may(gang):
                for node in gang.at:
                    if node not in seen and node >= 0 and is_open[node]:
                        seen.add(node)
                        gpu = self.rooms.free[node][self.rooms.gpu_idx] if self.rooms.gpu_idx >= 0 else 0
                        for other in self.gangs.on.get(node, ()):
                            if other.keep and may(other):
                                gpu += other.size
                        yield gang.priority, node, gpu

    def _widen(self, heap: Heap, rights: Rights, kind: Kind, n: int) -> None:
        """Look at more nodes, until there is a choice among those where only the least important goes."""
        ready, source = heap.ready, heap.source
        if ready and heap.priority > ready[0][0][0]:
            return
        target = (n if n < MANY else 4 * n) + CHOICE
        known, rest, least, accepted = source.known, source.rest, kind.gpu, self.rooms.accepted(kind)
        while self.effort > 0 and len(ready) < target:
            if heap.n_seen == len(known):
                spot = next(rest, None)
                if spot is None:
                    return
                known.append(spot)
            priority, node, gpu = known[heap.n_seen]
            heap.n_seen += 1
            if gpu >= least and (accepted is None or accepted[node]):
                heap.priority = priority
                self.effort -= 1
                found = self.clearing.option(rights, kind, n, node)
                if found is not None:
                    heappush(ready, (found[0], node))

    # -- what follows --------------------------------------------------------------------------------------------

    def _spare(self, step: Step, kind: Kind, n: int, nodes: Sequence[int] | None, going: Going) -> None:
        """Put back whom the newcomer does not need, the worst to lose first; shrunk gangs as far as will do."""
        for entry in sorted(going.order, key=lambda e: (e[0].priority, e[0].size, -e[0].since), reverse=True):
            gang, before = entry
            if len([e for e in going.order if e[0] is gang]) > 1:
                continue
            if len(going.order) > 1:
                keep = gang.keep
                self.gangs.restore(gang, before)
                if self._works(step, kind, n, nodes, going):
                    going.order.remove(entry)
                    continue
                self.gangs.release(gang, keep)
            while gang.keep + 1 < before and gang.running.demand.min_bundles <= gang.keep + 1 < len(gang.at):
                keep = gang.keep
                self.gangs.restore(gang, max(keep + 1, gang.running.demand.min_bundles))
                if not self._works(step, kind, n, nodes, going):
                    self.gangs.release(gang, keep)
                    break

    def _works(self, step: Step, kind: Kind, n: int, nodes: Sequence[int] | None, going: Going) -> bool:
        self.effort -= 1
        tenant = step.demand.tenant
        if self._count(kind, n, nodes) < n or not self.book.allowed(tenant, step.more):
            return False
        if not going.reclaims or all(gang.tenant == tenant for gang, _ in going.order):
            return True
        return all(self._guaranteed(top, step) for top in self.book.tree.paths[tenant])

    def _judge(self, rights: Rights, step: Step, going: Going, before: dict[TenantId, float]) -> bool:
        """Name each victim's cause; False where the whole set breaks a rule."""
        more: Vector = step.more
        self.book.tried(step.demand.tenant, more)
        try:
            for gang, _ in going.order:
                cause = self._cause(rights, step.demand, gang, before)
                if cause is None:
                    return False
                going.causes[gang.index] = cause
        finally:
            self.book.tried(step.demand.tenant, more, -1)
        return self.book.allowed(step.demand.tenant, more)

    def _cause(self, rights: Rights, demand: Demand, gang: Gang, before: dict[TenantId, float]) -> Cause | None:
        if gang.tenant == demand.tenant:
            return Cause.PRIORITY
        tree, book, policy = self.book.tree, self.book, rights.policy
        mine, side = tree.apart(demand.tenant, gang.tenant)
        lower = gang.priority < rights.step.priority
        if tree.within(mine[-1], book.use[mine[-1]], rights.step.more):
            reclaims = policy.reclaim is Reclaim.ANY or (policy.reclaim is Reclaim.LOWER_PRIORITY and lower)
            return Cause.RECLAIM if reclaims else None
        if policy.borrow is Borrow.LOWER_PRIORITY:
            return Cause.PRIORITY if lower else None
        if policy.borrow is Borrow.FAIR:
            ends = mine[-1], side[-1]
            if max(book.share(t) for t in ends) < max(before[t] for t in ends):
                return Cause.FAIRNESS
        return None
