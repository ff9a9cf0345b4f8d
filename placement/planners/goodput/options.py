"""Where and how large a job may run: one option for each pool of nodes, size and form.

A pool is the nodes with one accelerator type; a gang keeps to one pool where it can, as its slowest bundle sets the
pace (Sia, SOSP'23, section 3.1 uses the same set: power-of-two sizes in each type).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from placement.model import ACCELERATOR_KEY, Demand, Node, NodeId, Problem, Resources, Running, total
from placement.planners.fitting import Rooms, place, shape
from placement.planners.state import Room, State
from placement.planners.tree import Tree
from placement.throughput import throughput

Row = tuple[str, str]
"""A pool and a resource: what options compete for."""

MIXED = "*"
"""Names the options of gangs that need nodes of several pools."""


@dataclass(frozen=True, slots=True)
class Option:
    """A place and a size: ``rate`` is work per second, relative to the whole first form at speed 1."""

    pool: str
    form: int
    n_bundles: int
    rate: float
    use: tuple[tuple[Row, int], ...]


@dataclass(frozen=True, slots=True)
class Job:
    """Pending or running work with its options.

    Only the first ``n_now`` can be taken in this round, the others later: running work would first have to stop. The
    first ``n_here`` of running work are where it is; in the others up to ``n_now`` it moves and keeps its size.
    ``must_run``: it can't be stopped now.
    """

    demand: Demand
    options: tuple[Option, ...]
    n_now: int
    running: Running | None = None
    must_run: bool = False
    n_here: int = 0


class Pools:
    """The ready nodes by accelerator type, as they would be if nothing ran."""

    def __init__(self, problem: Problem, tree: Tree) -> None:
        self.problem, self.tree = problem, tree
        empty = State(replace(problem, running=()), tree).rooms
        self.nodes: dict[NodeId, Node] = {node.id: node for node in problem.nodes}
        self.of: dict[NodeId, str] = {node.id: node.label(ACCELERATOR_KEY) or "" for node in problem.nodes}
        self.rooms: dict[str, dict[NodeId, Room]] = {}
        for node, room in empty.items():
            if room.open:
                self.rooms.setdefault(self.of[node], {})[node] = room
        self._fits: dict[Hashable, tuple[NodeId, ...] | None] = {}

    def capacity(self) -> dict[Row, int]:
        """Return what each pool has in all."""
        rows: dict[Row, int] = {}
        for pool, rooms in self.rooms.items():
            for room in rooms.values():
                for name, amount in room.free.items():
                    rows[pool, name] = rows.get((pool, name), 0) + max(0, amount)
        return rows

    def options(self, demand: Demand) -> tuple[Option, ...]:
        """Return all options of pending work, none where the cluster could not hold it if it were empty."""
        found: list[Option] = []
        for form in range(1 + len(demand.alternatives)):
            as_form = demand.form(form)
            for n in sizes(as_form):
                within = [self._option(demand, form, n, pool, self.rooms[pool]) for pool in self.rooms]
                options = [option for option in within if option is not None]
                if not options and len(self.rooms) > 1:
                    everywhere = {node: room for rooms in self.rooms.values() for node, room in rooms.items()}
                    mixed = self._option(demand, form, n, MIXED, everywhere)
                    options = [mixed] if mixed is not None else []
                found += options
        return tuple(found)

    def kept(self, running: Running, least: int) -> tuple[Option, ...]:
        """Return the options of running work where it is: from ``least`` bundles to all."""
        demand = running.demand
        pools = dict.fromkeys(self.of[node] for node in running.nodes if node in self.of)
        pool = next(iter(pools)) if len(pools) == 1 else MIXED
        n_sizes = {n for n in sizes(demand) if n >= least} | {len(running.nodes)}
        out: list[Option] = []
        for n in sorted(n_sizes):
            at = running.nodes[:n] + running.nodes[-1:] * max(0, n - len(running.nodes))
            out.append(self._at(demand, 0, n, pool, at))
        return tuple(out)

    def _option(self, demand: Demand, form: int, n: int, pool: str, rooms: Rooms) -> Option | None:
        as_form = demand.form(form)
        key = (shape(as_form.bundles[:n]), as_form.topologies, pool)
        if key not in self._fits:
            self._fits[key] = place(rooms, self.tree.capacity, as_form, n)
        at = self._fits[key]
        option = None if at is None else self._at(demand, form, n, pool, at)
        return option if option is not None and option.rate > 0 else None

    def _at(self, demand: Demand, form: int, n: int, pool: str, at: Sequence[NodeId]) -> Option:
        bundles = demand.form(form).bundles[:n]
        use: dict[Row, int] = {}
        for bundle, node in zip(bundles, at, strict=True):
            if node in self.rooms.get(self.of.get(node, ""), {}):
                for name, amount in bundle.resources.items():
                    row = (self.of[node], name)
                    use[row] = use.get(row, 0) + amount
        rate = throughput(demand, [self.nodes[node] for node in at if node in self.nodes], form)
        return Option(pool, form, n, rate, tuple(use.items()))


def sizes(demand: Demand) -> list[int]:
    """Return the numbers of bundles that are tried: the least, its doublings, and all."""
    n, most = demand.min_bundles, len(demand.bundles)
    out = []
    while n < most:
        out.append(n)
        n *= 2
    return [*out, most]


def jobs_of(problem: Problem, pools: Pools, may_move: bool = True) -> list[Job]:
    """Return running work, then pending work in order of arrival, each with its options.

    ``may_move``: what has had its time slice may go on elsewhere in this round.
    """
    jobs: list[Job] = []
    for running in problem.running:
        demand, stays = running.demand, not may_yield(problem, running)
        least = len(running.nodes) if stays else min(demand.min_bundles, len(running.nodes))
        here = pools.kept(running, least)
        elsewhere = () if not demand.preemptible else pools.options(demand)
        others = [option for option in elsewhere if option.pool != here[0].pool]
        size = len(running.nodes) if may_move and not stays else 0
        moves = tuple(option for option in others if option.n_bundles == size and not option.form)
        later = tuple(option for option in others if option not in moves)
        jobs.append(Job(demand, here + moves + later, len(here + moves), running, stays, len(here)))
    for demand in problem.pending:
        options = pools.options(demand)
        jobs.append(Job(demand, options, len(options)))
    return jobs


def may_yield(problem: Problem, running: Running) -> bool:
    """Return whether running work has had its time slice and may be stopped."""
    slice_s = problem.policy.time_slice_s
    return running.demand.preemptible and slice_s is not None and problem.now_s - running.started_s >= slice_s


def asked(demand: Demand) -> Resources:
    """Return what the demand needs to start."""
    return total(bundle.resources for bundle in demand.bundles[: demand.min_bundles])


def dominant(use: Mapping[Row, int] | Sequence[tuple[Row, int]], capacity: Mapping[Row, int]) -> float:
    """Return the largest part of a pool's resource that the option takes."""
    amounts = use.items() if isinstance(use, Mapping) else use
    return max((amount / capacity[row] for row, amount in amounts if capacity.get(row)), default=0.0)
