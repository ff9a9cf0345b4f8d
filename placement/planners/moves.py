"""Migration: which running work is started again elsewhere so that others fit, at the least cost.

Theory of operation. The laws have decided who starts and who yields; this pass changes their plan in two ways, and
only where the policy says ``migration``. Who would stop for a newcomer is moved instead where that makes the same
room: a workload that has moved still runs. And a gang that waits although enough is idle in all is let in by moving
what stands in its way, in the order of service. Each newcomer is one programme: the gang, and every movable workload
near it as a victim that starts again in the same plan with the same size. Moving is only ever for somebody: a set of
moves that lets nobody in does not exist here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from placement.model import Demand, DemandId, Grant, Move, Plan, Preemption, Problem, Reason, Resize, Running, Waiting
from placement.planners import claims
from placement.planners.base import Budget
from placement.planners.claims import Claim
from placement.planners.fitting import place
from placement.planners.movable import cost_s, movable, restarted
from placement.planners.relocation import Relocation, Relocator, closed_to_moved
from placement.planners.state import State
from placement.planners.tree import Tree
from placement.planners.under import relocate, state_under
from placement.score import order_of_service

MOST_GANGS = 16
"""Blocked gangs for which room is sought in one plan; those behind them wait for the next."""
MOST_CLAIMS = 8
"""Blocked gangs whose claims are kept, as in admission."""
LARGE = 1000
"""Nodes above which fewer gangs are tried and fewer claims kept, so that the work stays about the same."""

_T = TypeVar("_T")


def with_moves(problem: Problem, plan: Plan, budget: Budget = Budget()) -> Plan:  # noqa: B008  # frozen
    """Return the plan with work moved where that lets more in or spares a stop; the plan itself where it does not."""
    if not problem.policy.migration or not problem.running:
        return plan
    return _Pass(problem, plan, budget).run()


@dataclass(slots=True)
class _Pass:
    problem: Problem
    plan: Plan
    budget: Budget
    tree: Tree = field(init=False)
    state: State = field(init=False)
    relocator: Relocator = field(init=False)
    demands: dict[DemandId, Demand] = field(init=False)
    held: dict[DemandId, Claim | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.tree = Tree(self.problem)
        self.state = state_under(self.problem, self.plan, self.tree)
        self.relocator = Relocator(self.budget)
        self.demands = {demand.id: demand for demand in self.problem.pending}

    def run(self) -> Plan:
        before, order = self.plan, order_of_service(self.problem)
        for demand in order:
            self._move_instead_of_stopping(demand)
        self._move_single_victims()
        self._let_in(order)
        return before if self.plan == before else self._in_order_of_arrival()

    def _in_order_of_arrival(self) -> Plan:
        granted = {grant.demand: grant for grant in self.plan.grants}
        return replace(self.plan, grants=tuple(granted[d.id] for d in self.problem.pending if d.id in granted))

    def _candidates(self, state: State) -> list[Running]:
        """Return what may be moved: preemptible, left alone by the plan so far, and not started just now."""
        touched = {p.demand for p in self.plan.preemptions} | {r.demand for r in self.plan.resizes}
        touched |= {move.demand for move in self.plan.moves}
        now_s = self.problem.now_s
        return [run for run in state.alive.values() if run.demand.id not in touched and movable(run, now_s)]

    # -- instead of stopping -------------------------------------------------------------------------------------

    def _move_instead_of_stopping(self, demand: Demand) -> None:
        """Find the newcomer its room without its victims: they, or others, move."""
        stops = [p for p in self.plan.preemptions if demand.id in p.beneficiaries]
        shrinks = [r for r in self.plan.resizes if r.to < r.before and demand.id in r.beneficiaries]
        grant = next((grant for grant in self.plan.grants if grant.demand == demand.id), None)
        for_whom = [stop.beneficiaries for stop in stops] + [shrink.beneficiaries for shrink in shrinks]
        if grant is None or not for_whom or any(names != (demand.id,) for names in for_whom):
            return
        without = _without(self.plan, grant, stops, shrinks)
        kept, self.plan = self.plan, without
        state = state_under(self.problem, without, self.tree)
        found = None
        if all(room.sound() for room in state.rooms.values()):
            found = self._room_for(state, demand, grant.form, len(grant.nodes))
        if found is None:
            self.plan = kept
        else:
            self.state = state
            self._adopt(demand, grant.form, found)

    def _move_single_victims(self) -> None:
        """Start a victim again on what the plan leaves idle, one after the other."""
        running = {run.demand.id: run for run in self.problem.running}
        for stop in self.plan.preemptions:
            run = running[stop.demand]
            if not stop.beneficiaries or not movable(run, self.problem.now_s):
                continue
            size = len(run.nodes)
            closed = closed_to_moved(self.state, run)
            nodes = place(self.state.rooms, self.tree.capacity, run.demand, size, closed=closed)
            if nodes is None:
                continue
            trial = self.state.copy()
            trial.alive[stop.demand] = replace(restarted(run, self.problem.now_s), nodes=nodes)
            trial.hold(run.demand, nodes)
            if self._allowed_beside(trial, stop) and self._delays_nobody(trial, run.demand):
                self.state = trial
                move = Move(stop.demand, nodes, stop.beneficiaries, cost_s(run, self.problem.now_s))
                others = tuple(other for other in self.plan.preemptions if other is not stop)
                self.plan = replace(self.plan, preemptions=others, moves=(*self.plan.moves, move))

    def _allowed_beside(self, trial: State, stop: Preemption) -> bool:
        """Return whether those for whom it was to stop stay within their limits with it still there."""
        winners = [self.demands[name] for name in stop.beneficiaries if name in self.demands]
        return all(self.tree.refusal(d.tenant, trial.use, claims.asked(d)) is None for d in winners)

    # -- more gangs ----------------------------------------------------------------------------------------------

    def _let_in(self, order: Sequence[Demand]) -> None:
        """Let blocked gangs in, in the order of service; who is passed keeps its claim."""
        n_tried, blocked, hopeless = 0, list[Demand](), set[object]()
        for demand in order:
            if demand.id not in self.plan.waiting or n_tried >= self._of(MOST_GANGS):
                continue
            likeness = (demand.tenant, demand.priority, demand.bundles, demand.min_bundles, demand.topologies)
            found = None
            if likeness not in hopeless and self._allowed(demand):
                n_tried += 1
                found = self._found(demand, blocked)
            if found is not None:
                self._adopt(demand, *found)
                self._grow(demand, blocked)
                hopeless.clear()
                continue
            hopeless.add(likeness)
            blocked.append(demand)

    def _allowed(self, demand: Demand) -> bool:
        more = claims.asked(demand)
        use = self.state.use_with(demand.tenant, more)
        return self.tree.refusal(demand.tenant, use, more) is None

    def _found(self, demand: Demand, blocked: Sequence[Demand]) -> tuple[int, Relocation] | None:
        if claims.startable(self.state, demand) is not None:
            return None  # it waits for a claim's sake; room is not what it lacks
        for form in range(1 + len(demand.alternatives)):
            found = self._room_for(self.state, demand, form, demand.form(form).min_bundles)
            if found is not None and self._delays_none_of(blocked, self._after(demand.form(form), found), demand):
                return form, found
        return None

    def _room_for(self, state: State, demand: Demand, form: int, n: int) -> Relocation | None:
        return self.relocator.find(state, self._candidates(state), demand.form(form), n)

    def _after(self, demand: Demand, found: Relocation) -> State:
        after = self.state.copy()
        for name, nodes in found.moved.items():
            relocate(after, restarted(after.alive[name], self.problem.now_s), nodes)
        after.grant(demand, found.nodes)
        return after

    def _adopt(self, demand: Demand, form: int, found: Relocation) -> None:
        now_s = self.problem.now_s
        moves = [
            Move(name, nodes, (demand.id,), cost_s(self.state.alive[name], now_s))
            for name, nodes in found.moved.items()
        ]
        self.state = self._after(demand.form(form), found)
        self.plan = replace(
            self.plan,
            grants=(*self.plan.grants, Grant(demand.id, found.nodes, form)),
            waiting={name: why for name, why in self.plan.waiting.items() if name != demand.id},
            moves=(*self.plan.moves, *moves),
        )

    def _grow(self, demand: Demand, blocked: Sequence[Demand]) -> None:
        """Give an elastic newcomer what is left idle, bundle by bundle."""
        last = self.plan.grants[-1]
        shaped = demand.form(last.form)
        for n in range(len(last.nodes) + 1, len(shaped.bundles) + 1):
            held, more = self.plan.grants[-1].nodes, dict(shaped.bundles[n - 1].resources.items())
            use = self.state.use_with(demand.tenant, more)
            nodes = place(self.state.rooms, self.tree.capacity, shaped, n, held, self.state.closed_to(shaped))
            if nodes is None or self.tree.refusal(demand.tenant, use, more) is not None:
                return
            trial = self.state.copy()
            trial.grant(shaped, held + nodes)
            if not self._delays_none_of(blocked, trial, demand):
                return
            self.state = trial
            self.plan = replace(self.plan, grants=(*self.plan.grants[:-1], Grant(demand.id, held + nodes, last.form)))

    def _delays_nobody(self, trial: State, passer: Demand) -> bool:
        waiting = [demand for demand in order_of_service(self.problem) if demand.id in self.plan.waiting]
        return self._delays_none_of(waiting, trial, passer)

    def _delays_none_of(self, blocked: Sequence[Demand], after: State, passer: Demand) -> bool:
        """Return whether the first of those who are blocked can start as soon as before.

        A claim, once worked out, stands: nothing is adopted that would delay it.
        """
        ahead: list[Claim] = []
        for demand in blocked[: self._of(MOST_CLAIMS)]:
            if demand.id not in self.held:
                self.held[demand.id] = claims.claim(self.state, demand, tuple(replace(one, ahead=()) for one in ahead))
            found = self.held[demand.id]
            if found is not None:
                if claims.delays(found, after, passer):
                    return False
                ahead.append(found)
        return True

    def _of(self, most: int) -> int:
        """Return how many of ``most`` a cluster of this size is worth."""
        return max(1, most * LARGE // max(LARGE, len(self.problem.nodes)))


def _without(plan: Plan, grant: Grant, stops: Sequence[Preemption], shrinks: Sequence[Resize]) -> Plan:
    """Return the plan as if the newcomer still waited and its victims stayed."""
    return replace(
        plan,
        grants=tuple(other for other in plan.grants if other is not grant),
        preemptions=tuple(_not_in(plan.preemptions, stops)),
        resizes=tuple(_not_in(plan.resizes, shrinks)),
        waiting={**plan.waiting, grant.demand: Waiting(Reason.FRAGMENTATION, "waits for room")},
    )


def _not_in(items: Sequence[_T], gone: Sequence[_T]) -> Iterator[_T]:
    return (item for item in items if not any(item is other for other in gone))
