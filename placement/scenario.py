"""Scenarios: one planning question in a YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from placement.expect import KEYS as EXPECT_KEYS
from placement.expect import Expect, read_expect
from placement.model import (
    ROOT,
    Demand,
    Node,
    NodeId,
    NodeState,
    Policy,
    Problem,
    Resources,
    Tenant,
    TenantId,
)
from placement.policies import read_policy, read_preemption
from placement.reading import ScenarioError, Value, read, suggestion
from placement.reserving import read_reservations
from placement.situation import WHOLE_CLUSTER
from placement.workloads import read_expected, read_pending, read_running

__all__ = ["Scenario", "ScenarioError", "load_scenario", "parse_scenario"]

MOST_NODES = 200_000
_LEAST_WEIGHT = 1e-6

_TOP = (
    "name",
    "now_s",
    "policy",
    "nodes",
    "tenants",
    "running",
    "pending",
    "reservations",
    "expected",
    "expect",
)
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


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named problem, and what its author expects of the answer."""

    name: str
    problem: Problem
    expect: Expect = field(default_factory=Expect)


def load_scenario(path: Path) -> Scenario:
    """Read a scenario from a file; raises ScenarioError."""
    return parse_scenario(read_text(path), str(path))


def load_pending(path: Path, problem: Problem) -> tuple[Demand, ...]:
    """Read workloads that would wait too: a list as under ``pending``, or a scenario's ``pending`` alone."""
    root = read(read_text(path), str(path))
    items = root if root.is_list else root.fields(("pending",), required=("pending",))["pending"]
    tenants = {tenant.id for tenant in problem.tenants}
    taken: set[str] = {run.demand.id for run in problem.running} | {demand.id for demand in problem.pending}
    places = {node.id for node in problem.nodes}
    return tuple(read_pending(item, tenants, taken, problem.now_s, places) for item in items.items())


def read_text(path: Path) -> str:
    """Return a file's text; raises ScenarioError."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(str(path), None, "", f"is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ScenarioError(str(path), None, "", f"cannot be read: {error.strerror}") from None


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
    policy = read_policy(fields.get("policy"))
    tenants = _tenants(fields.get("tenants"), policy)
    nodes, foreign = _nodes(fields["nodes"]) if "nodes" in fields else (_whole_cluster(tenants, root), {})
    places = {node.id for node in nodes} if "nodes" in fields else None
    known = {tenant.id for tenant in tenants}
    taken: set[str] = set()
    running = [read_running(item, known, places, taken) for item in _list(fields.get("running"))]
    pending = [read_pending(item, known, taken, now_s, places) for item in _list(fields.get("pending"))]
    reservations = read_reservations(fields.get("reservations"), nodes, known)
    problem = Problem(
        nodes=nodes,
        tenants=tenants,
        running=tuple(running),
        pending=tuple(pending),
        now_s=now_s,
        policy=policy,
        foreign=foreign,
        reservations=reservations,
        expected=read_expected(fields.get("expected")),
    )
    name = fields["name"].text() if "name" in fields else Path(file).stem
    expect = read_expect(fields["expect"].fields(EXPECT_KEYS)) if "expect" in fields else Expect()
    return Scenario(name, problem, expect)


def _list(value: Value | None) -> Iterable[Value]:
    return () if value is None else value.items()


# Tenants


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
    quota = fields["quota"].amounts() if "quota" in fields else {}
    return Tenant(
        id=TenantId(name),
        parent=None if parent == ROOT else TenantId(parent),
        weight=_weight(fields["weight"]) if "weight" in fields else 1.0,
        quota=Resources.of(quota) if quota else None,
        borrow_limit=_limits(fields.get("borrow_limit")),
        lend_limit=_limits(fields.get("lend_limit")),
        limit=_limits(fields.get("limit")),
        preemption=read_preemption(fields["preemption"], policy.preemption) if "preemption" in fields else None,
        usage=_usage(fields.get("usage")),
    )


def _weight(value: Value) -> float:
    """Return a weight; 0 is the least there is: such a tenant borrows what nobody else wants."""
    weight = value.number(0.0, 1e6)
    if 0 < weight < _LEAST_WEIGHT:
        value.fail(
            f"is {weight:g}",
            "a weight is 0 or a number from 0.000001 to 1000000; a tenant that may not borrow says "
            "`borrow_limit: {GPU: 0}`",
        )
    return max(weight, _LEAST_WEIGHT)


def _limits(value: Value | None) -> tuple[tuple[str, int], ...] | None:
    return None if value is None else tuple(sorted(value.amounts().items()))


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
        resources = Resources.of(fields["resources"].amounts())
        labels = _labels(fields["labels"]) if "labels" in fields else ()
        state = fields["state"].choice(NodeState) if "state" in fields else NodeState.READY
        used = Resources.of(fields["foreign"].amounts()) if "foreign" in fields else Resources()
        for name in _names(fields["name"].text(), count):
            if name in seen:
                fields["name"].fail(f"two nodes are named {name!r}", "rename one of them")
            seen.add(name)
            nodes.append(_node(NodeId(name), resources, labels, state, fields["resources"]))
            if used:
                foreign[NodeId(name)] = used
    return tuple(nodes), foreign


def _node(
    name: NodeId, resources: Resources, labels: tuple[tuple[str, str], ...], state: NodeState, place: Value
) -> Node:
    try:
        return Node(name, resources, labels, state)
    except ValueError as error:
        place.fail(str(error), "write what one node has, and `count:` for how many nodes")


def _names(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{idx}" for idx in range(count)]


def _labels(value: Value) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, label.text()) for key, label in value.entries().items()))


def _whole_cluster(tenants: Sequence[Tenant], place: Value) -> tuple[Node, ...]:
    by_id = {tenant.id: tenant for tenant in tenants}
    out = Resources()
    for tenant in tenants:
        up = tenant.parent
        while up is not None and by_id[up].quota is None:
            up = by_id[up].parent
        if up is None and tenant.quota is not None:
            out = out + tenant.quota
    try:
        return (Node(WHOLE_CLUSTER, out),)
    except ValueError as error:
        place.fail(f"the quotas add up to too much for one node: {error}", "add `nodes:` to the file")
