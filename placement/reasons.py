"""The binding reason why a workload waits: the first that explains it, with the numbers that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from placement.model import Demand, DemandId, Node, NodeState, Reason, Reservation, Selector, Topology, format_amount
from placement.model.resources import MILLI
from placement.planners.state import Room
from placement.planners.tree import add
from placement.situation import Limit, Situation, amounts, idle, needs

_ORDER = list(Reason)


def closest_form(now: Situation, demand: Demand) -> tuple[int, Reason, str]:
    """Return the form that is nearest to running, by the order of the reasons, with its reason and a sentence."""
    if not demand.alternatives:
        return (0, *binding_reason(now, demand))
    found = [(i, *binding_reason(now, demand.form(i))) for i in range(1 + len(demand.alternatives))]
    number, reason, detail = max(found, key=lambda entry: (_ORDER.index(entry[1]), -entry[0]))
    return number, reason, f"none of its {len(found)} forms can start; form {number} {detail}"


def binding_reason(now: Situation, demand: Demand) -> tuple[Reason, str]:
    """Return the reason code and a sentence; its other forms do not count.

    Notes
    -----
    What could not run were the cluster empty is told apart first: by amounts alone (unsatisfiable), by its selector,
    its required topology, or because the nodes it needs are draining or down. Then comes a limit of its tenant. Else
    a selector, topology or drained node is the reason where the workload would run now but for that one condition.
    What is left waits for others: more important ones, or simply for room.
    """
    never = _impossible_even_when_empty(now, demand)
    if never is not None:
        return never
    kept = _reserved(now, demand)
    if kept is not None and kept[0] is Reason.DRAINED:
        return kept
    limit = now.limit_in_the_way(demand)
    if limit is not None:
        return Reason.QUOTA, _quota_sentence(now, demand, limit)
    if kept is not None:
        return kept
    if now.fits(demand, now.ready):
        return Reason.PRIORITY, _queue_sentence(now, demand)
    alone = _kept_out_by_one_condition(now, demand)
    if alone is not None:
        return alone
    if now.fits(demand, now.without_more_important(demand.priority)):
        return Reason.PRIORITY, _priority_sentence(now, demand)
    spare = idle(now.ready)
    if all(spare.get(name, 0) >= amount for name, amount in needs(demand).items()):
        return Reason.FRAGMENTATION, _fragmentation_sentence(now, demand)
    return Reason.CAPACITY, _idle_sentence(now, demand) + _reclaim_clause(now, demand)


def has_selector(demand: Demand) -> bool:
    return any(bundle.selector.requirements for bundle in demand.bundles[: demand.min_bundles])


def has_required_topology(demand: Demand) -> bool:
    return any(topology.required for topology in demand.topologies)


def _impossible_even_when_empty(now: Situation, demand: Demand) -> tuple[Reason, str] | None:
    if not now.fits(demand, now.empty, selector=False, topology=False):
        return Reason.UNSATISFIABLE, _unsatisfiable_sentence(now, demand)
    if not now.fits(demand, now.empty, topology=False):
        return Reason.SELECTOR, _selector_sentence(now.empty, demand, "has")
    if not now.fits(demand, now.empty):
        return Reason.TOPOLOGY, _topology_sentence(now, now.empty, demand)
    if not now.fits(demand, now.empty_ready):
        return Reason.DRAINED, _drained_sentence(now, demand)
    return None


def _reserved(now: Situation, demand: Demand) -> tuple[Reason, str] | None:
    """Return drained or capacity where it would fit but for nodes that are kept: for nobody, or for others."""
    kept = now.reservations_in_the_way(demand)
    if not kept or not now.fits(demand, now.ready):
        return None
    for reason, entries in ((Reason.DRAINED, [r for r in kept if not r.tenants]), (Reason.CAPACITY, kept)):
        if entries and not now.fits(demand, now.ready_without(entries)):
            return reason, _reserved_sentence(now, demand, entries)
    return None


def _reserved_sentence(now: Situation, demand: Demand, kept: Sequence[Reservation]) -> str:
    nodes = {node for reservation in kept for node in reservation.nodes}
    names = ", ".join(f"{r.id} ({'for ' + ', '.join(r.tenants) if r.tenants else 'maintenance'})" for r in kept[:3])
    opens_s = min(r.ends_s for r in kept)
    are = "is" if len(nodes) == 1 else "are"
    until = "its runtime is not known" if demand.runtime_s is None else f"it would run {demand.runtime_s:g} s"
    return (
        f"{_wants(demand)}; it would fit, but {_nodes(len(nodes))} {are} reserved: {names} "
        f"from {min(r.starts_s for r in kept):g} s, and {until}; the first opens at {opens_s:g} s"
    )


def _kept_out_by_one_condition(now: Situation, demand: Demand) -> tuple[Reason, str] | None:
    if has_selector(demand) and now.fits(demand, now.ready, selector=False):
        return Reason.SELECTOR, _selector_sentence(now.ready, demand, "has idle")
    if has_required_topology(demand) and now.fits(demand, now.ready, topology=False):
        return Reason.TOPOLOGY, _topology_sentence(now, now.ready, demand)
    if len(now.ready) < len(now.rooms) and now.fits(demand, now.rooms):
        return Reason.DRAINED, _drained_sentence(now, demand)
    return None


# The sentences


def _wants(demand: Demand) -> str:
    n = demand.min_bundles
    at_least = "at least " if n < len(demand.bundles) else ""
    return f"needs {at_least}{amounts(needs(demand))}" + (f" in {n} bundles" if n > 1 else "")


def _unsatisfiable_sentence(now: Situation, demand: Demand) -> str:
    have = idle(now.empty)
    asked = needs(demand)
    short = [name for name, amount in asked.items() if amount > have.get(name, 0)]
    if short:
        return f"{_wants(demand)}; the whole cluster has {amounts(have, short)}"
    for bundle in dict.fromkeys(demand.bundles[: demand.min_bundles]):
        if not any(room.how_many(bundle.resources, 1) for room in now.empty):
            if bundle.resources.get("GPU") > MILLI and bundle.resources.get("GPU") % MILLI:
                hint = "a fraction of a GPU must fit one device: above 1 ask for whole ones"
                return f"a bundle needs {bundle.resources}; {hint}"
            names = list(bundle.resources)
            most = {name: max(room.free.get(name, 0) for room in now.empty) for name in names}
            return f"a bundle needs {bundle.resources}; no node holds it (the most on one node: {amounts(most, names)})"
    return f"{_wants(demand)}; the whole cluster has {amounts(have, asked)}, but never in pieces of that size"


def _selector_sentence(rooms: Sequence[Room], demand: Demand, has: str) -> str:
    selector, allowed = _strictest(rooms, demand)
    if not allowed:
        return f"{_wants(demand)}; none of {_nodes(len(rooms))} has {selector}"
    names, there, everywhere = list(needs(demand)), idle(allowed), idle(rooms)
    beside = {name: everywhere.get(name, 0) - there.get(name, 0) for name in names}
    return (
        f"{_wants(demand)}; what the selector {selector} allows ({_nodes(len(allowed))}) {has} "
        f"{amounts(there, names)}, the other nodes {amounts(beside, names)}"
    )


def _strictest(rooms: Sequence[Room], demand: Demand) -> tuple[Selector, list[Room]]:
    selectors = dict.fromkeys(bundle.selector for bundle in demand.bundles[: demand.min_bundles])
    found = [(selector, [room for room in rooms if selector.accepts(room.node)]) for selector in selectors]
    return min(found, key=lambda pair: len(pair[1]))


def _topology_sentence(now: Situation, rooms: Sequence[Room], demand: Demand) -> str:
    topology = _hardest_level(now, rooms, demand)
    domains: dict[str, list[Room]] = {}
    for room in rooms:
        value = room.node.label(topology.key)
        if value is not None and any(b.selector.accepts(room.node) for b in demand.bundles):
            domains.setdefault(value, []).append(room)
    if not domains:
        return f"{_wants(demand)} by {topology.kind} over {topology.key}; no node that it may use has that label"
    if topology.skew is not None:
        numbers = f"numbers that differ by at most {topology.skew}"
        return f"{_wants(demand)}, in {numbers} on the {len(domains)} values of {topology.key}; they have no room so"
    if topology.slice:
        size = f"each {topology.slice} in a row"
        return f"{_wants(demand)}, {size} within one {topology.key}; {len(domains)} of them have no room for that"
    if topology.kind == "spread":
        with_room = sum(
            any(room.how_many(bundle.resources, 1) for room in domain for bundle in demand.bundles[:1])
            for domain in domains.values()
        )
        return f"{_wants(demand)}, each on another {topology.key}; {with_room} of {len(domains)} have room for one"
    names = list(needs(demand))
    best, most = max(
        ((value, idle(domain)) for value, domain in domains.items()),
        key=lambda pair: min(pair[1].get(name, 0) / amount for name, amount in needs(demand).items()),
    )
    idle_word = "has" if rooms is now.empty else "has idle"
    return (
        f"{_wants(demand)} within one {topology.key}; the roomiest of {len(domains)} ({best}) {idle_word} "
        f"{amounts(most, names)}"
    )


def _hardest_level(now: Situation, rooms: Sequence[Room], demand: Demand) -> Topology:
    """Return the first required level that alone is in the way, or else the first."""
    required = [topology for topology in demand.topologies if topology.required]
    alone = (t for t in required if not now.fits(replace(demand, topologies=(t,)), rooms))
    return next(alone, required[0])


def _drained_sentence(now: Situation, demand: Demand) -> str:
    away = [room.node for room in now.rooms if room.node.state is not NodeState.READY and _may_use(room.node, demand)]
    listed = [f"{node.id} ({node.state.value})" for node in away[:4]]
    more = f" and {len(away) - 4} more" if len(away) > 4 else ""
    return f"{_idle_sentence(now, demand)}; it would fit with {', '.join(listed)}{more}"


def _may_use(node: Node, demand: Demand) -> bool:
    return any(bundle.selector.accepts(node) for bundle in demand.bundles)


def _quota_sentence(now: Situation, demand: Demand, limit: Limit) -> str:
    tenant, resource, word = limit
    used, asked = now.use(tenant).get(resource, 0), needs(demand)[resource]
    quota = now.quota(tenant).get(resource, 0)

    def shown(amount: int) -> str:
        return format_amount(resource, amount)

    head = f"needs {shown(asked)} {resource}; tenant {tenant} uses {shown(used)}"
    if word == "limit":
        return f"{head} of its limit {shown(now.most_allowed(limit))}"
    if word == "borrow_limit":
        borrow = now.most_allowed(limit) - quota
        return f"{head} of its quota {shown(quota)} and may borrow {shown(borrow)} above it"
    return f"{head} of its quota {shown(quota)}, and the others lend no more {resource} (lend_limit)"


def ahead_in_queue(now: Situation, demand: Demand) -> Demand | None:
    """Return the waiting workload whose claim this one respects: a more important one, else another tenant's."""
    asked = set(needs(demand))
    rivals = [other for other in _waiting(now) if other.id != demand.id and asked & set(needs(other))]
    ahead = [other for other in rivals if _is_ahead(other, demand)]
    ahead = ahead or [other for other in rivals if other.tenant != demand.tenant]
    return max(ahead, key=lambda o: (o.tenant == demand.tenant, o.priority, -o.submitted_s), default=None)


def _queue_sentence(now: Situation, demand: Demand) -> str:
    first = ahead_in_queue(now, demand)
    if first is None:
        return f"{_idle_sentence(now, demand)}; it fits, and its turn comes with the next plan"
    return (
        f"{_idle_sentence(now, demand)}; {first.id} (tenant {first.tenant}, priority {first.priority}) is ahead "
        f"and holds its claim"
    )


def _waiting(now: Situation) -> list[Demand]:
    return [demand for demand in now.problem.pending if demand.id in now.plan.waiting]


def _is_ahead(other: Demand, demand: Demand) -> bool:
    return (-other.priority, other.submitted_s) <= (-demand.priority, demand.submitted_s)


def _priority_sentence(now: Situation, demand: Demand) -> str:
    asked = list(needs(demand))
    open_to = {room.node.id for room in now.ready if _may_use(room.node, demand)}
    held: dict[DemandId, dict[str, int]] = {}
    above = sorted((d for d, _ in now.holders if d.priority > demand.priority), key=lambda d: -d.priority)
    places = {other.id: nodes for other, nodes in now.holders}
    for other in above:
        for node, bundle in zip(places[other.id], other.bundles, strict=False):
            if node in open_to and any(bundle.resources.get(name) for name in asked):
                add(held.setdefault(other.id, {}), bundle.resources)
    names = [f"{other.id} (priority {other.priority})" for other in above if other.id in held]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    in_all: dict[str, int] = {}
    for amounts_held in held.values():
        add(in_all, amounts_held)
    return (
        f"{_idle_sentence(now, demand)}; more important work holds {amounts(in_all, asked)}: "
        f"{', '.join(names[:3])}{more}"
    )


def _fragmentation_sentence(now: Situation, demand: Demand) -> str:
    largest = max(dict.fromkeys(demand.bundles[: demand.min_bundles]), key=lambda bundle: bundle.resources.entries)
    allowed = [room for room in now.ready if largest.selector.accepts(room.node)]
    names = list(largest.resources)
    most = {name: max((room.free.get(name, 0) for room in allowed), default=0) for name in names}
    room_for = sum(room.how_many(largest.resources, demand.min_bundles) for room in allowed)
    bundles = "1 bundle" if demand.min_bundles == 1 else f"{demand.min_bundles} bundles"
    return (
        f"{_idle_sentence(now, demand)}, but scattered: room for {room_for} of its {bundles} of "
        f"{largest.resources}, the most on one node {amounts(most, names)}"
    )


def _idle_sentence(now: Situation, demand: Demand) -> str:
    names = list(needs(demand))
    text = f"{_wants(demand)}; {amounts(idle(now.ready), names)} idle on {_nodes(len(now.ready), 'ready ')}"
    if has_selector(demand):
        selector, allowed = _strictest(now.ready, demand)
        text += f", {amounts(idle(allowed), names)} of it on nodes that the selector {selector} allows"
    return text


def _reclaim_clause(now: Situation, demand: Demand) -> str:
    """Return what its guarantee could take back from others, where that is not enough."""
    room, free, asked = now.reclaimable(demand), idle(now.ready), needs(demand)
    if room is None or all(asked[name] <= free.get(name, 0) + amount for name, amount in room.items()):
        return ""
    return f"; others use only {amounts(room, list(room))} above their quotas, no more may be reclaimed"


def _nodes(n: int, kind: str = "") -> str:
    return f"{n} {kind}node{'' if n == 1 else 's'}"
