"""Admission in the order of the laws: who starts, who yields, who keeps a claim.

Theory of operation. Tenants take turns (``order``); the one whose turn it is offers its first undecided demand. It is
placed on what is idle if its limits allow it, or else by displacing others (``rules``), or else it is blocked and
keeps its claim (``claims``). Elastic work first starts with its minimum and then grows by one bundle at a turn. How a
demand is fitted, and which victims make room for it, is the fitter's matter: greedy guesses, CP-SAT proves.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from placement.model import Cause, Demand, DemandId, NodeId, Problem, Running, TenantId
from placement.planners import claims
from placement.planners.claims import Claim
from placement.planners.fitting import place, shape
from placement.planners.order import Step, gain, guaranteed, next_step
from placement.planners.state import State, Victim
from placement.planners.tree import Tree, Vector

MOST_CLAIMS = 8
"""Blocked demands that keep a claim; those behind them wait without one, so that a long queue stays cheap."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Nodes for a demand's bundles, for other newcomers that had to move, and the victims in order of going."""

    nodes: tuple[NodeId, ...]
    moved: Mapping[DemandId, tuple[NodeId, ...]] = field(default_factory=dict)
    victims: tuple[tuple[Victim, Cause], ...] = ()
    form: int = 0
    """Number of the demand's form that the nodes are for."""


class Fitter(Protocol):
    """Finds room for the first ``n`` bundles of a demand: fits from the best down, none where there is none.

    More than one is asked for only where a claim stands against the one before.
    """

    def on_idle(self, state: State, demand: Demand, n: int) -> Iterator[Fit]: ...

    def by_displacing(self, state: State, demand: Demand, n: int) -> Iterator[Fit]: ...


@dataclass(slots=True)
class Outcome:
    """What admission decided; ``displaced`` in the order of going."""

    state: State
    displaced: list[tuple[DemandId, Cause, DemandId]] = field(default_factory=list)
    blocked: dict[DemandId, Claim | None] = field(default_factory=dict)
    forms: dict[DemandId, int] = field(default_factory=dict)
    """The form that each newcomer got."""


def admit(problem: Problem, tree: Tree, fitter: Fitter) -> Outcome:
    """Decide every pending demand, then give what is left idle to elastic work."""
    return _Admission(problem, tree, fitter).run()


class _Admission:
    def __init__(self, problem: Problem, tree: Tree, fitter: Fitter) -> None:
        self.problem, self.tree, self.fitter = problem, tree, fitter
        self.outcome = Outcome(State(problem, tree))
        self.arrival = {d.id: (d.submitted_s, i) for i, d in enumerate(problem.pending)}
        self.forms = {d.id: tuple(map(d.form, range(1 + len(d.alternatives)))) for d in problem.pending}
        self.starts = {d.id: Step(d, self.arrival[d.id], tuple(claims.asked(d).items())) for d in problem.pending}
        self.queues: dict[TenantId, list[Step]] = {}
        for step in self.starts.values():
            insort(self.queues.setdefault(step.demand.tenant, []), step, key=lambda s: s.rank)
        self.growing: dict[DemandId, Demand] = {
            r.demand.id: r.demand for r in problem.running if len(r.nodes) < len(r.demand.bundles)
        }
        self.hopeless: set[object] = set()
        self.late: set[DemandId] = set()

    @property
    def state(self) -> State:
        return self.outcome.state

    def run(self) -> Outcome:
        while heads := self._heads():
            step = next_step(self.state, heads)
            fit = self._grow(step) if step.grows else self._start(step)
            if fit is not None:
                self._adopt(step, fit)
            elif step.grows:
                del self.growing[step.demand.id]
            else:
                self._block(step)
        return self.outcome

    def _heads(self) -> list[Step]:
        """Return each tenant's first step."""
        heads = {tenant: queue[0] for tenant, queue in self.queues.items() if queue}
        for demand in self.growing.values():
            bundle = demand.bundles[len(self._held(demand))]
            arrival = self.arrival.get(demand.id, (demand.submitted_s, -1))
            step = Step(demand, arrival, bundle.resources.entries, True, gain(demand, len(self._held(demand))))
            head = heads.get(demand.tenant)
            if head is None or step.rank < head.rank:
                heads[demand.tenant] = step
        return list(heads.values())

    def _held(self, demand: Demand) -> tuple[NodeId, ...]:
        """Return the nodes that a newcomer or running work has now."""
        if demand.id in self.state.granted:
            return self.state.granted[demand.id][1]
        return self.state.alive[demand.id].nodes

    def _start(self, step: Step) -> Fit | None:
        demand = step.demand
        if self._likeness(demand) in self.hopeless:
            return None
        forms, has_room = self.forms[demand.id], False
        for number, form in enumerate(forms):
            fit, found_room = self._on_idle(form)
            has_room |= found_room
            if fit is not None:
                return replace(fit, form=number)
        if has_room:
            # Where there is room but for a claim, nobody is displaced: that victim could have been spared.
            return None
        for number, form in enumerate(forms):
            fit = self._displacing(form, form.min_bundles, claims.asked(form))
            if fit is not None:
                return replace(fit, form=number)
        return None

    def _on_idle(self, demand: Demand) -> tuple[Fit | None, bool]:
        """Return a place on what is idle, and whether there is room but for claims."""
        more = claims.asked(demand)
        has_room = False
        if self._allowed(demand, more):
            for fit in self.fitter.on_idle(self.state, demand, demand.min_bundles):
                has_room = True
                if self._delays_nobody(demand, more, fit):
                    return fit, True
        return (self._beside(demand, more) if has_room else None), has_room

    def _displacing(self, demand: Demand, n: int, more: Vector) -> Fit | None:
        fits = self.fitter.by_displacing(self.state, demand, n)
        return next((fit for fit in fits if self._delays_nobody(demand, more, fit)), None)

    def _grow(self, step: Step) -> Fit | None:
        demand, n = step.demand, len(self._held(step.demand)) + 1
        if step.gain <= 0:
            return None
        if self._allowed(demand, step.amounts):
            held = self._held(demand)
            nodes = place(self.state.rooms, self.tree.capacity, demand, n, held, self.state.closed_to(demand))
            if nodes is not None:
                fit = Fit(held + nodes)
                return fit if self._delays_nobody(demand, step.amounts, fit) else None
        if demand.id not in self.state.granted:
            return None
        return self._displacing(demand, n, step.amounts)

    def _allowed(self, demand: Demand, more: Vector) -> bool:
        use = self.state.use_with(demand.tenant, more)
        return self.tree.refusal(demand.tenant, use, more) is None

    # -- law 8 ---------------------------------------------------------------------------------------------------

    def _claims(self) -> list[Claim]:
        return [claim for claim in self.outcome.blocked.values() if claim is not None]

    def _delays_nobody(self, demand: Demand, more: Vector, fit: Fit) -> bool:
        """Return whether no claim is delayed by the fit, or each one could be made good by displacing the passer.

        What a guarantee of another tenant's allows passes any claim; that of the claim's own tenant passes claims to
        what is borrowed, but for more important ones. Victims of the newcomer's own side count as gone.
        """
        claims_ahead = self._claims()
        if not claims_ahead:
            return True
        after = self.state.use_with(demand.tenant, more, [victim for victim, _ in fit.victims])
        granted = self.state.copy()
        _apply(granted, demand, fit)
        passed: list[Claim] = []
        for claim in claims_ahead:
            if not claims.delays(claim, granted, demand):
                continue
            mine, _ = self.tree.apart(demand.tenant, claim.demand.tenant)
            top = mine[-1] if mine else demand.tenant
            if self.tree.within(top, after[top], more) and (mine or self._only_borrows(claim, demand)):
                self.late.add(claim.demand.id)
            elif claims.could_displace(claim, claims.moment(self.state, claim), demand, fit.nodes):
                passed.append(claim)
            else:
                return False
        for claim in passed:
            self.outcome.blocked[claim.demand.id] = replace(claim, passed=claim.passed | {demand.id})
        return True

    def _only_borrows(self, claim: Claim, passer: Demand) -> bool:
        """Return whether the claim, no more important than the passer, is above their tenant's guarantee then."""
        if claim.demand.priority > passer.priority:
            return False
        return not guaranteed(claims.moment(self.state, claim), claim.demand.tenant, claims.asked(claim.demand))

    def _beside(self, demand: Demand, more: Vector) -> Fit | None:
        """Try to place the demand beside what the claims will need."""
        for claim in self._claims():
            rooms, closed = claims.leave_room(self.state, claim), self.state.closed_to(demand)
            nodes = place(rooms, self.tree.capacity, demand, demand.min_bundles, closed=closed)
            if nodes is not None:
                trial = self.state.copy()
                trial.hold(demand, nodes)
                sound = all(room.sound() for room in trial.rooms.values())
                if sound and self._delays_nobody(demand, more, Fit(nodes)):
                    return Fit(nodes)
        return None

    # -- what follows from a decision ----------------------------------------------------------------------------

    def _adopt(self, step: Step, fit: Fit) -> None:
        demand = step.demand if step.grows else self.forms[step.demand.id][fit.form]
        before = {node: dict(self.state.rooms[node].free) for victim, _ in fit.victims for node in victim.running.nodes}
        _apply(self.state, demand, fit)
        for victim, cause in fit.victims:
            self.outcome.displaced.append((victim.id, cause, demand.id))
            self.growing.pop(victim.id, None)
        if not step.grows:
            self.queues[demand.tenant].remove(step)
            self.outcome.forms[demand.id] = fit.form
        self.growing.pop(demand.id, None)
        if len(self._held(demand)) < len(demand.bundles):
            self.growing[demand.id] = demand
        if fit.victims:
            self._reconsider(fit, before)
        else:
            self._renew_late_claims()

    def _reconsider(self, fit: Fit, before: Mapping[NodeId, Vector]) -> None:
        """Victims may have left more than was needed: whom it may help of those blocked is asked again.

        That is who belongs to a victim's side of the tree, and who has a bundle for which room was left.
        """
        rooms = self.state.rooms
        roomier = [
            rooms[node]
            for node, free in before.items()
            if any(amount > free.get(name, 0) for name, amount in rooms[node].free.items())
        ]
        sides = {self.tree.paths[victim.tenant][-1] for victim, _ in fit.victims}
        for demand_id in list(self.outcome.blocked):
            step = self.starts[demand_id]
            kinds = [k for form in self.forms[demand_id] for k in shape(form.bundles[: form.min_bundles])]
            if self.tree.paths[step.demand.tenant][-1] in sides or any(
                room.open and room.fits(resources) and selector.accepts(room.node)
                for room in roomier
                for resources, selector, _ in kinds
            ):
                insort(self.queues[step.demand.tenant], step, key=lambda s: s.rank)
                del self.outcome.blocked[demand_id]
        self.hopeless.clear()
        self.late = set(self.outcome.blocked)
        self._renew_late_claims()

    def _renew_late_claims(self) -> None:
        """Work out anew the claims that others have pushed back."""
        for demand_id in self.late:
            claim = self.outcome.blocked[demand_id]
            if claim is not None and claims.startable(claims.moment(self.state, claim), claim.demand) is None:
                self.outcome.blocked[demand_id] = claims.claim(self.state, claim.demand, claim.ahead, claim.passed)
        self.late.clear()

    def _block(self, step: Step) -> None:
        demand = step.demand
        self.queues[demand.tenant].remove(step)
        known = self._likeness(demand) in self.hopeless
        self.hopeless.add(self._likeness(demand))
        claim = None if known or len(self._claims()) >= MOST_CLAIMS else self._claim(demand)
        self.outcome.blocked[demand.id] = claim

    def _claim(self, demand: Demand) -> Claim | None:
        """Return the claim of the form that can start the earliest."""
        ahead = tuple(replace(claim, ahead=()) for claim in self._claims())
        found = [claims.claim(self.state, form, ahead) for form in self.forms[demand.id]]
        return min((claim for claim in found if claim is not None), key=lambda claim: claim.start, default=None)

    @staticmethod
    def _likeness(demand: Demand) -> object:
        """Return what makes two demands equal for admission: where one is blocked, so is the other after it."""
        bundles = shape(demand.bundles[: demand.min_bundles])
        known = (demand.priority, demand.topologies, demand.runtime_s, demand.preemptible, demand.submitted_s)
        return demand.tenant, bundles, known, demand.alternatives


def _apply(state: State, demand: Demand, fit: Fit) -> None:
    """Carry a fit out."""
    state.displace(victim for victim, _ in fit.victims)
    for other in fit.moved:
        moved, at = state.granted[other]
        state.hold(moved, at, -1)
        state.granted[other] = (moved, ())
    for other, nodes in fit.moved.items():
        state.grant(state.granted[other][0], nodes)
    if demand.id in state.alive:
        state.extend(demand.id, fit.nodes[len(state.alive[demand.id].nodes) :])
    else:
        state.grant(demand, fit.nodes)


def displaced_victims(problem: Problem, state: State) -> list[Victim]:
    """Return what a state has displaced, as victims of the work that ran at first."""
    out: list[Victim] = []
    for running in problem.running:
        now: Running | None = state.alive.get(running.demand.id)
        if now is None:
            out.append(Victim(running))
        elif len(now.nodes) < len(running.nodes):
            out.append(Victim(running, len(now.nodes)))
    return out
