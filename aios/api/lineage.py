"""From a version back to its sources and forward to all that came of it, as the log has it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from aios.api.present import answers
from aios.kernel.events import Artefact, Published, WorkloadId
from aios.kernel.inputs import exact, key_of
from aios.kernel.state import State
from aios.views import LineageNode, LineageView

Edge = tuple[str, str]
READ = "read"
"""Where a source says which files it read, their sizes and digests: details that name no other source."""


def lineage(state: State, root: Published) -> LineageView:
    """Return the part of the graph that leads to a version or comes from it; edges go with the data."""
    nodes, edges = graph(state)
    start = exact(key_of(root.artefact), root.version)
    kept = _reach(start, edges, backward=True) | _reach(start, edges, backward=False)
    between = [edge for edge in edges if edge[0] in kept and edge[1] in kept]
    shown = sorted((nodes[id] for id in kept if id in nodes), key=lambda node: (node.at_s, node.id))
    return LineageView(start, tuple(shown), tuple(sorted(between)))


def graph(state: State) -> tuple[Mapping[str, LineageNode], frozenset[Edge]]:
    """Return everything that was published or answers, and what came from what."""
    nodes: dict[str, LineageNode] = {}
    edges: set[Edge] = set()
    for published in (version for versions in state.versions.values() for version in versions):
        id = exact(key_of(published.artefact), published.version)
        nodes[id] = LineageNode(
            id, published.artefact.type, _rows(published.artefact), published.workload, published.at_s
        )
        edges |= {(before, id) for before in published.inputs}
        if published.artefact.origin:
            edges.add((published.artefact.origin, id))
        source = _source(published.artefact) if published.workload else ""  # by hand, rows come from versions
        if source:
            nodes.setdefault(source, LineageNode(source, "source"))
            edges.add((source, id))
    for node, before in _made_of_versions(state):
        nodes[node.id] = node
        edges.add((before, node.id))
    for id in {end for edge in edges for end in edge} - set(nodes):
        nodes[id] = LineageNode(id, id.partition("://")[0], "not known here")
    return nodes, frozenset(edges)


def _made_of_versions(state: State) -> Iterator[tuple[LineageNode, str]]:
    """Yield reports, and endpoints that answer now, each with a version that it came from."""
    for workload in state.workloads.values():
        for artefact in workload.artefacts:
            if artefact.type == "report" or (artefact.type == "endpoint" and answers(workload)):
                yield from _made_of(artefact, workload.id, workload.submitted_s)
    for left in state.retired.values():
        for report in left.reports:
            yield from _made_of(report, left.id, left.submitted_s)


def _made_of(artefact: Artefact, workload: WorkloadId, at_s: float) -> Iterator[tuple[LineageNode, str]]:
    node = LineageNode(f"{artefact.type}://{artefact.name}", artefact.type, artefact.uri, workload, at_s)
    meta = _meta(artefact)
    for role in ("model", "data"):
        if isinstance(meta.get(role), str):
            yield node, str(meta[role])


def _reach(start: str, edges: frozenset[Edge], *, backward: bool) -> frozenset[str]:
    near: dict[str, list[str]] = {}
    for before, after in edges:
        near.setdefault(after if backward else before, []).append(before if backward else after)
    seen, todo = {start}, [start]
    while todo:
        for other in near.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return frozenset(seen)


def _source(artefact: Artefact) -> str:
    """Return one line that names where a dataset's rows came from, empty where that is other versions."""
    source = _meta(artefact).get("source")
    if not isinstance(source, dict) or not source:
        return ""
    return "source:" + ",".join(f"{name}={_word(value)}" for name, value in sorted(source.items()) if name != READ)


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _rows(artefact: Artefact) -> str:
    meta = _meta(artefact)
    rows = meta.get("total_rows") or meta.get("rows")
    if isinstance(rows, dict):
        return ", ".join(f"{n} {side}" for side, n in rows.items())
    return f"{rows} rows" if rows else ""


def _meta(artefact: Artefact) -> Mapping[str, object]:
    meta = json.loads(artefact.meta or "{}")
    return meta if isinstance(meta, dict) else {}
