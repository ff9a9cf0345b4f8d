"""The greedy planner: admission by the laws with best fit and a short search for victims; milliseconds, no proof."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from placement.model import Cause, Demand, DemandId, NodeId, Plan, Problem
from placement.planners import bulk, rules
from placement.planners.admission import Fit, Fitter, admit
from placement.planners.base import Budget
from placement.planners.claims import asked
from placement.planners.fitting import place, rooms_without
from placement.planners.proposal import Decided, lawful, plan_from
from placement.planners.state import State, Victim
from placement.planners.tree import Tree, Vector, add

MOST_NODES_TRIED = 48
MOST_SINGLES_TRIED = 100


class Greedy:
    """Follows the laws decision by decision; what it misses is only what a joint placement would find."""

    name = "greedy"

    def __call__(self, problem: Problem, budget: Budget) -> Plan:
        if bulk.is_large(problem):
            return bulk.answer(problem)
        return decided(problem, GreedyFitter())[0]


def decided(problem: Problem, fitter: Fitter) -> Decided:
    """Return a plan that the judge passes, and the decisions that led to it."""

    def decide(asked: Problem) -> Decided:
        tree = Tree(asked)
        outcome = admit(asked, tree, fitter)
        return plan_from(asked, tree, outcome), outcome

    return lawful(problem, decide)


class GreedyFitter:
    """Places on idle nodes by best fit; looks for victims singly, node by node, then all over."""

    def on_idle(self, state: State, demand: Demand, n: int) -> Iterator[Fit]:
        nodes = place(state.rooms, state.tree.capacity, demand, n, closed=state.closed_to(demand))
        if nodes is not None:
            yield Fit(nodes)

    def by_displacing(self, state: State, demand: Demand, n: int) -> Iterator[Fit]:
        fit = VictimSearch(state, demand, n).best()
        if fit is not None:
            yield fit


class VictimSearch:
    """The search for the least harmful victims of one newcomer."""

    def __init__(self, state: State, demand: Demand, n: int) -> None:
        self.state, self.demand, self.n = state, demand, n
        self.held = state.granted[demand.id][1] if demand.id in state.granted else ()
        self.more: Vector = asked(demand, n)
        if self.held:
            add(self.more, asked(demand, len(self.held)), -1)
        self.closed = state.closed_to(demand)
        self.candidates = possible_victims(state, demand)
        self.rank = {victim: i for i, victim in enumerate(self.candidates)}

    def best(self) -> Fit | None:
        """Return the least harmful of the sets found, or None."""
        if not self.candidates or self._nodes(self._all_gone()) is None:
            return None
        found = [chosen for chosen in self._attempts() if chosen is not None]
        if not found:
            return None
        return self._fit(min(found, key=lambda chosen: rules.harm(chosen, self.rank)))

    def _all_gone(self) -> list[Victim]:
        return [victim for victim in self.candidates if not victim.keep]

    def _attempts(self) -> Iterable[list[Victim] | None]:
        for victim in self.candidates[:MOST_SINGLES_TRIED]:
            if self._works([victim]):
                yield self._spared([victim])
                break
        yield self._gather(self.candidates)
        nodes: dict[NodeId, list[Victim]] = {}
        for victim in self.candidates:
            for node in {node for node, _ in victim.parts}:
                nodes.setdefault(node, []).append(victim)
        for near in list(nodes.values())[:MOST_NODES_TRIED]:
            if len(near) < len(self.candidates):
                yield self._gather(near)

    def _gather(self, candidates: Sequence[Victim]) -> list[Victim] | None:
        """Add victims, best first, until the newcomer fits; then put back whom it does not need.

        The trials get further apart as the victims get more, for what is too much is put back anyway.
        """
        chosen: dict[DemandId, Victim] = {}
        going, next_trial, n_added = rules.Going(self.state, self.demand), 1, 0
        for victim in candidates:
            if victim.id in chosen:
                going = rules.Going(self.state, self.demand)
                for other in chosen.values():
                    if other.id != victim.id:
                        going.leave(other)
            if not going.may(victim):
                if victim.id in chosen:
                    going.leave(chosen[victim.id])
                continue
            going.leave(victim)
            chosen[victim.id] = victim
            n_added += 1
            if n_added >= next_trial:
                next_trial = max(n_added + 1, n_added * 5 // 4)
                if self._works(list(chosen.values())):
                    return self._spared(list(chosen.values()))
        return self._spared(list(chosen.values())) if chosen and self._works(list(chosen.values())) else None

    def _spared(self, chosen: list[Victim]) -> list[Victim]:
        """Return the set without those who can stay, the worst to lose tried first; shrunk as little as will do."""
        for victim in sorted(chosen, key=lambda v: self.rank[v], reverse=True):
            without = [v for v in chosen if v is not victim]
            if without and self._works(without):
                chosen = without
                continue
            for keep in range(len(victim.running.nodes) - 1, victim.running.demand.min_bundles - 1, -1):
                if keep <= victim.keep or not victim.running.demand.min_bundles < len(victim.running.nodes):
                    break
                smaller = Victim(victim.running, keep)
                self.rank.setdefault(smaller, self.rank[victim])
                if self._works([*without, smaller]):
                    chosen = [*without, smaller]
                    break
        return chosen

    def _nodes(self, victims: Sequence[Victim]) -> tuple[NodeId, ...] | None:
        rooms = rooms_without(self.state, victims)
        return place(rooms, self.state.tree.capacity, self.demand, self.n, self.held, self.closed)

    def _works(self, victims: Sequence[Victim]) -> bool:
        return self._order(victims) is not None and self._nodes(victims) is not None

    def _order(self, victims: Sequence[Victim]) -> tuple[tuple[Victim, Cause], ...] | None:
        return rules.displacement(self.state, self.demand, self.more, victims)

    def _fit(self, victims: Sequence[Victim]) -> Fit:
        nodes, order = self._nodes(victims), self._order(victims)
        assert nodes is not None, "only sets that work are compared"
        assert order is not None, "only sets that work are compared"
        return Fit(self.held + nodes, victims=order)


def possible_victims(state: State, newcomer: Demand) -> list[Victim]:
    """Return who might have to yield, best to go first; of equals, elastic work is shrunk before any is stopped."""
    stops = [Victim(r) for r in state.alive.values() if rules.might_displace(state, newcomer, Victim(r))]
    out: list[Victim] = []
    for _, level in groupby(rules.preference(state, newcomer, stops), key=lambda v: v.running.demand.priority):
        victims = list(level)
        elastic = (v.running for v in victims if v.running.demand.min_bundles < len(v.running.nodes))
        out += [Victim(running, running.demand.min_bundles) for running in elastic]
        out += victims
    return out
