"""A cluster to simulate: from a scenario file, or in a short form such as ``8xV100:4,4xK80:8``."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path

from placement.model import ACCELERATOR_KEY, Node, NodeId, Policy, Resources, Tenant
from placement.reading import ScenarioError
from placement.scenario import load_scenario

CPUS_PER_GPU = 16
GIB_PER_GPU = 128
MOST_NODES = 200_000
_PART = re.compile(r"(\d+)x([A-Za-z][\w.-]*):(\d+)(?::(\d+))?(?::(\d+(?:\.\d+)?(?:MiB|GiB|TiB)))?")
_HINT = "write NODESxTYPE:GPUS[:CPUS[:MEMORY]], several with commas: 8xV100:4,2xK80:8:64:256GiB"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes, tenants and the policy under which they are shared."""

    name: str
    nodes: tuple[Node, ...]
    tenants: tuple[Tenant, ...] = ()
    policy: Policy = field(default_factory=Policy)


def is_short(text: str) -> bool:
    """Return whether a text means a cluster in short form."""
    return _PART.match(text) is not None


def short_cluster(text: str) -> Cluster:
    """Read ``NODESxTYPE:GPUS[:CPUS[:MEMORY]]``, several with commas; raises ValueError.

    A node has 16 CPUs and 128 GiB per accelerator where nothing is said.
    """
    nodes: list[Node] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no part of a cluster: {_HINT}")
        count, type_, gpus, cpus, memory = match.groups()
        n, n_gpus = int(count), int(gpus)
        if not 1 <= n <= MOST_NODES - len(nodes):
            raise ValueError(f"{part.strip()!r}: a cluster has 1 to {MOST_NODES} nodes")
        amounts: dict[str, object] = {"GPU": n_gpus, "CPU": int(cpus) if cpus else CPUS_PER_GPU * max(1, n_gpus)}
        amounts["memory"] = memory or f"{GIB_PER_GPU * max(1, n_gpus)}GiB"
        resources = Resources.parse(amounts)
        labels = ((ACCELERATOR_KEY, type_),) if n_gpus else ()
        first = sum(node.id.startswith(f"{type_.lower()}-") for node in nodes)
        nodes += [Node(NodeId(f"{type_.lower()}-{first + i}"), resources, labels) for i in range(n)]
    return Cluster(text, tuple(nodes))


def load_cluster(text: str) -> Cluster:
    """Read a cluster from a short form or a scenario file; raises ValueError (``ScenarioError`` for a file)."""
    path = Path(text)
    if not path.exists() and is_short(text):
        return short_cluster(text)
    if not path.exists():
        near = difflib.get_close_matches(path.name, _beside(path), 1)
        raise ValueError(f"there is no cluster file {text}{f'; is it {near[0]}?' if near else ''} Or {_HINT}")
    problem = load_scenario(path).problem
    if not any(node.resources for node in problem.nodes):
        raise ScenarioError(text, None, "nodes", "there are none", "list the nodes with name, count and resources")
    return Cluster(path.stem, problem.nodes, problem.tenants, problem.policy)


def _beside(path: Path) -> list[str]:
    return sorted(other.name for other in path.parent.iterdir()) if path.parent.is_dir() else []
