"""What would let a waiting workload run: each condition relaxed alone, and the question asked again.

A hint is a sentence and the question in which it has come true. ``would_run_if`` answers from the room that the plan
leaves, which is quick; ``verified`` puts each relaxed question to the planner and keeps what really lets it in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice

from placement.model import (
    ACCELERATOR_KEY,
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Plan,
    Problem,
    Reason,
    Requirement,
    Selector,
    Tenant,
    format_amount,
)
from placement.planners.state import Room
from placement.reasons import ahead_in_queue, has_required_topology, has_selector
from placement.situation import WHOLE_CLUSTER, Holding, Limit, Situation, amounts, needs

MOST_SOLVES = 12
"""How often the planner is asked about the hints of one workload."""
_MOST_HINTS = 5
_MOST_RELEASED = 4096
_NEVER_S = float("inf")


@dataclass(frozen=True, slots=True)
class Hint:
    """A sentence that completes "it would run if ...", and what makes it come true in the question."""

    text: str
    relax: Callable[[Problem], Problem]

    def and_also(self, other: Hint | None) -> Hint:
        """Return both at once."""
        if other is None:
            return self
        return Hint(f"{self.text}, and {other.text}", lambda problem: other.relax(self.relax(problem)))


def would_run_if(now: Situation, demand: Demand, reason: Reason) -> tuple[str, ...]:
    """Return sentences that complete "it would run if ...", the cheapest wish first, by the room there is."""
    return tuple(hint.text for hint in islice(hints(now, demand, reason), _MOST_HINTS))


def verified(
    now: Situation, demand: Demand, reason: Reason, planner: Callable[[Problem], Plan], most: int = MOST_SOLVES
) -> tuple[Hint, ...]:
    """Return the hints with which the planner does start it; one that others would profit from says so.

    ``most`` bounds how often the planner is asked.
    """
    asked = 0

    def starts(hint: Hint) -> bool:
        nonlocal asked
        asked += 1
        return any(grant.demand == demand.id for grant in planner(hint.relax(now.problem)).grants)

    found: list[Hint] = []
    for hint in islice(hints(now, demand, reason), _MOST_HINTS):
        if asked < most and starts(hint):
            found.append(hint)
            continue
        together = hint.and_also(_nobody_ahead(now, demand))
        if asked < most and together.text != hint.text and starts(together):
            found.append(together)
    return tuple(found)


def hints(now: Situation, demand: Demand, reason: Reason) -> Iterator[Hint]:
    """Yield what would let it run, the cheapest wish first."""
    yield from _of_reservations(now, demand)
    if reason is Reason.QUOTA:
        yield from _of_quota(now, demand)
    elif now.fits(demand, now.ready):
        yield from _of_queue(now, demand)
    else:
        yield from _of_room(now, demand)


def _of_reservations(now: Situation, demand: Demand) -> Iterator[Hint]:
    """A reservation less, or a known end in time, where that is all that is in the way."""
    kept = now.reservations_in_the_way(demand)
    if not kept or not now.fits(demand, now.ready) or now.fits(demand, now.ready_without(kept)):
        return
    names = {r.id for r in kept}
    listed = ", ".join(f"{r.id} (until {r.ends_s:g} s)" for r in kept[:3])
    yield Hint(
        f"the reservation{'s' if len(names) > 1 else ''} {listed} {'were' if len(names) > 1 else 'was'} over",
        lambda problem: replace(problem, reservations=tuple(r for r in problem.reservations if r.id not in names)),
    )
    left_s = min(r.starts_s for r in kept) - now.problem.now_s
    if left_s > 0:
        yield _asking(f"it were known to end within {duration(left_s)}", replace(demand, runtime_s=left_s))


def _nobody_ahead(now: Situation, demand: Demand) -> Hint | None:
    others = {name for name in now.plan.waiting if name != demand.id}
    if not others:
        return None
    ahead = "the other waiting workload" if len(others) == 1 else f"the other {len(others)} waiting workloads"
    return Hint(f"{ahead} waited no longer", lambda problem: _gone(problem, others))


def _gone(problem: Problem, names: Collection[DemandId]) -> Problem:
    return replace(
        problem,
        running=tuple(run for run in problem.running if run.demand.id not in names),
        pending=tuple(other for other in problem.pending if other.id not in names),
    )


def _asking(text: str, changed: Demand) -> Hint:
    """Return the hint that the workload asked for something else."""
    return Hint(
        text,
        lambda problem: replace(problem, pending=tuple(changed if d.id == changed.id else d for d in problem.pending)),
    )


def _of_quota(now: Situation, demand: Demand) -> Iterator[Hint]:
    yield from _fewer_bundles(now, demand)
    limits = _within_limits(now, demand)
    if limits is not None and now.fits(demand, now.ready):
        yield limits
    elif limits is not None:
        idle_too = f"{limits.text}, and {amounts(needs(demand))} were idle"
        more = next(_more_nodes(now, demand), None)
        yield Hint(idle_too, limits.relax if more is None else limits.and_also(more).relax)
    yield from _others_end(now, demand)


def _within_limits(now: Situation, demand: Demand) -> Hint | None:
    """Return what has to change of quotas and limits for the workload to be within them; None: nothing."""
    limits = now.all_limits_in_the_way(demand)
    if limits:
        raised = [_raised(now, demand, limit) for limit in limits]
        text = " and ".join(hint.text for hint in raised)
        return Hint(text, lambda problem: reduce(lambda asked, hint: hint.relax(asked), raised, problem))
    lending = now.limit_in_the_way(demand)
    if lending is None:
        return None
    tenant, resource = demand.tenant, lending[1]
    missing = now.use(tenant).get(resource, 0) + needs(demand)[resource] - now.quota(tenant).get(resource, 0)
    return Hint(
        f"the quota of tenant {tenant} rose by {format_amount(resource, missing)} {resource}, or others lent more",
        lambda problem: replace(problem, tenants=tuple(replace(t, lend_limit=None) for t in problem.tenants)),
    )


def _raised(now: Situation, demand: Demand, limit: Limit) -> Hint:
    tenant, resource, word = limit
    missing = now.use(tenant).get(resource, 0) + needs(demand)[resource] - now.most_allowed(limit)

    def higher(facts: Tenant) -> Tenant:
        if facts.id != tenant:
            return facts
        if word == "limit":
            return replace(facts, limit=_more_of(facts.limit, resource, missing))
        return replace(facts, borrow_limit=_more_of(facts.borrow_limit, resource, missing))

    return Hint(
        f"the {word.replace('_', ' ')} of tenant {tenant} rose by {format_amount(resource, missing)} {resource}",
        lambda problem: replace(problem, tenants=tuple(map(higher, problem.tenants))),
    )


def _more_of(limits: tuple[tuple[str, int], ...] | None, resource: str, more: int) -> tuple[tuple[str, int], ...]:
    return tuple((name, most + more if name == resource else most) for name, most in limits or ())


def _of_queue(now: Situation, demand: Demand) -> Iterator[Hint]:
    first = ahead_in_queue(now, demand)
    if first is not None:
        name, above = first.id, first.priority
        yield Hint(f"{name} started, or waited no longer", lambda problem: _gone(problem, {name}))
        yield _asking(f"its priority were above {above}", replace(demand, priority=above + 1))
    yield from _others_end(now, demand)


def _of_room(now: Situation, demand: Demand) -> Iterator[Hint]:
    yield from _fewer_bundles(now, demand)
    limits = _within_limits(now, demand)
    for hint in _of_nodes(now, demand):
        yield hint.and_also(limits)
    yield from _others_end(now, demand)
    for hint in _more_nodes(now, demand):
        yield hint.and_also(limits)


def _of_nodes(now: Situation, demand: Demand) -> Iterator[Hint]:
    yield from _another_type(now, demand)
    if has_selector(demand) and now.fits(demand, now.ready, selector=False):
        free = tuple(replace(bundle, selector=Selector()) for bundle in demand.bundles)
        yield _asking("its selector were left out", replace(demand, bundles=free))
    if has_required_topology(demand) and now.fits(demand, now.ready, topology=False):
        wishes = tuple(replace(topology, required=False) for topology in demand.topologies)
        text = f"its topology ({_levels(demand)}) were preferred, not required"
        yield _asking(text, replace(demand, topologies=wishes))
    yield from _nodes_back(now, demand)


def _levels(demand: Demand) -> str:
    return ", ".join(f"{topology.kind} {topology.key}" for topology in demand.topologies if topology.required)


def _fewer_bundles(now: Situation, demand: Demand) -> Iterator[Hint]:
    low, high = 0, demand.min_bundles - 1
    while low < high:
        middle = (low + high + 1) // 2
        if now.limit_in_the_way(demand, middle) is None and now.fits(demand, now.ready, n=middle):
            low = middle
        else:
            high = middle - 1
    if low and now.limit_in_the_way(demand, low) is None and now.fits(demand, now.ready, n=low):
        bundles = "1 bundle" if low == 1 else f"{low} bundles"
        text = f"it were content with {bundles} instead of {demand.min_bundles} ({amounts(needs(demand, low))})"
        yield _asking(text, replace(demand, bundles=demand.bundles[:low], min_bundles=low))


def _another_type(now: Situation, demand: Demand) -> Iterator[Hint]:
    asked = {r for b in demand.bundles for r in b.selector.requirements if r.key == ACCELERATOR_KEY}
    if not asked:
        return
    kinds = {room.node.label(ACCELERATOR_KEY) for room in now.ready}
    for kind in sorted(kind for kind in kinds if kind is not None):
        wanted = Requirement(ACCELERATOR_KEY, (kind,))
        if wanted not in asked and now.fits(_on(demand, wanted), now.ready):
            yield _asking(f"it took {ACCELERATOR_KEY} {kind}", _on(demand, wanted))


def _on(demand: Demand, wanted: Requirement) -> Demand:
    def moved(bundle: Bundle) -> Bundle:
        rest = tuple(r for r in bundle.selector.requirements if r.key != ACCELERATOR_KEY)
        return replace(bundle, selector=Selector((*rest, wanted)))

    return replace(demand, bundles=tuple(map(moved, demand.bundles)))


def _nodes_back(now: Situation, demand: Demand) -> Iterator[Hint]:
    away = [room for room in now.rooms if room.node.state is not NodeState.READY]
    for room in away[:_MOST_RELEASED]:
        if now.fits(demand, [*now.ready, room]) and now.lent_enough(demand, _again(room.node)):
            text = f"node {room.node.id} were ready ({room.node.state.value} now)"
            yield Hint(text, partial(_ready, names=frozenset({room.node.id})))
            return
    if len(away) > 1 and now.fits(demand, now.rooms) and now.lent_enough(demand, _again(*(room.node for room in away))):
        names = frozenset(room.node.id for room in away)
        yield Hint(f"the {len(away)} nodes that are draining or down were ready", partial(_ready, names=names))


def _ready(problem: Problem, names: Collection[NodeId]) -> Problem:
    return replace(
        problem,
        nodes=tuple(replace(node, state=NodeState.READY) if node.id in names else node for node in problem.nodes),
    )


def _again(*nodes: Node) -> list[Node]:
    """Return what the cluster gains when these nodes are ready again: a draining one counts already."""
    return [
        replace(node, id=NodeId(f"{node.id}+"), state=NodeState.READY) for node in nodes if node.state is NodeState.DOWN
    ]


def who_has_to_end(now: Situation, demand: Demand) -> list[tuple[float, Holding]]:
    """Return the work that has to end for the workload to start, with its likely end: what ends first, first."""
    asked = set(needs(demand))
    ends = [end for end in _ends(now) if asked & set(end[1][0].resources(len(end[1][1])))]
    return _fewest(now, demand, sorted(ends, key=lambda end: (end[0], end[1][0].priority))[:_MOST_RELEASED])


def _others_end(now: Situation, demand: Demand) -> Iterator[Hint]:
    """Release work in the order in which it is likely to end, until the workload may start."""
    needed = who_has_to_end(now, demand)
    if needed:
        names = ", ".join(work[0].id for _, work in needed[:3])
        more = f" and {len(needed) - 3} more" if len(needed) > 3 else ""
        last_s = max(end_s for end_s, _ in needed)
        when = "when is not known" if last_s == _NEVER_S else f"likely in {duration(last_s - now.problem.now_s)}"
        ended = frozenset(work[0].id for _, work in needed)
        yield Hint(f"{names}{more} ended ({when})", lambda problem: _gone(problem, ended))


def _ends(now: Situation) -> Iterator[tuple[float, Holding]]:
    now_s = now.problem.now_s
    for run in now.alive.values():
        runtime_s = run.demand.runtime_s
        end_s = _NEVER_S if runtime_s is None else max(now_s, run.started_s + runtime_s)
        yield end_s, (run.demand, run.nodes)
    for demand, nodes in now.starting:
        yield _NEVER_S if demand.runtime_s is None else now_s + demand.runtime_s, (demand, nodes)


def _fewest(now: Situation, demand: Demand, ends: Sequence[tuple[float, Holding]]) -> list[tuple[float, Holding]]:
    def enough(chosen: Sequence[tuple[float, Holding]]) -> bool:
        return now.starts_without(demand, [work for _, work in chosen])

    if not ends or not enough(ends):
        return []
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(ends[:middle]) else (middle + 1, high)
    chosen = list(ends[:high])
    if len(chosen) <= 16:
        for end in chosen[:-1]:
            without = [other for other in chosen if other is not end]
            if enough(without):
                chosen = without
    return chosen


def _more_nodes(now: Situation, demand: Demand) -> Iterator[Hint]:
    """Name the kind of node of which the fewest more would do."""
    seen: dict[tuple[object, ...], Node] = {}
    for room in now.rooms:
        if room.node.id == WHOLE_CLUSTER:
            continue
        seen.setdefault((room.node.resources, room.node.labels), room.node)
    best: tuple[int, Node] | None = None
    for node in islice(seen.values(), 16):
        for n in (1, 2, 4, 8, 16, 32, 64, 128):
            if best is not None and n >= best[0]:
                break
            extra = [_fresh(node, idx) for idx in range(n)]
            if now.fits(demand, [*now.ready, *extra]) and now.lent_enough(demand, [room.node for room in extra]):
                best = (n, node)
                break
    if best is not None:
        n, node = best
        text = f"there were {n} more node{'' if n == 1 else 's'} like {node.id} ({node.resources})"
        extra_nodes = tuple(_fresh(node, idx).node for idx in range(n))
        yield Hint(text, lambda problem: replace(problem, nodes=problem.nodes + extra_nodes))


def _fresh(node: Node, idx: int) -> Room:
    twin = replace(node, id=NodeId(f"{node.id}+{idx}"), state=NodeState.READY)
    return Room(twin, dict(node.resources.items()), node.resources.get("GPU"))


def duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
