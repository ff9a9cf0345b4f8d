"""The reservations of a scenario: nodes that are kept for some tenants, or for nobody, for a while; read strictly."""

from __future__ import annotations

from collections.abc import Sequence, Set

from placement.model import Node, NodeId, Reservation, TenantId
from placement.reading import Value, suggestion
from placement.workloads import read_selector

_KEYS = ("name", "nodes", "selector", "starts_s", "ends_s", "tenants")


def read_reservations(value: Value | None, nodes: Sequence[Node], tenants: Set[TenantId]) -> tuple[Reservation, ...]:
    """Read the ``reservations`` section; raises ScenarioError."""
    out: dict[str, Reservation] = {}
    for item in value.items() if value is not None else ():
        found = _reservation(item, nodes, tenants)
        if found.id in out:
            item.fail(f"two reservations are named {found.id!r}", "rename one of them")
        out[found.id] = found
    return tuple(out.values())


def _reservation(item: Value, nodes: Sequence[Node], tenants: Set[TenantId]) -> Reservation:
    fields = item.fields(_KEYS, required=("name", "starts_s", "ends_s"))
    if ("nodes" in fields) == ("selector" in fields):
        item.fail("needs one of nodes and selector", "write `nodes: [a, b]` or `selector: {rack: r1}`")
    starts_s, ends_s = fields["starts_s"].number(), fields["ends_s"].number()
    if ends_s <= starts_s:
        fields["ends_s"].fail(f"ends at {ends_s:g} s, not after its start at {starts_s:g} s")
    chosen = _named(fields["nodes"], nodes) if "nodes" in fields else _selected(fields["selector"], nodes)
    named = _tenants(fields["tenants"], tenants) if "tenants" in fields else ()
    return Reservation(fields["name"].text(), chosen, starts_s, ends_s, named)


def _named(value: Value, nodes: Sequence[Node]) -> tuple[NodeId, ...]:
    known = {node.id for node in nodes}
    out: dict[NodeId, None] = {}
    for item in value.items():
        name = item.text()
        if name not in known:
            item.fail(f"unknown node {name!r}", suggestion(name, known))
        out[NodeId(name)] = None
    return tuple(out)


def _selected(value: Value, nodes: Sequence[Node]) -> tuple[NodeId, ...]:
    selector = read_selector(value)
    out = tuple(node.id for node in nodes if selector.accepts(node))
    if not out:
        value.fail(f"{selector} accepts no node", "mend the selector, or leave the reservation out")
    return out


def _tenants(value: Value, tenants: Set[TenantId]) -> tuple[TenantId, ...]:
    out: dict[TenantId, None] = {}
    for item in value.items():
        name = item.text()
        if name not in tenants:
            item.fail(f"unknown tenant {name!r}", suggestion(name, tenants))
        out[TenantId(name)] = None
    return tuple(out)
