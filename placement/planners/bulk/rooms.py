"""What is free on every node, grouped so that a gang finds its nodes without looking at all of them.

Theory of operation. Nodes are of one class where no selector or topology in question tells them apart. In a class,
nodes with the same free amounts share a bucket, and buckets stand in rows by the number of whole GPUs that are free,
the fullest first. A bundle walks the rows that can hold it: this is best fit, and the same order as that of
``planners.fitting.place``. GPU parts stay on the device on which they were put first, which is stricter than need be.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge

from placement.model import ACCELERATOR_KEY, MILLI, NODE_KEY, RAY_NODE_KEY, Node, NodeId, NodeState, Problem, Resources
from placement.planners.bulk.buckets import Amounts, Bucket, Entry, Parts, share
from placement.planners.bulk.kinds import OPEN, Kind, Kinds
from placement.planners.state import Room
from placement.planners.tree import Vector

MOST_VALUES = 32
"""A label with more values than this does not part classes: who asks for it looks at the nodes one by one."""

Picked = list[tuple[int, int]]
"""Nodes, each with the number of bundles that it takes."""


class Rooms:
    """Free amounts by node, in a form that is cheap to search and to change."""

    def __init__(self, problem: Problem, kinds: Kinds, capacity: Vector) -> None:
        self.nodes: tuple[Node, ...] = problem.nodes
        self.index: dict[NodeId, int] = {node.id: i for i, node in enumerate(problem.nodes)}
        self.kinds, self.names = kinds, kinds.names
        self.gpu_idx = kinds.names.index("GPU") if "GPU" in kinds.names else -1
        self.weights = [1 / capacity[name] if capacity.get(name, 0) > 0 else 0.0 for name in kinds.names]
        self.free: list[Amounts] = []
        self.parts: list[Parts] = []
        self.fractions: dict[int, list[int]] = {}
        self.used: dict[int, list[int]] = {}
        self.home: list[Bucket | None] = [None] * len(problem.nodes)
        self.idle_gpu = 0
        self.grown: list[int] = []
        """Nodes that have become roomier, in the order in which they did."""
        self.open = [node.state is NodeState.READY for node in problem.nodes]
        self.kept: dict[int, frozenset[int]] = self._kept(problem)
        """Reservations that are not over, by their place in the problem, of each node that has some."""
        self._classes()
        self._foreign(problem)
        self._domains: dict[str, tuple[list[int], list[list[int]]]] = {}
        self._slacks: dict[str, list[float]] = {}
        self._gpus: dict[str, list[int]] = {}
        self._grown: dict[str, tuple[int, dict[int, int]]] = {}
        self._rows: list[dict[int, list[Entry]]] = [{} for _ in self.class_members]
        self._buckets: dict[tuple[int, Amounts, Parts], Bucket] = {}
        self._speeds: dict[object, list[tuple[float, list[int]]]] = {}
        self._directs: dict[object, list[int] | None] = {}
        self._accepted: dict[int, list[bool]] = {}
        self._alike: dict[object, list[bool]] = {}

    def _kept(self, problem: Problem) -> dict[int, frozenset[int]]:
        kept: dict[int, set[int]] = {}
        for i, reservation in enumerate(problem.reservations):
            if reservation.ends_s > problem.now_s:
                for node in reservation.nodes:
                    if node in self.index:
                        kept.setdefault(self.index[node], set()).add(i)
        return {node: frozenset(found) for node, found in kept.items()}

    def _takes(self, kind: Kind, node: int) -> bool:
        """Return whether a kind's selector and the reservations allow a node."""
        return kind.selector.accepts(self.nodes[node]) and not (kind.closed and kind.closed & self.kept.get(node, OPEN))

    def _classes(self) -> None:
        values: dict[str, set[str | None]] = {}
        for key in sorted({*self.kinds.selector_keys, ACCELERATOR_KEY}):
            if key not in (NODE_KEY, RAY_NODE_KEY):
                values[key] = {node.label(key) for node in self.nodes}
        self.parting = tuple(key for key, found in values.items() if 1 <= len(found) <= MOST_VALUES)
        classes: dict[object, int] = {}
        self.class_of: list[int] = []
        self.class_members: list[int] = []
        wanted = frozenset(self.parting)
        for i, node in enumerate(self.nodes):
            labels = tuple(pair for pair in node.labels if pair[0] in wanted)
            sign: object = (labels, self.kept[i]) if i in self.kept else labels
            number = classes.get(sign)
            if number is None:
                number = classes[sign] = len(classes)
                self.class_members.append(i)
            self.class_of.append(number)

    def _foreign(self, problem: Problem) -> None:
        known: dict[Resources, Amounts] = {}
        for i, node in enumerate(self.nodes):
            amounts = known.get(node.resources)
            if amounts is None:
                amounts = known[node.resources] = tuple(node.resources.get(name) for name in self.names)
            self.free.append(amounts)
            gpu = amounts[self.gpu_idx] if self.gpu_idx >= 0 else 0
            self.parts.append((gpu % MILLI,) if gpu % MILLI else ())
            foreign = problem.foreign.get(node.id)
            if foreign is not None:
                self.used[i] = [foreign.get(name) for name in self.names]
                if foreign.get("GPU") % MILLI:
                    self.fractions[i] = [foreign.get("GPU") % MILLI]

    # -- filling in what runs ------------------------------------------------------------------------------------

    def preload(self, node: int, kind: Kind, n: int = 1) -> None:
        """Count bundles that run already; ``settle`` ends this."""
        used = self.used.get(node)
        if used is None:
            used = self.used[node] = [0] * len(self.names)
        for i, amount in kind.needs:
            used[i] += amount * n
        if 0 < kind.gpu < MILLI:
            self.fractions.setdefault(node, []).extend([kind.gpu] * n)

    def settle(self) -> None:
        for i, used in self.used.items():
            self.free[i] = tuple([have - gone for have, gone in zip(self.free[i], used, strict=True)])
            if i in self.fractions:
                self.parts[i] = self._packed(i)
        self.used.clear()
        for i, is_open in enumerate(self.open):
            if is_open:
                self._enter(i)

    def _packed(self, node: int) -> Parts:
        """Return what is left of shared devices: first fit, the largest first; all are taken where that fails."""
        total = self.nodes[node].resources.get("GPU")
        parts = [total % MILLI] if total % MILLI else []
        whole = total // MILLI
        for amount in sorted(self.fractions.get(node, ()), reverse=True):
            able = [left for left in parts if left >= amount]
            if able:
                parts.remove(min(able))
                parts.append(min(able) - amount)
            elif whole:
                whole -= 1
                parts.append(MILLI - amount)
            else:
                return (max(0, self.free[node][self.gpu_idx]),) if self.free[node][self.gpu_idx] % MILLI else ()
        return tuple(sorted(left for left in parts if left))

    # -- changes -------------------------------------------------------------------------------------------------

    def _enter(self, node: int) -> None:
        free, parts, number = self.free[node], self.parts[node], self.class_of[node]
        bucket = self._buckets.get((number, free, parts))
        if bucket is None:
            slack = sum(amount * weight for amount, weight in zip(free, self.weights, strict=True) if amount > 0)
            level = max(0, free[self.gpu_idx]) // MILLI if self.gpu_idx >= 0 else 0
            row = self._rows[number].setdefault(level, [])
            bucket = Bucket(free, parts, slack, len(self._buckets), row)
            self._buckets[number, free, parts] = bucket
        if not bucket.nodes:
            insort(bucket.row, (bucket.slack, bucket.serial, bucket))
            bucket.nodes.append(node)
        else:
            insort(bucket.nodes, node)
        self.home[node] = bucket
        gpu = free[self.gpu_idx] if self.gpu_idx >= 0 else 0
        self.idle_gpu += gpu
        for key, slacks in self._slacks.items():
            domain = self._domains[key][0][node]
            slacks[domain] += bucket.slack
            self._gpus[key][domain] += gpu

    def _leave(self, node: int) -> None:
        bucket = self.home[node]
        if bucket is not None:
            gpu = bucket.free[self.gpu_idx] if self.gpu_idx >= 0 else 0
            self.idle_gpu -= gpu
            for key, slacks in self._slacks.items():
                domain = self._domains[key][0][node]
                slacks[domain] -= bucket.slack
                self._gpus[key][domain] -= gpu
            del bucket.nodes[bisect_left(bucket.nodes, node)]
            if not bucket.nodes:
                del bucket.row[bisect_left(bucket.row, (bucket.slack, bucket.serial))]

    def take(self, node: int, kind: Kind, n: int = 1) -> None:
        """Take ``n`` bundles of a kind from a node that holds them."""
        self._leave(node)
        free = list(self.free[node])
        for i, amount in kind.needs:
            free[i] -= amount * n
        self.free[node] = tuple(free)
        if 0 < kind.gpu < MILLI:
            self.fractions.setdefault(node, []).extend([kind.gpu] * n)
            self.parts[node] = share(self.parts[node], kind.gpu, n)
        if self.open[node]:
            self._enter(node)

    def give(self, node: int, kind: Kind, n: int = 1) -> None:
        """Give ``n`` bundles of a kind back."""
        self._leave(node)
        free = list(self.free[node])
        for i, amount in kind.needs:
            free[i] += amount * n
        self.free[node] = tuple(free)
        if 0 < kind.gpu < MILLI:
            for _ in range(n):
                self.fractions[node].remove(kind.gpu)
            self.parts[node] = self._packed(node)
        if self.open[node]:
            self._enter(node)

    # -- searching -----------------------------------------------------------------------------------------------

    def domains(self, key: str) -> tuple[list[int], list[list[int]]]:
        """Return each node's domain of a label (-1 without), and the open nodes of each domain."""
        known = self._domains.get(key)
        if known is None:
            numbers: dict[str, int] = {}
            of, members = [-1] * len(self.nodes), list[list[int]]()
            for i, node in enumerate(self.nodes):
                value = node.label(key)
                if value is not None:
                    number = numbers.setdefault(value, len(numbers))
                    if number == len(members):
                        members.append([])
                    of[i] = number
                    if self.open[i]:
                        members[number].append(i)
            known = self._domains[key] = of, members
        return known

    def accepts(self, kind: Kind, node: int) -> bool:
        """Return whether a kind's selector accepts a node."""
        accepted = self.accepted(kind)
        return accepted is None or accepted[node]

    def accepted(self, kind: Kind) -> list[bool] | None:
        """Return which nodes a kind's selector accepts; None: all."""
        if kind.anywhere:
            return None
        known = self._accepted.get(kind.number) or self._alike.get((kind.selector, kind.closed))
        if known is None:
            if self.direct(kind) is None:
                classes = [self._takes(kind, member) for member in self.class_members]
                known = [classes[number] for number in self.class_of]
            else:
                known = [self._takes(kind, node) for node in range(len(self.nodes))]
            self._alike[kind.selector, kind.closed] = known
        self._accepted[kind.number] = known
        return known

    def direct(self, kind: Kind) -> list[int] | None:
        """Return the nodes of a kind whose selector looks at more than the classes do; None for all others."""
        key = kind.selector, kind.closed
        if key not in self._directs:
            answer = None
            if any(r.key not in self.parting for r in kind.selector.requirements):
                answer = [node for node in range(len(self.nodes)) if self.open[node] and self._takes(kind, node)]
            self._directs[key] = answer
        return self._directs[key]

    def _groups(self, kind: Kind) -> list[tuple[float, list[int]]]:
        """Return the classes that a kind may use, the fastest first."""
        key = kind.selector, kind.speed, kind.closed
        known = self._speeds.get(key)
        if known is None:
            groups: dict[float, list[int]] = {}
            for number, member in enumerate(self.class_members):
                if self._takes(kind, member):
                    groups.setdefault(kind.speed_on(self.nodes[member]), []).append(number)
            known = self._speeds[key] = sorted(groups.items(), reverse=True)
        return known

    def buckets(self, kind: Kind) -> Iterator[Bucket]:
        """Yield the buckets that hold a bundle of a kind, the best fit first."""
        least = -(-kind.gpu // MILLI) if kind.gpu >= MILLI else 0
        for _, classes in self._groups(kind):
            rows = [row for number in classes for level, row in self._rows[number].items() if level >= least and row]
            for _, _, bucket in rows[0] if len(rows) == 1 else merge(*rows):
                if bucket.how_many(kind):
                    yield bucket

    def count_at(self, kind: Kind, node: int) -> int:
        """Return how many bundles of a kind a node that its selector accepts holds."""
        bucket = self.home[node]
        return bucket.how_many(kind) if bucket is not None else 0

    def count_on(self, kind: Kind, nodes: Iterable[int]) -> int:
        """Return how many bundles of a kind some nodes hold."""
        n, homes, shape, accepted = 0, self.home, kind.shape, self.accepted(kind)
        for node in nodes:
            home = homes[node]
            if home is not None and (accepted is None or accepted[node]):
                known = home.counts.get(shape)
                n += home.how_many(kind) if known is None else known
        return n

    def count(self, kind: Kind, most: int) -> int:
        """Return how many bundles of a kind fit in all, up to about ``most``."""
        nodes, n = self.direct(kind), 0
        if nodes is not None:
            return sum(self.count_at(kind, node) for node in nodes)
        for bucket in self.buckets(kind):
            n += bucket.how_many(kind) * len(bucket.nodes)
            if n >= most:
                break
        return n

    def candidates(self, kind: Kind, nodes: Sequence[int] | None = None) -> Iterator[tuple[int, int]]:
        """Yield (node, bundles that it holds), the fastest and then the fullest first; among ``nodes`` if given."""
        direct = self.direct(kind)
        if nodes is None and direct is None:
            for bucket in self.buckets(kind):
                n = bucket.how_many(kind)
                for node in bucket.nodes:
                    yield node, n
            return
        able: list[tuple[float, float, int, int]] = []
        for node in direct if nodes is None and direct is not None else nodes or ():
            home = self.home[node]
            if home is not None:
                n = home.how_many(kind)
                if n and self.accepts(kind, node):
                    able.append((-kind.speed_on(self.nodes[node]), home.slack, node, n))
        able.sort()
        for _, _, node, n in able:
            yield node, n

    def grown_in(self, key: str, domain: int) -> int:
        """Return how often a node of a domain has become roomier."""
        of, _ = self.domains(key)
        seen, counts = self._grown.get(key, (0, {}))
        for node in self.grown[seen:]:
            counts[of[node]] = counts.get(of[node], 0) + 1
        self._grown[key] = len(self.grown), counts
        return counts.get(domain, 0)

    def domain_room(self, key: str) -> tuple[list[float], list[int]]:
        """Return what is free in each domain of a label, as parts of the cluster, and its free GPUs.

        The last is for nodes without the label.
        """
        known = self._slacks.get(key)
        if known is None:
            of, members = self.domains(key)
            known = self._slacks[key] = [0.0] * (len(members) + 1)
            gpus = self._gpus[key] = [0] * (len(members) + 1)
            for node, home in enumerate(self.home):
                if home is not None:
                    known[of[node]] += home.slack
                    gpus[of[node]] += home.free[self.gpu_idx] if self.gpu_idx >= 0 else 0
        return known, self._gpus[key]

    def as_rooms(self) -> dict[NodeId, Room]:
        """Return the open nodes as the general search wants them."""
        out: dict[NodeId, Room] = {}
        for i, node in enumerate(self.nodes):
            if self.open[i]:
                free = dict(zip(self.names, self.free[i], strict=True))
                out[node.id] = Room(node, free, node.resources.get("GPU"), list(self.fractions.get(i, ())))
        return out
