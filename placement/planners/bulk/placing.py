"""Nodes for one gang: best fit for each kind of its bundles, inside one domain or apart where its topology says so."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from placement.model import Demand, NodeId, Topology
from placement.planners.bulk.kinds import BOUNDLESS, Groups, Kind
from placement.planners.bulk.rooms import Picked, Rooms
from placement.planners.fitting import place

MOST_DOMAINS = 64
"""Domains in which a gang is counted through before it is given up there."""

MOST_SEARCHES = 32
"""Gangs with several topologies, slices or a balance, for which the general search is asked in one question."""

NO_BOUND = BOUNDLESS * 1000
NONE: frozenset[int] = frozenset()
NO_NODES: frozenset[NodeId] = frozenset()
At = list[int]
"""The node of each bundle, in order."""


class Placer:
    """Places gangs on what is free; remembers what has failed until rooms grow."""

    def __init__(self, rooms: Rooms, remembers: bool = True) -> None:
        self.rooms, self.remembers = rooms, remembers
        self.searches = MOST_SEARCHES
        self._failed: dict[object, int] = {}
        self._most: dict[object, tuple[int, list[int]]] = {}

    def place(
        self, demand: Demand, groups: Groups, held: Sequence[int] = (), avoid: Collection[int] = NONE
    ) -> At | None:
        """Return the nodes of the bundles in ``groups``, or None; nothing is taken yet."""
        topologies = demand.topologies
        if not topologies:
            return self.gang(groups, avoid=avoid)
        if len(topologies) > 1 or topologies[0].slice or topologies[0].skew is not None:
            return self._several(demand, groups, held, avoid)
        topology = topologies[0]
        answer = self._one(topology, groups, held, avoid)
        if answer is None and not topology.required:
            answer = self.gang(groups, avoid=avoid)
        return answer

    def _one(self, topology: Topology, groups: Groups, held: Sequence[int], avoid: Collection[int]) -> At | None:
        if topology.kind == "spread":
            return self._apart(groups, topology, held, avoid)
        return self._together(groups, topology, held, avoid)

    def _several(self, demand: Demand, groups: Groups, held: Sequence[int], avoid: Collection[int]) -> At | None:
        """Place by the general search, a bounded number of times; then by what is required alone."""
        if self.searches > 0 and not avoid:
            self.searches -= 1
            rooms, nodes = self.rooms.as_rooms(), self.rooms.nodes
            n = len(held) + sum(len(places) for _, places in groups)
            kept, closed = self.rooms.kept, groups[0][0].closed
            shut = {nodes[node].id for node, found in kept.items() if closed & found} if closed else NO_NODES
            found = place(rooms, self.rooms.kinds.capacity, demand, n, [nodes[node].id for node in held], shut)
            return None if found is None else [self.rooms.index[node] for node in found]
        required = [t for t in demand.topologies if t.required]
        if not required:
            return self.gang(groups, avoid=avoid)
        if len(required) > 1 or required[0].slice or required[0].skew is not None:
            return None
        return self._one(required[0], groups, held, avoid)

    def bound(self, kind: Kind) -> int:
        """Return how many bundles of a kind there is room for at most."""
        if not self.remembers:
            return NO_BOUND
        grown = self.rooms.grown
        if kind.seen < len(grown):
            if kind.bound < NO_BOUND:
                more = sum(
                    self.rooms.count_at(kind, node) for node in grown[kind.seen :] if self.rooms.accepts(kind, node)
                )
                kind.bound += more
                kind.grown += bool(more)
            kind.seen = len(grown)
        return kind.bound

    # -- gangs ---------------------------------------------------------------------------------------------------

    def gang(
        self,
        groups: Groups,
        nodes: Sequence[int] | None = None,
        apart: Sequence[int] | None = None,
        used: Collection[int] = NONE,
        avoid: Collection[int] = NONE,
    ) -> At | None:
        if len(groups) == 1:
            kind, places = groups[0]
            picked = self.pick(kind, len(places), nodes, apart, used, avoid)
            return None if picked is None else [node for node, n in picked for _ in range(n)]
        first, answer = min(places[0] for _, places in groups), dict[int, int]()
        taken: list[tuple[Kind, int, int]] = []
        domains = set(used)
        for kind, places in groups:
            picked = self.pick(kind, len(places), nodes, apart, domains, avoid)
            if picked is None:
                break
            waiting = iter(places)
            for node, n in picked:
                self.rooms.take(node, kind, n)
                taken.append((kind, node, n))
                answer.update((next(waiting), node) for _ in range(n))
                if apart is not None:
                    domains.add(apart[node])
        for kind, node, n in reversed(taken):
            self.rooms.give(node, kind, n)
        total = sum(len(places) for _, places in groups)
        return [answer[first + i] for i in range(total)] if len(answer) == total else None

    def pick(
        self,
        kind: Kind,
        n: int,
        nodes: Sequence[int] | None = None,
        apart: Sequence[int] | None = None,
        used: Collection[int] = NONE,
        avoid: Collection[int] = NONE,
    ) -> Picked | None:
        """Return nodes for ``n`` like bundles: among ``nodes``, one per domain of ``apart``, none to ``avoid``."""
        freely = nodes is None and apart is None and not avoid
        if nodes is None and n > self.bound(kind):
            return None
        picked: Picked = []
        left, seen = n, set(used)
        for node, count in self.rooms.candidates(kind, nodes):
            if node in avoid:
                continue
            if apart is not None:
                if apart[node] < 0 or apart[node] in seen:
                    continue
                seen.add(apart[node])
                count = 1
            if count >= left:
                picked.append((node, left))
                return picked
            picked.append((node, count))
            left -= count
        if freely and self.remembers:
            kind.bound = n - left
        return None

    # -- topology ------------------------------------------------------------------------------------------------

    def _apart(self, groups: Groups, topology: Topology, held: Sequence[int], avoid: Collection[int]) -> At | None:
        of, _ = self.rooms.domains(topology.key)
        used = {of[node] for node in held}
        if len(used) < len(held) or -1 in used:
            return None
        sign = (topology.key, len(used), tuple((kind.number, len(places)) for kind, places in groups))
        memo = self.remembers and not held and not avoid
        if memo and self._failed.get(sign) == len(self.rooms.grown):
            return None
        answer = self.gang(groups, None, of, used, avoid)
        if answer is None and memo:
            self._failed[sign] = len(self.rooms.grown)
        return answer

    def _together(self, groups: Groups, topology: Topology, held: Sequence[int], avoid: Collection[int]) -> At | None:
        of, members = self.rooms.domains(topology.key)
        if held:
            domain = of[held[0]]
            return None if domain < 0 else self.gang(groups, members[domain], None, NONE, avoid)
        kind, n = groups[0][0], len(groups[0][1])
        if n > self.bound(kind):
            return None
        most = self._most_by_domain(kind, topology.key, of, members)
        slack, gpus = self.rooms.domain_room(topology.key)
        wanted = kind.gpu * n
        able = [(slack[d], d) for d, count in enumerate(most) if count >= n and gpus[d] >= wanted]
        if not able:
            return None
        able.sort()
        exact = len(groups) == 1 and not avoid
        for tried, (_, domain) in enumerate(able):
            if tried >= MOST_DOMAINS:
                break
            if exact:
                most[domain] = count = self.rooms.count_on(kind, members[domain])
                if count < n:
                    continue
            answer = self.gang(groups, members[domain], None, NONE, avoid)
            if answer is not None:
                return answer
        return None

    def _most_by_domain(self, kind: Kind, key: str, of: list[int], members: list[list[int]]) -> list[int]:
        """Return how many bundles each domain holds at most, counted anew where rooms have grown since."""
        seen, most = self._most.get((kind.number, key), (-1, []))
        grown = self.rooms.grown
        if seen < 0 or not self.remembers:
            most = [NO_BOUND] * len(members)
        for node in grown[max(seen, 0) :] if seen >= 0 and self.remembers else ():
            if of[node] >= 0:
                most[of[node]] = NO_BOUND
        self._most[kind.number, key] = len(grown), most
        return most
