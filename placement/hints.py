"""What would let a waiting workload run: each condition relaxed alone, and the question asked again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from placement.model import (
    ACCELERATOR_KEY,
    Bundle,
    Demand,
    Node,
    NodeId,
    NodeState,
    Reason,
    Requirement,
    Selector,
    format_amount,
)
from placement.planners.state import Room
from placement.reasons import ahead_in_queue, has_required_topology, has_selector
from placement.situation import WHOLE_CLUSTER, Holding, Limit, Situation, amounts, needs

_MOST_HINTS = 5
_MOST_RELEASED = 4096
_NEVER_S = float("inf")


def would_run_if(now: Situation, demand: Demand, reason: Reason) -> tuple[str, ...]:
    """Return sentences that complete "it would run if ...", the cheapest wish first; each is true by itself."""
    if reason is Reason.QUOTA:
        hints = _of_quota(now, demand)
    elif now.fits(demand, now.ready):
        hints = _of_queue(now, demand)
    else:
        hints = _of_room(now, demand)
    return tuple(islice(hints, _MOST_HINTS))


def _of_quota(now: Situation, demand: Demand) -> Iterator[str]:
    yield from _fewer_bundles(now, demand)
    room = "" if now.fits(demand, now.ready) else f", and {amounts(needs(demand))} were idle"
    yield f"{_within_limits(now, demand)}{room}"
    yield from _others_end(now, demand)


def _within_limits(now: Situation, demand: Demand) -> str:
    """Return what has to change of quotas and limits for the workload to be within them; nothing: an empty text."""
    limits = now.all_limits_in_the_way(demand)
    if limits:
        return " and ".join(_raised(now, demand, limit) for limit in limits)
    lending = now.limit_in_the_way(demand)
    if lending is None:
        return ""
    tenant, resource = demand.tenant, lending[1]
    missing = now.use(tenant).get(resource, 0) + needs(demand)[resource] - now.quota(tenant).get(resource, 0)
    return f"the quota of tenant {tenant} rose by {format_amount(resource, missing)} {resource}, or others lent more"


def _raised(now: Situation, demand: Demand, limit: Limit) -> str:
    tenant, resource, word = limit
    missing = now.use(tenant).get(resource, 0) + needs(demand)[resource] - now.most_allowed(limit)
    return f"the {word.replace('_', ' ')} of tenant {tenant} rose by {format_amount(resource, missing)} {resource}"


def _of_queue(now: Situation, demand: Demand) -> Iterator[str]:
    first = ahead_in_queue(now, demand)
    if first is not None:
        yield f"{first.id} started, or waited no longer"
        yield f"its priority were above {first.priority}"
    yield from _others_end(now, demand)


def _of_room(now: Situation, demand: Demand) -> Iterator[str]:
    yield from _fewer_bundles(now, demand)
    limits = _within_limits(now, demand)
    for hint in _of_nodes(now, demand):
        yield f"{hint}, and {limits}" if limits else hint
    yield from _others_end(now, demand)
    for hint in _more_nodes(now, demand):
        yield f"{hint}, and {limits}" if limits else hint


def _of_nodes(now: Situation, demand: Demand) -> Iterator[str]:
    yield from _another_type(now, demand)
    if has_selector(demand) and now.fits(demand, now.ready, selector=False):
        yield "its selector were left out"
    if has_required_topology(demand) and now.fits(demand, now.ready, topology=False):
        yield f"its topology ({_levels(demand)}) were preferred, not required"
    yield from _nodes_back(now, demand)


def _levels(demand: Demand) -> str:
    return ", ".join(f"{topology.kind} {topology.key}" for topology in demand.topologies if topology.required)


def _fewer_bundles(now: Situation, demand: Demand) -> Iterator[str]:
    low, high = 0, demand.min_bundles - 1
    while low < high:
        middle = (low + high + 1) // 2
        if now.limit_in_the_way(demand, middle) is None and now.fits(demand, now.ready, n=middle):
            low = middle
        else:
            high = middle - 1
    if low and now.limit_in_the_way(demand, low) is None and now.fits(demand, now.ready, n=low):
        bundles = "1 bundle" if low == 1 else f"{low} bundles"
        yield f"it were content with {bundles} instead of {demand.min_bundles} ({amounts(needs(demand, low))})"


def _another_type(now: Situation, demand: Demand) -> Iterator[str]:
    asked = {r for b in demand.bundles for r in b.selector.requirements if r.key == ACCELERATOR_KEY}
    if not asked:
        return
    kinds = {room.node.label(ACCELERATOR_KEY) for room in now.ready}
    for kind in sorted(kind for kind in kinds if kind is not None):
        wanted = Requirement(ACCELERATOR_KEY, (kind,))
        if wanted not in asked and now.fits(_on(demand, wanted), now.ready):
            yield f"it took {ACCELERATOR_KEY} {kind}"


def _on(demand: Demand, wanted: Requirement) -> Demand:
    def moved(bundle: Bundle) -> Bundle:
        rest = tuple(r for r in bundle.selector.requirements if r.key != ACCELERATOR_KEY)
        return replace(bundle, selector=Selector((*rest, wanted)))

    return replace(demand, bundles=tuple(map(moved, demand.bundles)))


def _nodes_back(now: Situation, demand: Demand) -> Iterator[str]:
    away = [room for room in now.rooms if room.node.state is not NodeState.READY]
    for room in away[:_MOST_RELEASED]:
        if now.fits(demand, [*now.ready, room]) and now.lent_enough(demand, _again(room.node)):
            yield f"node {room.node.id} were ready ({room.node.state.value} now)"
            return
    if len(away) > 1 and now.fits(demand, now.rooms) and now.lent_enough(demand, _again(*(room.node for room in away))):
        yield f"the {len(away)} nodes that are draining or down were ready"


def _again(*nodes: Node) -> list[Node]:
    """Return what the cluster gains when these nodes are ready again: a draining one counts already."""
    return [
        replace(node, id=NodeId(f"{node.id}+"), state=NodeState.READY) for node in nodes if node.state is NodeState.DOWN
    ]


def _others_end(now: Situation, demand: Demand) -> Iterator[str]:
    """Release work in the order in which it is likely to end, until the workload may start."""
    asked = set(needs(demand))
    ends = [end for end in _ends(now) if asked & set(end[1][0].resources(len(end[1][1])))]
    needed = _fewest(now, demand, sorted(ends, key=lambda end: (end[0], end[1][0].priority))[:_MOST_RELEASED])
    if needed:
        names = ", ".join(work[0].id for _, work in needed[:3])
        more = f" and {len(needed) - 3} more" if len(needed) > 3 else ""
        last_s = max(end_s for end_s, _ in needed)
        when = "when is not known" if last_s == _NEVER_S else f"likely in {_duration(last_s - now.problem.now_s)}"
        yield f"{names}{more} ended ({when})"


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


def _more_nodes(now: Situation, demand: Demand) -> Iterator[str]:
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
        yield f"there were {n} more node{'' if n == 1 else 's'} like {node.id} ({node.resources})"


def _fresh(node: Node, idx: int) -> Room:
    twin = replace(node, id=NodeId(f"{node.id}+{idx}"), state=NodeState.READY)
    return Room(twin, dict(node.resources.items()), node.resources.get("GPU"))


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
