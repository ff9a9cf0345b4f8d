"""What an attempt has done for its workload: work that is saved, and what it has held for how long."""

from __future__ import annotations

from collections.abc import Mapping

from aios.kernel.state import Attempt, Workload
from placement.model import Node, NodeId
from placement.throughput import throughput, units


def saved_s(workload: Workload, attempt: Attempt, nodes: Mapping[NodeId, Node]) -> float:
    """Return the work that an attempt has saved, in seconds of the whole gang at speed 1.

    From its start to its last checkpoint, at the rate of the nodes that it had.
    """
    if attempt.started_s is None or workload.checkpoint_s is None or workload.checkpoint_s <= attempt.started_s:
        return 0.0
    where = [nodes[id] for id in attempt.nodes if id in nodes]
    if not where:
        return 0.0
    return (workload.checkpoint_s - attempt.started_s) * throughput(workload.work.demand, where, attempt.form)


def received(workload: Workload, attempt: Attempt, until_s: float) -> float:
    """Return the accelerator-seconds (CPU-seconds where it has none) that an attempt has held by then."""
    return max(0.0, until_s - attempt.held_from_s) * units(workload.held(attempt).resources(len(attempt.nodes)))
