"""Who was chosen gets nodes: on what is idle, or where others' time slice is over; then nothing idle is left unused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from placement import moving
from placement.model import (
    Bundle,
    Cause,
    Demand,
    DemandId,
    Grant,
    Move,
    NodeId,
    Plan,
    Preemption,
    Problem,
    Reason,
    Resize,
    Running,
    SolveStats,
    Waiting,
    total,
)
from placement.nodebook import NodeBook
from placement.planners import rules
from placement.planners.fitting import Rooms, place, rooms_without
from placement.planners.goodput.constants import RESTART_S
from placement.planners.goodput.options import MIXED, Job, Option, Pools, dominant, may_yield
from placement.planners.goodput.worth import Worth
from placement.planners.proposal import sparing
from placement.planners.state import State, Victim
from placement.planners.tree import Tree, Vector

MOST_VICTIMS = 256
"""Victims that one newcomer may need; those beyond are not looked at."""


class Seating:
    """Mutable: the cluster as it will be in this round.

    Attributes
    ----------
    order : list of Demand
        Newcomers in the order in which they were seated.
    """

    def __init__(
        self, problem: Problem, tree: Tree, pools: Pools, jobs: Sequence[Job], worths: Sequence[Worth]
    ) -> None:
        self.problem, self.tree, self.pools = problem, tree, pools
        self.jobs, self.worths = jobs, worths
        self.state = State(problem, tree)
        self.capacity = pools.capacity()
        self.order: list[Demand] = []
        self.forms: dict[DemandId, int] = {}
        self.gone: dict[DemandId, list[DemandId]] = {}
        self.moved: set[DemandId] = set()
        self.keeps: dict[DemandId, int] = {}
        """Bundles that running work keeps if others need the rest; what is not named has not been decided on."""

    # -- the chosen ----------------------------------------------------------------------------------------------

    def seat(self, chosen: Mapping[int, int], members: Iterable[int]) -> None:
        """Seat a class: running work keeps what it was given, then newcomers and who moves come, the largest first."""
        for idx in members:
            running = self.jobs[idx].running
            if running is not None:
                n = self.jobs[idx].options[chosen[idx]].n_bundles if idx in chosen else 0
                self.keeps[running.demand.id] = len(running.nodes) if self.jobs[idx].must_run else n
        coming = [(idx, self.jobs[idx].options[at]) for idx, at in chosen.items() if at >= self.jobs[idx].n_here]
        coming.sort(key=lambda pair: (-dominant(pair[1].use, self.capacity), -self.worths[pair[0]].weight, pair[0]))
        for idx, _ in coming:
            running = self.jobs[idx].running
            if running is not None:
                self.state.displace([Victim(running)])
        for idx, option in coming:
            if not self._on_idle(self.jobs[idx], option):
                self._by_turns(self.jobs[idx], option)
        for idx, _ in coming:
            if self.jobs[idx].running is not None and self.jobs[idx].demand.id not in self.state.alive:
                self._somewhere(self.jobs[idx])
        for idx, at in chosen.items():
            self._grow(self.jobs[idx], self.jobs[idx].options[at].n_bundles)

    def _rooms(self, rooms: Rooms, pool: str) -> Rooms:
        return rooms if pool == MIXED else {node: rooms[node] for node in self.pools.rooms[pool]}

    def _nodes(self, job: Job, option: Option, rooms: Rooms) -> tuple[NodeId, ...] | None:
        demand = job.demand.form(option.form)
        closed = self.state.closed_to(job.demand)
        return place(self._rooms(rooms, option.pool), self.tree.capacity, demand, option.n_bundles, closed=closed)

    def _more(self, job: Job, option: Option) -> Vector:
        bundles = job.demand.form(option.form).bundles[: option.n_bundles]
        return dict(total(bundle.resources for bundle in bundles).items())

    def _allowed(self, job: Job, more: Vector, victims: Iterable[Victim] = ()) -> bool:
        tenant = job.demand.tenant
        return self.tree.refusal(tenant, self.state.use_with(tenant, more, victims), more) is None

    def _on_idle(self, job: Job, option: Option) -> bool:
        if not self._allowed(job, self._more(job, option)):
            return False
        nodes = self._nodes(job, option, self.state.rooms)
        if nodes is not None:
            self._take(job, option, nodes)
        return nodes is not None

    def _take(self, job: Job, option: Option, nodes: tuple[NodeId, ...]) -> None:
        if job.running is not None:
            self.state.alive[job.demand.id] = replace(job.running, nodes=nodes)
            self.state.hold(job.demand, nodes)
            self.moved.add(job.demand.id)
            return
        self.state.grant(job.demand.form(option.form), nodes)
        self.forms[job.demand.id] = option.form
        self.order.append(job.demand)

    def _somewhere(self, job: Job) -> None:
        """Leave work where it is that did not fit where it was to move; else it goes wherever it fits, or stops."""
        assert job.running is not None, "only running work can move"
        old = job.running.nodes
        parts = list(zip(job.demand.bundles, old, strict=False))
        for n_taken, (bundle, node) in enumerate(parts):
            if node in self.state.rooms and not self.state.rooms[node].fits(bundle.resources):
                self._undo(parts[:n_taken])
                break
            if node in self.state.rooms:
                self.state.rooms[node].take(bundle.resources)
        else:
            self._undo(parts)
            self._take(job, job.options[0], old)
            return
        for option in sorted(job.options[job.n_here : job.n_now], key=lambda option: -option.rate):
            if self._on_idle(job, option):
                return
        taken = [name for name, (_, nodes) in self.state.granted.items() if not set(nodes).isdisjoint(old)]
        taken += [name for name in sorted(self.moved) if not set(self.state.alive[name].nodes).isdisjoint(old)]
        self.gone.setdefault(job.demand.id, []).extend(taken)

    def _undo(self, parts: Sequence[tuple[Bundle, NodeId]]) -> None:
        for bundle, node in parts:
            if node in self.state.rooms:
                self.state.rooms[node].take(bundle.resources, -1)

    # -- turns ---------------------------------------------------------------------------------------------------

    def _by_turns(self, job: Job, option: Option) -> None:
        """Seat a newcomer where others' time slice is over: those of least worth go, and no more than it needs."""
        victims = self._gather(job, option)
        if victims is None:
            return
        for victim in reversed(victims):
            without = [other for other in victims if other is not victim]
            if self._works(job, option, without):
                victims = without
        nodes = self._nodes(job, option, rooms_without(self.state, victims))
        assert nodes is not None, "what works has nodes"
        self.state.displace(victims)
        for victim in victims:
            self.gone.setdefault(victim.id, []).append(job.demand.id)
        self._take(job, option, nodes)

    def _gather(self, job: Job, option: Option) -> list[Victim] | None:
        """Return victims that make room, the least worth first, once those on other nodes have been left out."""
        going, chosen, next_trial = rules.Going(self.state, job.demand), list[Victim](), 1
        candidates = [victim for victim in self._candidates(job, option) if going.may(victim)]
        for victim in candidates[:MOST_VICTIMS]:
            if not going.may(victim):
                continue
            going.leave(victim)
            chosen.append(victim)
            if len(chosen) < next_trial and victim is not candidates[-1]:
                continue
            next_trial = max(len(chosen) + 1, len(chosen) * 5 // 4)
            nodes = self._nodes(job, option, rooms_without(self.state, chosen))
            if nodes is not None:
                near = [v for v in chosen if not {node for node, _ in v.parts}.isdisjoint(nodes)]
                for victims in (near, chosen):
                    if self._works(job, option, victims):
                        return victims
        return None

    def _works(self, job: Job, option: Option, victims: Sequence[Victim]) -> bool:
        if not self._allowed(job, self._more(job, option), victims):
            return False
        if victims and rules.going_order(self.state, job.demand, victims) is None:
            return False
        return self._nodes(job, option, rooms_without(self.state, victims)) is not None

    def _candidates(self, job: Job, option: Option) -> list[Victim]:
        """Return who may have to yield, the least important and least worth first."""
        found: list[tuple[tuple[int, float, int], Victim]] = []
        for idx, other in enumerate(self.jobs):
            if other.running is None or other.demand.id not in self.state.alive or other.demand.id in self.moved:
                continue
            running = self.state.alive[other.demand.id]
            keep = self.keeps.get(other.demand.id, 0)
            keep = keep if keep >= other.demand.min_bundles else 0
            if keep >= len(running.nodes) or other.demand.priority > job.demand.priority:
                continue
            if not may_yield(self.problem, other.running) or not self._touches(running, option.pool):
                continue
            size = max(1e-12, dominant(other.options[0].use, self.capacity))
            key = (other.demand.priority, self.worths[idx].weight / size, -idx)
            found.append((key, Victim(running, keep)))
        return [victim for _, victim in sorted(found, key=lambda pair: pair[0])]

    def _touches(self, running: Running, pool: str) -> bool:
        return pool == MIXED or any(self.pools.of.get(node) == pool for node in running.nodes)

    # -- work conservation ---------------------------------------------------------------------------------------

    def fill(self, order: Sequence[int]) -> None:
        """Start on idle nodes whoever fits, the more important and worthier first, and let elastic work grow."""
        failed: set[object] = set()
        for idx in sorted(order, key=lambda idx: -self.jobs[idx].demand.priority):
            job = self.jobs[idx]
            if job.running is not None or job.demand.id in self.state.granted:
                continue
            for option in sorted(job.options, key=lambda option: -option.rate):
                kept = self.state.closed_to(job.demand)
                key = (job.demand.tenant, option.use, option.pool, job.demand.form(option.form).topologies, kept)
                if key in failed:
                    continue
                if self._on_idle(job, option):
                    break
                failed.add(key)
        for idx in order:
            self._grow(self.jobs[idx], len(self.jobs[idx].demand.bundles))

    def _grow(self, job: Job, most: int) -> None:
        """Give elastic work up to ``most`` bundles as far as idle nodes of its pool allow and it is worth a restart."""
        demand = job.demand
        if demand.id in self.state.granted:
            held, form = self.state.granted[demand.id][1], self.forms[demand.id]
        elif demand.id in self.state.alive and demand.id not in self.gone and demand.id not in self.moved:
            held, form = self.state.alive[demand.id].nodes, 0
        else:
            return
        if form or len(held) >= most:
            return
        rates = {option.n_bundles: option.rate for option in job.options[: job.n_now]}
        for option in sorted(job.options[: job.n_now], key=lambda option: -option.n_bundles):
            if not len(held) < option.n_bundles <= most or option.form:
                continue
            if option.rate <= rates.get(len(held), 0.0) or not self._pays(job, rates.get(len(held), 0.0), option.rate):
                continue
            more = dict(total(b.resources for b in demand.bundles[len(held) : option.n_bundles]).items())
            if not self._allowed(job, more):
                continue
            rooms = self._rooms(self.state.rooms, option.pool)
            closed = self.state.closed_to(demand)
            nodes = place(rooms, self.tree.capacity, demand, option.n_bundles, held, closed)
            if nodes is not None:
                if demand.id in self.state.granted:
                    self.state.grant(demand, held + nodes)
                else:
                    self.state.extend(demand.id, nodes)
                return

    def _pays(self, job: Job, rate: float, faster: float) -> bool:
        """Return whether running work gains more by growing than its restart takes."""
        if job.running is None or rate <= 0:
            return True
        left = self.worths[next(i for i, other in enumerate(self.jobs) if other is job)].left_s
        return left / rate - left / faster > RESTART_S

    # -- the answer ----------------------------------------------------------------------------------------------

    def held(self) -> Iterator[tuple[Demand, int]]:
        """Yield who holds nodes, with the number of bundles."""
        for running in self.state.alive.values():
            yield running.demand, len(running.nodes)
        for demand, nodes in self.state.granted.values():
            yield demand, len(nodes)

    def plan(self, problem: Problem, stats: SolveStats) -> Plan:
        """Return the plan; victims that turn out not to be needed stay."""
        granted = self.state.granted
        grants = tuple(Grant(d.id, granted[d.id][1], self.forms[d.id]) for d in problem.pending if d.id in granted)
        slice_s = problem.policy.time_slice_s
        turn = "waits for its turn" if slice_s is None else f"waits for its turn in rounds of {slice_s:g} s"
        waiting = {d.id: Waiting(Reason.CAPACITY, turn) for d in problem.pending if d.id not in granted}
        preemptions, resizes, moves = list[Preemption](), list[Resize](), list[Move]()
        for running in problem.running:
            name, now = running.demand.id, self.state.alive.get(running.demand.id)
            winners = tuple(self.gone.get(name, ()))
            if now is None:
                preemptions.append(Preemption(name, Cause.TIME_SLICE, winners))
            elif name in self.moved:
                if now.nodes != running.nodes:
                    moves.append(Move(name, now.nodes))
            elif len(now.nodes) != len(running.nodes):
                cause = Cause.TIME_SLICE if len(now.nodes) < len(running.nodes) else None
                resizes.append(Resize(name, len(running.nodes), len(now.nodes), now.nodes, cause, winners))
        order = {name: at for at, name in enumerate(self.gone)}
        preemptions.sort(key=lambda p: order[p.demand])
        plan = Plan(grants, tuple(preemptions), tuple(resizes), waiting, {}, stats, moves=tuple(moves))
        return sparing(problem, _settled(problem, plan))


def _settled(problem: Problem, plan: Plan) -> Plan:
    """Return the plan without the moves that bring nothing, and without the stops that were for them."""
    running = {r.demand.id: r for r in problem.running}
    while plan.moves and (idle := moving.needless(NodeBook(problem, plan), plan.moves, running)):
        stays = idle[0].demand
        stops = [replace(p, beneficiaries=tuple(b for b in p.beneficiaries if b != stays)) for p in plan.preemptions]
        plan = replace(
            plan,
            moves=tuple(move for move in plan.moves if move.demand != stays),
            preemptions=tuple(p for p in stops if p.beneficiaries),
        )
    return plan
