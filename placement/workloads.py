"""The workloads of a scenario: what runs and what waits, read strictly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

from placement.model import Bundle, Demand, DemandId, NodeId, Resources, Running, Selector, Shape, TenantId, Topology
from placement.model.demand import MOST_BUNDLES
from placement.reading import Value, suggestion
from placement.situation import WHOLE_CLUSTER

_PRIORITY = 2**31 - 1

_DEMAND = (
    "name",
    "tenant",
    "priority",
    "bundles",
    "min_bundles",
    "topology",
    "submitted_s",
    "runtime_s",
    "deadline_s",
    "speed",
    "preemptible",
    "alternatives",
    "scaling",
    "near",
    "profile",
    "served_s",
    "attained",
)
_RUNNING = (*_DEMAND, "nodes", "started_s", "checkpointed_s")
_SHAPE = ("bundles", "min_bundles", "throughput")
_EXPECTED = ("resources", "selector", "weight")
MOST_FORMS = 16
_BUNDLE = ("count", "resources", "selector")
_TOPOLOGY = ("pack", "spread", "required", "preferred", "slice", "skew")


def read_running(item: Value, tenants: set[TenantId], places: set[NodeId] | None, taken: set[str]) -> Running:
    fields = item.fields(_RUNNING, required=("name", "tenant", "bundles"))
    started_s = fields["started_s"].number() if "started_s" in fields else 0.0
    demand = _demand(fields, tenants, taken, started_s, places)
    return Running(
        demand,
        _placed_on(item, fields.get("nodes"), demand, places),
        started_s,
        fields["checkpointed_s"].number() if "checkpointed_s" in fields else None,
    )


def _placed_on(item: Value, value: Value | None, demand: Demand, places: set[NodeId] | None) -> tuple[NodeId, ...]:
    if places is None:
        if value is not None:
            value.fail("this scenario has no nodes", "leave it out, or add `nodes:` to the file")
        return (WHOLE_CLUSTER,) * len(demand.bundles)
    if value is None:
        item.fail("has no 'nodes'", f"name the node of each of its {len(demand.bundles)} bundles")
    out = []
    for place in value.items():
        name = place.text()
        if name not in places:
            place.fail(f"unknown node {name!r}", suggestion(name, places))
        out.append(NodeId(name))
    low, high = demand.min_bundles, len(demand.bundles)
    if not low <= len(out) <= high:
        wanted = str(high) if low == high else f"{low} to {high}"
        value.fail(f"names {len(out)} nodes", f"name one for each of its {wanted} bundles")
    return tuple(out)


def read_pending(
    item: Value, tenants: set[TenantId], taken: set[str], now_s: float, places: set[NodeId] | None = None
) -> Demand:
    return _demand(item.fields(_DEMAND, required=("name", "tenant", "bundles")), tenants, taken, now_s, places)


def _demand(
    fields: Mapping[str, Value], tenants: set[TenantId], taken: set[str], since_s: float, places: set[NodeId] | None
) -> Demand:
    name = fields["name"].text()
    if name in taken:
        fields["name"].fail(f"two workloads are named {name!r}", "rename one of them")
    taken.add(name)
    tenant = fields["tenant"].text()
    if tenant not in tenants:
        fields["tenant"].fail(f"unknown tenant {tenant!r}", suggestion(tenant, tenants))
    bundles = _bundles(fields["bundles"])
    return Demand(
        id=DemandId(name),
        tenant=TenantId(tenant),
        bundles=bundles,
        priority=fields["priority"].integer(-_PRIORITY, _PRIORITY) if "priority" in fields else 0,
        min_bundles=fields["min_bundles"].integer(1, len(bundles)) if "min_bundles" in fields else len(bundles),
        topologies=_topologies(fields["topology"]) if "topology" in fields else (),
        submitted_s=fields["submitted_s"].number() if "submitted_s" in fields else since_s,
        runtime_s=fields["runtime_s"].number(0.0) if "runtime_s" in fields else None,
        deadline_s=fields["deadline_s"].number() if "deadline_s" in fields else None,
        speed=_speed(fields.get("speed")),
        preemptible=fields["preemptible"].flag() if "preemptible" in fields else True,
        alternatives=_alternatives(fields.get("alternatives")),
        scaling=_scaling(fields.get("scaling"), len(bundles)),
        near=_near(fields.get("near"), places),
        profile=fields["profile"].text() if "profile" in fields else "",
        served_s=fields["served_s"].number(0.0) if "served_s" in fields else 0.0,
        attained=fields["attained"].number(0.0) if "attained" in fields else 0.0,
    )


def _alternatives(value: Value | None) -> tuple[Shape, ...]:
    """Read the other forms, the most wanted first."""
    out: list[Shape] = []
    for item in value.items() if value is not None else ():
        fields = item.fields(_SHAPE, required=("bundles",))
        bundles = _bundles(fields["bundles"])
        least = fields["min_bundles"].integer(1, len(bundles)) if "min_bundles" in fields else len(bundles)
        factor = fields["throughput"].number(1e-6, 1e6) if "throughput" in fields else 1.0
        if len(out) == MOST_FORMS:
            item.fail(f"is one of more than {MOST_FORMS} alternatives", "keep the most wanted ones")
        out.append(Shape(bundles, least, factor))
    return tuple(out)


def _scaling(value: Value | None, n_bundles: int) -> tuple[tuple[int, float], ...]:
    """Read throughput by number of bundles; more bundles never bring less, and each brings at most the one before."""
    if value is None:
        return ()
    points: list[tuple[int, float]] = [(0, 0.0)]
    slope = math.inf
    for key, item in value.entries().items():
        if not key.isdecimal() or len(key) > 5 or not points[-1][0] < int(key) <= n_bundles:
            item.fail(f"{key!r} is no number of bundles", f"write rising numbers from 1 to {n_bundles}")
        n, factor = int(key), item.number(1e-6, 1e9)
        rise = (factor - points[-1][1]) / (n - points[-1][0])
        if rise > slope * (1 + 1e-9) or rise < 0:
            item.fail(f"is {factor:g}", "throughput rises with the bundles, by each no more than by the one before")
        slope = rise
        points.append((n, factor))
    return tuple(points[1:])


def _near(value: Value | None, places: set[NodeId] | None) -> tuple[NodeId, ...]:
    out: dict[NodeId, None] = {}
    for item in value.items() if value is not None else ():
        name = item.text()
        if places is None or name not in places:
            item.fail(f"unknown node {name!r}", suggestion(name, places or ()))
        out[NodeId(name)] = None
    return tuple(out)


def read_expected(value: Value | None) -> tuple[tuple[Bundle, float], ...]:
    """Read the bundles that are likely to come, with their relative frequencies."""
    out: list[tuple[Bundle, float]] = []
    for item in value.items() if value is not None else ():
        fields = item.fields(_EXPECTED, required=("resources",))
        weight = fields["weight"].number(0.0, 1e12) if "weight" in fields else 1.0
        bundle = Bundle(Resources.of(fields["resources"].amounts()), read_selector(fields.get("selector")))
        out.append((bundle, weight))
    return tuple(out)


def _bundles(value: Value) -> tuple[Bundle, ...]:
    out: list[Bundle] = []
    for item in value.items():
        fields = item.fields(_BUNDLE, required=("resources",))
        count = fields["count"].integer(1, MOST_BUNDLES) if "count" in fields else 1
        if len(out) + count > MOST_BUNDLES:
            value.fail(f"more than {MOST_BUNDLES} bundles", "split the workload")
        bundle = Bundle(Resources.of(fields["resources"].amounts()), read_selector(fields.get("selector")))
        out.extend([bundle] * count)
    if not out:
        value.fail("has no bundle", "write at least `- resources: {CPU: 1}`")
    return tuple(out)


def read_selector(value: Value | None) -> Selector:
    if value is None:
        return Selector()
    wanted: dict[str, object] = {}
    for key, item in value.entries().items():
        wanted[key] = item.text()
        try:
            Selector.parse({key: wanted[key]})
        except ValueError as error:
            item.fail(str(error).removeprefix(f"{key}: "))
    return Selector.parse(wanted)


def _topologies(value: Value) -> tuple[Topology, ...]:
    """Return the levels: one mapping, or a list of them that hold at once."""
    items = list(value.items()) if value.is_list else [value]
    out = tuple(map(_topology, items))
    sizes = sorted({topology.slice for topology in out if topology.slice})
    for small, large in pairwise(sizes):
        if large % small:
            value.fail(f"has slices of {small} and of {large}", "make each size a multiple of the smaller ones")
    return out


def _topology(value: Value) -> Topology:
    fields = value.fields(_TOPOLOGY)
    kinds = [kind for kind in ("pack", "spread") if kind in fields]
    if len(kinds) != 1:
        value.fail("needs one of pack and spread", "write for example {pack: rack, required: true}")
    required = fields["required"].flag() if "required" in fields else False
    if "preferred" in fields and fields["preferred"].flag() == required:
        fields["preferred"].fail("says the same as `required` and its opposite", "keep `required: true` or leave both")
    for key, kind in (("slice", "pack"), ("skew", "spread")):
        if key in fields and kinds[0] != kind:
            fields[key].fail(f"belongs to {kind}, not to {kinds[0]}", f"leave it out, or write `{kind}:`")
    size = fields["slice"].integer(1, MOST_BUNDLES) if "slice" in fields else 0
    skew = fields["skew"].integer(1, MOST_BUNDLES) if "skew" in fields else None
    return Topology(kinds[0], fields[kinds[0]].text(), required, size, skew)


def _speed(value: Value | None) -> tuple[tuple[str, float], ...]:
    if value is None:
        return ()
    return tuple(sorted((name, factor.number(1e-6, 1e6)) for name, factor in value.entries().items()))
