"""Scenarios: one planning question in a YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from placement.expect import KEYS as EXPECT_KEYS
from placement.expect import Expect, read_expect
from placement.model import (
    ROOT,
    Borrow,
    Bundle,
    Demand,
    DemandId,
    Node,
    NodeId,
    NodeState,
    Policy,
    PreemptionPolicy,
    Problem,
    Reclaim,
    Resources,
    Running,
    Selector,
    Tenant,
    TenantId,
    Topology,
    Within,
    parse_amount,
)
from placement.model.demand import MOST_BUNDLES
from placement.reading import ScenarioError, Value, read, suggestion
from placement.situation import WHOLE_CLUSTER

__all__ = ["Scenario", "ScenarioError", "load_scenario", "parse_scenario"]

MOST_NODES = 200_000
_PRIORITY = 2**31 - 1
_FAIRNESS = ("drf",)

_TOP = ("name", "now_s", "policy", "nodes", "tenants", "running", "pending", "expect")
_POLICY = ("fairness", "preemption", "backfill", "migration")
_PREEMPTION = ("within", "reclaim", "borrow")
_NODE = ("name", "count", "resources", "labels", "state", "foreign")
_TENANT = (
    "name",
    "parent",
    "weight",
    "quota",
    "borrow_limit",
    "lend_limit",
    "limit",
    "preemption",
    "usage",
)
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
)
_RUNNING = (*_DEMAND, "nodes", "started_s", "checkpointed_s")
_BUNDLE = ("count", "resources", "selector")
_TOPOLOGY = ("pack", "spread", "required", "preferred")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named problem, and what its author expects of the answer."""

    name: str
    problem: Problem
    expect: Expect = field(default_factory=Expect)


def load_scenario(path: Path) -> Scenario:
    """Read a scenario from a file; raises ScenarioError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(str(path), None, "", f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ScenarioError(str(path), None, "", f"cannot be read: {error.strerror}") from None
    return parse_scenario(text, str(path))


def parse_scenario(text: str, file: str = "scenario") -> Scenario:
    """Read a scenario from its text; ``file`` names it in messages.

    Raises
    ------
    ScenarioError
        Names the line, the path, what is wrong there and how to mend it.
    """
    root = read(text, file)
    fields = root.fields(_TOP)
    now_s = fields["now_s"].number() if "now_s" in fields else 0.0
    policy = _policy(fields.get("policy"))
    tenants = _tenants(fields.get("tenants"), policy)
    nodes, foreign = _nodes(fields["nodes"]) if "nodes" in fields else (_whole_cluster(tenants), {})
    places = {node.id for node in nodes} if "nodes" in fields else None
    known = {tenant.id for tenant in tenants}
    taken: set[str] = set()
    running = [_running(item, known, places, taken) for item in _list(fields.get("running"))]
    pending = [_pending(item, known, taken, now_s) for item in _list(fields.get("pending"))]
    problem = Problem(
        nodes=nodes,
        tenants=tenants,
        running=tuple(running),
        pending=tuple(pending),
        now_s=now_s,
        policy=policy,
        foreign=foreign,
    )
    name = fields["name"].text() if "name" in fields else Path(file).stem
    expect = read_expect(fields["expect"].fields(EXPECT_KEYS)) if "expect" in fields else Expect()
    return Scenario(name, problem, expect)


def _list(value: Value | None) -> Iterable[Value]:
    return () if value is None else value.items()


# Policy and tenants


def _policy(value: Value | None) -> Policy:
    if value is None:
        return Policy()
    fields = value.fields(_POLICY)
    fairness = fields["fairness"].text() if "fairness" in fields else _FAIRNESS[0]
    if fairness not in _FAIRNESS:
        fields["fairness"].fail(f"{fairness!r} is no fairness policy", suggestion(fairness, _FAIRNESS))
    return Policy(
        fairness=fairness,
        preemption=_preemption(fields.get("preemption"), PreemptionPolicy()),
        backfill=fields["backfill"].flag() if "backfill" in fields else True,
        migration=fields["migration"].flag() if "migration" in fields else False,
    )


def _preemption(value: Value | None, default: PreemptionPolicy) -> PreemptionPolicy:
    if value is None:
        return default
    fields = value.fields(_PREEMPTION)
    return PreemptionPolicy(
        within=fields["within"].choice(Within) if "within" in fields else default.within,
        reclaim=fields["reclaim"].choice(Reclaim) if "reclaim" in fields else default.reclaim,
        borrow=fields["borrow"].choice(Borrow) if "borrow" in fields else default.borrow,
    )


def _tenants(value: Value | None, policy: Policy) -> tuple[Tenant, ...]:
    tenants: list[Tenant] = []
    places: dict[TenantId, Value] = {}
    for item in _list(value):
        fields = item.fields(_TENANT, required=("name",))
        tenant = _tenant(fields, policy)
        if tenant.id in places:
            fields["name"].fail(f"two tenants are named {tenant.id!r}", "rename one of them")
        places[tenant.id] = fields.get("parent", fields["name"])
        tenants.append(tenant)
    _refuse_broken_tree(tenants, places)
    return tuple(tenants)


def _tenant(fields: Mapping[str, Value], policy: Policy) -> Tenant:
    name = fields["name"].text()
    if name == ROOT:
        fields["name"].fail("'root' is the root of the tree, which has no quota of its own", "choose another name")
    parent = fields["parent"].text() if "parent" in fields else ROOT
    quota = _amounts(fields["quota"]) if "quota" in fields else {}
    return Tenant(
        id=TenantId(name),
        parent=None if parent == ROOT else TenantId(parent),
        weight=_weight(fields["weight"]) if "weight" in fields else 1.0,
        quota=Resources.of(quota) if quota else None,
        borrow_limit=_limits(fields.get("borrow_limit")),
        lend_limit=_limits(fields.get("lend_limit")),
        limit=_limits(fields.get("limit")),
        preemption=_preemption(fields["preemption"], policy.preemption) if "preemption" in fields else None,
        usage=_usage(fields.get("usage")),
    )


def _weight(value: Value) -> float:
    weight = value.number(0.0, 1e6)
    if weight < 1e-6:
        value.fail(
            f"is {weight:g}",
            "a weight is a number from 0.000001 to 1000000; a tenant that may not borrow says `borrow_limit: {GPU: 0}`",
        )
    return weight


def _limits(value: Value | None) -> tuple[tuple[str, int], ...] | None:
    return None if value is None else tuple(sorted(_amounts(value).items()))


def _usage(value: Value | None) -> tuple[tuple[str, float], ...]:
    if value is None:
        return ()
    return tuple(sorted((name, amount.number(0.0)) for name, amount in value.entries().items()))


def _refuse_broken_tree(tenants: Sequence[Tenant], places: Mapping[TenantId, Value]) -> None:
    parents = {tenant.id: tenant.parent for tenant in tenants}
    for tenant in tenants:
        if tenant.parent is not None and tenant.parent not in parents:
            places[tenant.id].fail(f"unknown tenant {tenant.parent!r}", suggestion(tenant.parent, [*parents, ROOT]))
    sound: set[TenantId] = set()
    for tenant in tenants:
        way: list[TenantId] = []
        up: TenantId | None = tenant.id
        while up is not None and up not in sound:
            if up in way:
                circle = " -> ".join([*way[way.index(up) :], up])
                places[up].fail(f"the tree of tenants goes in a circle: {circle}", "give one of them another parent")
            way.append(up)
            up = parents[up]
        sound.update(way)


# Nodes


def _nodes(value: Value) -> tuple[tuple[Node, ...], dict[NodeId, Resources]]:
    nodes: list[Node] = []
    foreign: dict[NodeId, Resources] = {}
    seen: set[str] = set()
    for item in value.items():
        fields = item.fields(_NODE, required=("name", "resources"))
        count = fields["count"].integer(1, MOST_NODES) if "count" in fields else 1
        if len(nodes) + count > MOST_NODES:
            item.fail(f"more than {MOST_NODES} nodes")
        resources = Resources.of(_amounts(fields["resources"]))
        labels = _labels(fields["labels"]) if "labels" in fields else ()
        state = fields["state"].choice(NodeState) if "state" in fields else NodeState.READY
        used = Resources.of(_amounts(fields["foreign"])) if "foreign" in fields else Resources()
        for name in _names(fields["name"].text(), count):
            if name in seen:
                fields["name"].fail(f"two nodes are named {name!r}", "rename one of them")
            seen.add(name)
            nodes.append(Node(NodeId(name), resources, labels, state))
            if used:
                foreign[NodeId(name)] = used
    return tuple(nodes), foreign


def _names(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{idx}" for idx in range(count)]


def _labels(value: Value) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, label.text()) for key, label in value.entries().items()))


def _whole_cluster(tenants: Sequence[Tenant]) -> tuple[Node, ...]:
    by_id = {tenant.id: tenant for tenant in tenants}
    out = Resources()
    for tenant in tenants:
        up = tenant.parent
        while up is not None and by_id[up].quota is None:
            up = by_id[up].parent
        if up is None and tenant.quota is not None:
            out = out + tenant.quota
    return (Node(WHOLE_CLUSTER, out),)


# Workloads


def _running(item: Value, tenants: set[TenantId], places: set[NodeId] | None, taken: set[str]) -> Running:
    fields = item.fields(_RUNNING, required=("name", "tenant", "bundles"))
    started_s = fields["started_s"].number() if "started_s" in fields else 0.0
    demand = _demand(fields, tenants, taken, started_s)
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


def _pending(item: Value, tenants: set[TenantId], taken: set[str], now_s: float) -> Demand:
    return _demand(item.fields(_DEMAND, required=("name", "tenant", "bundles")), tenants, taken, now_s)


def _demand(fields: Mapping[str, Value], tenants: set[TenantId], taken: set[str], since_s: float) -> Demand:
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
        topology=_topology(fields["topology"]) if "topology" in fields else None,
        submitted_s=fields["submitted_s"].number() if "submitted_s" in fields else since_s,
        runtime_s=fields["runtime_s"].number(0.0) if "runtime_s" in fields else None,
        deadline_s=fields["deadline_s"].number() if "deadline_s" in fields else None,
        speed=_speed(fields.get("speed")),
        preemptible=fields["preemptible"].flag() if "preemptible" in fields else True,
    )


def _bundles(value: Value) -> tuple[Bundle, ...]:
    out: list[Bundle] = []
    for item in value.items():
        fields = item.fields(_BUNDLE, required=("resources",))
        count = fields["count"].integer(1, MOST_BUNDLES) if "count" in fields else 1
        if len(out) + count > MOST_BUNDLES:
            value.fail(f"more than {MOST_BUNDLES} bundles", "split the workload")
        bundle = Bundle(Resources.of(_amounts(fields["resources"])), _selector(fields.get("selector")))
        out.extend([bundle] * count)
    if not out:
        value.fail("has no bundle", "write at least `- resources: {CPU: 1}`")
    return tuple(out)


def _selector(value: Value | None) -> Selector:
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


def _topology(value: Value) -> Topology:
    fields = value.fields(_TOPOLOGY)
    kinds = [kind for kind in ("pack", "spread") if kind in fields]
    if len(kinds) != 1:
        value.fail("needs one of pack and spread", "write for example {pack: rack, required: true}")
    required = fields["required"].flag() if "required" in fields else False
    if "preferred" in fields and fields["preferred"].flag() == required:
        fields["preferred"].fail("says the same as `required` and its opposite", "keep `required: true` or leave both")
    return Topology(kinds[0], fields[kinds[0]].text(), required)


def _speed(value: Value | None) -> tuple[tuple[str, float], ...]:
    if value is None:
        return ()
    return tuple(sorted((name, factor.number(1e-6, 1e6)) for name, factor in value.entries().items()))


def _amounts(value: Value) -> dict[str, int]:
    out: dict[str, int] = {}
    for name, item in value.entries().items():
        try:
            out[name] = parse_amount(name, item.scalar())
        except ValueError as error:
            item.fail(str(error).removeprefix(f"{name}: "))
    return out
