"""The judge of plans: which laws does a plan break? It shares no code with any planner.

The laws: 1 capacity, 2 gangs, 3 guarantee, 4 borrowing, 5 within a tenant, 6 fairness among borrowers, 7 least harm,
9 nobody is forgotten, 10 what may not be preempted, 12 staying put. Nodes (``nodebook``), tenants (``tenantbook``), a
gang's own wishes (``placing``), moves (``moving``) and least harm (``spared``) are judged in files of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from placement import moving, nodebook, tenantbook
from placement.model import DemandId, Node, NodeId, Plan, Problem
from placement.nodebook import NodeBook, granted_form
from placement.placing import broken_wishes
from placement.spared import milder, spared, tenant_book

__all__ = ["Violation", "milder", "misplaced", "spared", "violations"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken law: its number, whom it concerns and a sentence."""

    law: int
    subject: str
    sentence: str

    def __str__(self) -> str:
        return f"law {self.law}: {self.subject} {self.sentence}"


def violations(problem: Problem, plan: Plan) -> tuple[Violation, ...]:
    """Return every broken law that the plan itself shows; empty for a sound plan.

    What names nothing that exists is judged no further; nor are tenants and victims where nodes or gangs are wrong.
    """
    found, book = _misplaced(problem, plan)
    if book is not None and not found:
        tenants = tenant_book(problem, plan)
        found = [Violation(*broken) for broken in tenantbook.broken_rules(tenants)]
        could_stay = milder(problem, plan, (book, tenants))
        if could_stay is not None:
            found.append(Violation(7, could_stay[0], "could have stayed: everything fits with it in place"))
    return tuple(found)


def misplaced(problem: Problem, plan: Plan) -> tuple[Violation, ...]:
    """Return what is wrong with names, gangs and nodes alone, whatever the rights of tenants: rules of others' policies
    are not ours."""
    return tuple(_misplaced(problem, plan)[0])


def _misplaced(problem: Problem, plan: Plan) -> tuple[list[Violation], NodeBook | None]:
    named = list(_names(problem, plan))
    if named:
        return named, None
    nodes = {node.id: node for node in problem.nodes}
    book = NodeBook(problem, plan)
    found = [*_gangs(problem, plan, nodes), *_resizes(problem, plan, nodes)]
    found += [Violation(*broken) for broken in moving.broken_rules(book, plan)]
    found += [Violation(*broken) for broken in nodebook.broken_rules(book, plan)]
    return found, book


def _names(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Every name is known and stands once (laws 9, 10, 12)."""
    pending = {d.id: d for d in problem.pending}
    granted = Counter(grant.demand for grant in plan.grants)
    for name in sorted(g for g, n in granted.items() if g not in pending or n > 1):
        yield Violation(2, name, "is granted, but is not one pending workload")
    for name in pending:
        if (name in granted) == (name in plan.waiting):
            yield Violation(9, name, "is not in exactly one of grants and waiting")
    for name in plan.waiting:
        if name not in pending:
            yield Violation(9, name, "waits, but is not pending")
    for grant in plan.grants:
        demand = pending.get(grant.demand)
        if demand is not None and not 0 <= grant.form <= len(demand.alternatives):
            yield Violation(2, grant.demand, f"is granted in form {grant.form}, has {1 + len(demand.alternatives)}")
    yield from _changes(problem, plan)
    nodes = {node.id for node in problem.nodes}
    for what, placed in (("placed on", plan.grants), ("resized onto", plan.resizes), ("moved to", plan.moves)):
        yield from _unknown_nodes(nodes, what, ((p.demand, p.nodes) for p in placed))


def _changes(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """What is stopped, resized or moved runs, once, and may be preempted where it stops or moves."""
    stopped = {p.demand for p in plan.preemptions} | {move.demand for move in plan.moves}
    named = [p.demand for p in plan.preemptions], [r.demand for r in plan.resizes], [m.demand for m in plan.moves]
    changed = Counter(chain.from_iterable(named))
    running = {r.demand.id: r for r in problem.running if r.demand.id in changed} if changed else {}
    for name in sorted(changed):
        if name not in running:
            yield Violation(12, name, "is stopped, resized or moved, but does not run")
        elif changed[name] > 1:
            yield Violation(12, name, "is stopped, resized or moved more than once")
        elif name in stopped and not running[name].demand.preemptible:
            yield Violation(10, name, "may not be preempted")


def _unknown_nodes(
    nodes: set[NodeId], what: str, placed: Iterable[tuple[DemandId, tuple[NodeId, ...]]]
) -> Iterator[Violation]:
    for name, at in placed:
        if not nodes.issuperset(at):
            for node in sorted(set(at) - nodes):
                yield Violation(1, name, f"is {what} unknown node {node}")


def _gangs(problem: Problem, plan: Plan, nodes: dict[NodeId, Node]) -> Iterator[Violation]:
    """Gangs are whole enough, on nodes that take them, with their required topology (laws 1, 2)."""
    demands = {d.id: d for d in problem.pending}
    for grant in plan.grants:
        demand = granted_form(demands[grant.demand], grant)
        n, most = len(grant.nodes), len(demand.bundles)
        if not demand.min_bundles <= n <= most:
            yield Violation(2, demand.id, f"got {n} bundles, must be {demand.min_bundles} to {most}")
            continue
        yield from (Violation(*broken) for broken in broken_wishes(nodes, demand, grant.nodes))


def _resizes(problem: Problem, plan: Plan, nodes: dict[NodeId, Node]) -> Iterator[Violation]:
    """Resized work keeps its nodes and stays within its range (laws 2, 10, 12)."""
    running = {r.demand.id: r for r in problem.running} if plan.resizes else {}
    for resize in plan.resizes:
        old, demand = running[resize.demand], running[resize.demand].demand
        if resize.before != len(old.nodes) or resize.to != len(resize.nodes):
            yield Violation(12, demand.id, f"is resized {resize.before} to {resize.to}, which its nodes do not say")
        if not demand.min_bundles <= resize.to <= len(demand.bundles):
            yield Violation(2, demand.id, f"is resized to {resize.to} bundles, below {demand.min_bundles} or above all")
        kept = min(resize.to, len(old.nodes))
        if resize.nodes[:kept] != old.nodes[:kept]:
            yield Violation(12, demand.id, "would move")
        if resize.to < len(old.nodes) and not demand.preemptible:
            yield Violation(10, demand.id, "may not be preempted, not even in part")
        if resize.to > len(old.nodes):
            yield from (Violation(*broken) for broken in broken_wishes(nodes, demand, resize.nodes, old.nodes))
