"""Least harm (law 7): is there a victim that could simply have stayed where it was?

Part of the judge (``placement.check``): it knows no planner.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from placement import tenantbook
from placement.model import Demand, DemandId, Plan, Preemption, Problem, Resize, Resources, Running, total
from placement.model.demand import counted
from placement.nodebook import NodeBook, granted_form
from placement.tenantbook import Displaced, TenantBook

MOST_TRIALS = 64
"""Victims with room whose stay is judged by the tenants' rules one by one; of more, one of each kind is."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A victim that gets back its bundles ``first`` to ``last``, exclusive."""

    victim: Running
    first: int
    last: int


def spared(problem: Problem, plan: Plan) -> Plan:
    """Return the plan in which every victim stays that could, in the order of ``milder``; those alike stay together."""
    while _yielding(plan):
        nodes, tenants = NodeBook(problem, plan), tenant_book(problem, plan)
        found = _first_that_could_stay(problem, plan, nodes, tenants)
        if found is None:
            break
        for trial in (found, *_stay_with(problem, plan, found, nodes, tenants)):
            plan = _with_back(plan, trial)
    return plan


def _stay_with(problem: Problem, plan: Plan, found: _Trial, nodes: NodeBook, tenants: TenantBook) -> Sequence[_Trial]:
    """Return more victims like the one found that could stay beside it: as many as have room, or half of them, .."""
    gone = {victim.demand.id: victim for victim in tenants.gone}
    like = _kind(gone[found.victim.demand.id])
    nodes.put_back(found.victim, found.first, found.last)
    more: list[_Trial] = []
    for trial in _trials(problem, plan):
        name = trial.victim.demand.id
        whole = trial.last == len(trial.victim.nodes)
        if whole and name != found.victim.demand.id and _kind(gone[name]) == like and _fits_back(nodes, trial):
            nodes.put_back(trial.victim, trial.first, trial.last)
            more.append(trial)
    rest = {victim.demand.id: victim for victim in _without(gone, found)}
    while more:
        staying = {trial.victim.demand.id for trial in more}
        book = tenants.sparing([victim for name, victim in rest.items() if name not in staying])
        if not any(True for _ in tenantbook.broken_rules(book)):
            break
        more = more[: len(more) // 2]
    return more


Books = tuple[NodeBook, TenantBook]


def milder(problem: Problem, plan: Plan, books: Books | None = None) -> tuple[DemandId, Plan] | None:
    """Return a victim that could stay where it was, and the plan in which it does; None if each one has to yield.

    The victims of the highest priority are tried first; shrunk work gets one bundle back at a time. Room on nodes is
    judged exactly for every victim. So are the tenants' rules for up to ``MOST_TRIALS`` victims that have room; of
    more, one stands for all of its kind: same tenant, priority, amounts, cause and beneficiaries. Putting back two or
    more at once is not tried. ``books`` are the plan's, where they are known.
    """
    if not _yielding(plan):
        return None
    nodes, tenants = books or (NodeBook(problem, plan), tenant_book(problem, plan))
    found = _first_that_could_stay(problem, plan, nodes, tenants)
    return None if found is None else (found.victim.demand.id, _with_back(plan, found))


def _first_that_could_stay(problem: Problem, plan: Plan, nodes: NodeBook, tenants: TenantBook) -> _Trial | None:
    n_trials, refused = 0, set[Hashable]()
    gone = {victim.demand.id: victim for victim in tenants.gone}
    for trial in _trials(problem, plan):
        victim = gone[trial.victim.demand.id]
        kind = _kind(victim)
        if (n_trials < MOST_TRIALS or kind not in refused) and _fits_back(nodes, trial):
            n_trials += 1
            book = tenants.sparing(_without(gone, trial))
            if not any(True for _ in tenantbook.broken_rules(book)):
                return trial
            refused.add(kind)
    return None


def _yielding(plan: Plan) -> tuple[Preemption | Resize, ...]:
    return (*plan.preemptions, *_shrinks(plan))


def _shrinks(plan: Plan) -> Iterator[Resize]:
    return (resize for resize in plan.resizes if resize.to < resize.before)


def _trials(problem: Problem, plan: Plan) -> list[_Trial]:
    named = {p.demand for p in plan.preemptions} | {r.demand for r in plan.resizes}
    running = {r.demand.id: r for r in problem.running if r.demand.id in named}
    out = [_Trial(running[p.demand], 0, len(running[p.demand].nodes)) for p in plan.preemptions]
    out += [_Trial(running[resize.demand], resize.to, resize.to + 1) for resize in _shrinks(plan)]
    return sorted(out, key=lambda trial: -trial.victim.demand.priority)


def _kind(victim: Displaced) -> Hashable:
    return victim.demand.tenant, victim.demand.priority, victim.amounts, victim.cause, victim.beneficiaries


def _without(gone: Mapping[DemandId, Displaced], trial: _Trial) -> list[Displaced]:
    """Return the victims without what the trial gives back; who still yields a part goes last, as in a plan."""
    rest = [victim for name, victim in gone.items() if name != trial.victim.demand.id]
    still = trial.victim.demand.bundles[trial.last : len(trial.victim.nodes)]
    if still:
        rest.append(replace(gone[trial.victim.demand.id], amounts=total(bundle.resources for bundle in still)))
    return rest


def _fits_back(nodes: NodeBook, trial: _Trial) -> bool:
    """Return whether no node of the victim gives more than it has with the victim on it."""
    bundles = trial.victim.demand.bundles
    more: dict[str, list[Resources]] = {}
    for i, node in enumerate(trial.victim.nodes[: len(bundles)]):
        here = more.setdefault(node, [])
        if trial.first <= i < trial.last:
            here.append(bundles[i].resources)
    return all(nodes.holds(node, more[node]) for node in dict.fromkeys(trial.victim.nodes) if node in nodes.nodes)


def _with_back(plan: Plan, trial: _Trial) -> Plan:
    """Return the plan with the trial's bundles where they were."""
    name = trial.victim.demand.id
    if any(p.demand == name for p in plan.preemptions):
        return replace(plan, preemptions=tuple(p for p in plan.preemptions if p.demand != name))
    shrunk = next(resize for resize in plan.resizes if resize.demand == name)
    kept = tuple(resize for resize in plan.resizes if resize.demand != name)
    if trial.last < shrunk.before:
        kept += (replace(shrunk, to=trial.last, nodes=trial.victim.nodes[: trial.last]),)
    return replace(plan, resizes=kept)


def tenant_book(problem: Problem, plan: Plan) -> TenantBook:
    """Return what a plan gives to and takes from tenants."""
    demands = {d.id: d for d in problem.pending}
    known: dict[tuple[int, int], Resources] = {}

    def amounts(demand: Demand, n: int) -> Resources:
        bundles = counted(demand.bundles[:n])
        if len(bundles) > 1:
            return demand.resources(n)
        key = (id(bundles[0][0]), n)
        if key not in known:
            known[key] = bundles[0][0].resources.times(n)
        return known[key]

    got: list[tuple[Demand, Resources]] = []
    for grant in plan.grants:
        demand = granted_form(demands[grant.demand], grant)
        got.append((demand, amounts(demand, len(grant.nodes))))
    grown = {resize.demand: resize for resize in plan.resizes if resize.to >= resize.before}
    for old in problem.running:
        if old.demand.id in grown:
            more = old.demand.resources(grown[old.demand.id].to) - old.resources
            got.append((old.demand, more))
    if plan.moves:  # what moves gets a place and no more than it has
        moved = {move.demand for move in plan.moves}
        got += [(old.demand, Resources()) for old in problem.running if old.demand.id in moved]
    return TenantBook(problem, got, _gone(problem, plan))


def _gone(problem: Problem, plan: Plan) -> tuple[Displaced, ...]:
    yielding = _yielding(plan)
    named = {gone.demand for gone in yielding}
    running = {r.demand.id: r for r in problem.running if r.demand.id in named} if named else {}
    out: list[Displaced] = []
    for gone in yielding:
        old = running[gone.demand]
        kept = old.demand.resources(gone.to) if isinstance(gone, Resize) else Resources()
        least = old.demand.min_bundles
        if not kept and least < len(old.nodes):
            # Elastic work that stops goes in two steps: it shrinks, and its tenant is still above its quota then.
            minimum = old.demand.resources(least)
            out.append(Displaced(old.demand, old.started_s, old.resources - minimum, gone.beneficiaries, gone.cause))
            out.append(Displaced(old.demand, old.started_s, minimum, gone.beneficiaries, gone.cause))
            continue
        parts = old.resources - kept if kept else old.resources
        out.append(Displaced(old.demand, old.started_s, parts, gone.beneficiaries, gone.cause))
    return tuple(out)
