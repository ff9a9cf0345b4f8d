"""``aios lineage``: from anything that was made back to its sources, and forward to all that came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from aios.cli.options import Options, common
from aios.cli.output import show

if TYPE_CHECKING:
    from aios.views import LineageNode, LineageView


@click.command("lineage")
@click.argument("ref")
@common
@click.pass_obj
def lineage_command(options: Options, ref: str) -> None:
    """Where a dataset or model came from, and what came of it; REF is NAME[@VERSION], or model://NAME[@VERSION]."""
    from aios.errors import NotFound

    type_, _, name = ref.rpartition("://")
    with options.client() as client:
        try:
            view = client.catalogue.lineage(name, type_ or "dataset")
        except NotFound:
            if type_:
                raise
            view = client.catalogue.lineage(name, "model")
    show(options, view, lineage_text(view))


def lineage_text(view: LineageView) -> str:
    """Return the graph as two trees with one root: what it came from above, what came of it below."""
    nodes = {node.id: node for node in view.nodes}
    before: dict[str, list[str]] = {}
    after: dict[str, list[str]] = {}
    for one, two in view.edges:
        before.setdefault(two, []).append(one)
        after.setdefault(one, []).append(two)
    lines = [_named(view.root, nodes)]
    for title, near in (("came from", before), ("became", after)):
        if near.get(view.root):
            lines += [title, *_tree(view.root, near, nodes, "  ", {view.root})]
    return "\n".join(lines)


def _tree(id: str, near: dict[str, list[str]], nodes: dict[str, LineageNode], indent: str, seen: set[str]) -> list[str]:
    lines = []
    for other in near.get(id, ()):
        again = other in seen
        lines.append(f"{indent}{_named(other, nodes)}{'  (above)' if again and near.get(other) else ''}")
        if not again:
            seen.add(other)
            lines += _tree(other, near, nodes, indent + "  ", seen)
    return lines


def _named(id: str, nodes: dict[str, LineageNode]) -> str:
    node = nodes.get(id)
    if node is None:
        return id
    told = [part for part in (node.detail, f"by {node.workload}" if node.workload else "") if part]
    return f"{id}  ({', '.join(told)})" if told else id
