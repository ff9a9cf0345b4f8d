"""Whether moves of running work are allowed and needed (law 12).

Part of the judge (``placement.check``): it knows no planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from placement.model import DemandId, Move, NodeId, Objective, Plan, Policy, Resources, Running
from placement.nodebook import NodeBook
from placement.placing import broken_wishes
from placement.throughput import throughput

Broken = tuple[int, str, str]


def broken_rules(book: NodeBook, plan: Plan) -> Iterator[Broken]:
    """Return what is wrong with a plan's moves, as (law, subject, sentence).

    A move is needed where, with it put back alone, some node would give more than it has; and so it is for all moves
    together that share nodes. Other sets of moves are not tried.

    Where the aim is goodput in rounds, work whose time slice is over gets its place anew: it needs neither the policy's
    word nor a newcomer to move for, and where it goes faster, or one that shares nodes with it, no reason either.
    """
    if not plan.moves:
        return
    problem, granted = book.problem, {grant.demand for grant in plan.grants}
    moved = {move.demand for move in plan.moves}
    running = {r.demand.id: r for r in problem.running if r.demand.id in moved}
    for move in plan.moves:
        old = running[move.demand]
        if move.beneficiaries or not turn_is_over(problem.policy, old, problem.now_s):
            yield from _for_newcomers(problem.policy, move, granted)
        if len(move.nodes) != len(old.nodes):
            yield 12, move.demand, f"is moved from {len(old.nodes)} bundles to {len(move.nodes)}: its size must stay"
        elif move.nodes == old.nodes:
            yield 12, move.demand, "is moved to where it is"
        else:
            yield from broken_wishes(book.nodes, old.demand, move.nodes, old.nodes)
    yield from _needless(book, plan.moves, running)


def _for_newcomers(policy: Policy, move: Move, granted: set[DemandId]) -> Iterator[Broken]:
    if not policy.migration:
        yield 12, move.demand, "is moved, but the policy allows no migration"
    if not granted.intersection(move.beneficiaries) or not granted.issuperset(move.beneficiaries):
        yield 12, move.demand, "is moved, but not for work that starts"


def turn_is_over(policy: Policy, old: Running, now_s: float) -> bool:
    """Return whether running work has had its time slice where work takes turns."""
    slice_s = policy.time_slice_s if policy.objective is Objective.GOODPUT else None
    return slice_s is not None and now_s - old.started_s >= slice_s


def needless(book: NodeBook, moves: Sequence[Move], running: Mapping[DemandId, Running]) -> list[Move]:
    """Return the moves of which each one alone could stay undone, and makes its work no faster."""
    return [move for move in moves if not _faster(book, move, running) and _room_without(book, (move,), running)]


def _faster(book: NodeBook, move: Move, running: Mapping[DemandId, Running]) -> bool:
    old = running[move.demand]
    if not turn_is_over(book.problem.policy, old, book.problem.now_s):
        return False
    here, there = ([book.nodes[id] for id in nodes if id in book.nodes] for nodes in (old.nodes, move.nodes))
    return throughput(old.demand, there) > throughput(old.demand, here)


def _needless(book: NodeBook, moves: Sequence[Move], running: Mapping[DemandId, Running]) -> Iterator[Broken]:
    alone = needless(book, moves, running)
    for move in alone:
        yield 12, move.demand, "is moved, but everything fits with it in place"
    for group in _that_share_nodes(moves, running) if not alone else ():
        if any(_faster(book, move, running) for move in group):
            continue
        if len(group) > 1 and _room_without(book, group, running):
            yield 12, group[0].demand, f"and {len(group) - 1} more are moved, but everything fits with them in place"


def _room_without(book: NodeBook, moves: Iterable[Move], running: Mapping[DemandId, Running]) -> bool:
    """Return whether every node still holds its load with some moves undone."""
    back: dict[NodeId, list[Resources]] = {}
    away: dict[NodeId, list[Resources]] = {}
    for move in moves:
        old = running[move.demand]
        for bundle, was, now in zip(old.demand.bundles, old.nodes, move.nodes, strict=False):
            if was != now:
                back.setdefault(was, []).append(bundle.resources)
                away.setdefault(now, []).append(bundle.resources)
    return all(book.holds(node, more, away.get(node, ())) for node, more in back.items() if node in book.parts)


def _that_share_nodes(moves: Sequence[Move], running: Mapping[DemandId, Running]) -> list[list[Move]]:
    """Return the moves in groups: two are in one where they leave or take a node in common, directly or by others."""
    groups: list[tuple[set[NodeId], list[Move]]] = []
    for move in moves:
        nodes, members = {*move.nodes, *running[move.demand].nodes}, [move]
        apart: list[tuple[set[NodeId], list[Move]]] = []
        for other_nodes, others in groups:
            if nodes & other_nodes:
                nodes, members = nodes | other_nodes, [*others, *members]
            else:
                apart.append((other_nodes, others))
        groups = [*apart, (nodes, members)]
    return [members for _, members in groups]
